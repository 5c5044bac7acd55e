// Package replay runs executions of an atom's history through another version of
// their process, with the answers that their calls received, and compares the
// results. Nothing is called.
package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"valence/atom"
	"valence/atom/sandbox"
	"valence/atom/store"
	"valence/processes"
)

// History is the part of an atom that has its executions.
type History interface {
	List(ctx context.Context, f store.Filter, cursor string, limit int) ([]*atom.ExecutionView, string, error)
	Show(ctx context.Context, execution string) (*atom.ExecutionView, error)
}

var _ History = (*atom.Atom)(nil)

// Candidate is the new version of a project.
type Candidate struct {
	Project *processes.Project
	Files   []processes.File
	Env     map[string]string // the values that its expressions read
}

// Limits bound the cost of a replay.
type Limits struct {
	Last  int           // executions of each process, the newest first
	Total int           // executions of all processes together
	Time  time.Duration // of all; those that are left are not replayed
	Each  time.Duration // of one execution
	Rest  int           // pause after an execution, as a multiple of the time that it took
}

// Outcome is the result of the replays of a project.
type Outcome struct {
	Reports []*Report `json:"processes"`         // of processes with executions, by name
	Stopped string    `json:"stopped,omitempty"` // why some executions were not replayed; "": all were
}

// page is the number of executions that are listed at once.
const page = 500

// All replays the newest executions of every process of a project, one at a
// time. progress is called after each. It returns the error of ctx if that ends
// first, and the reports until then if the time is over.
func All(ctx context.Context, h History, c Candidate, l Limits, progress func(done, total int)) (*Outcome, error) {
	limited, cancel := context.WithTimeout(ctx, l.Time)
	defer cancel()
	ids, total, err := list(limited, h, c.Project, l)
	if err != nil {
		return nil, err
	}
	progress(0, total)
	engine, out, done := sandbox.New(c.Project), &Outcome{Reports: []*Report{}}, 0
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		r, v := NewReport(name), New(c.Files, c.Project.Processes[name], engine, c.Env)
		for _, id := range ids[name] {
			began := time.Now()
			if err := one(limited, h, v, r, id, l.Each); err != nil {
				return nil, err
			}
			if limited.Err() != nil {
				break
			}
			done++
			progress(done, total)
			rest(limited, time.Duration(l.Rest)*time.Since(began))
		}
		r.Sort()
		out.Reports = append(out.Reports, r)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if done < total {
		out.Stopped = fmt.Sprintf("the replay stopped after %s: %d of %d executions were replayed", l.Time, done, total)
	}
	return out, nil
}

// list returns the ids of the newest finished executions, by process.
func list(ctx context.Context, h History, p *processes.Project, l Limits) (ids map[string][]string, total int, err error) {
	ids = map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(p.Processes)) {
		cursor, most := "", min(l.Last, l.Total-total)
		for n := 0; n < most; {
			views, next, err := h.List(ctx, store.Filter{Process: name, Statuses: Statuses()}, cursor, min(page, most-n))
			if err != nil {
				return nil, 0, fmt.Errorf("list the executions of %s: %w", name, err)
			}
			for _, v := range views {
				ids[name] = append(ids[name], v.Execution)
			}
			n += len(views)
			if cursor = next; next == "" || len(views) == 0 {
				break
			}
		}
		total += len(ids[name])
	}
	return ids, total, nil
}

// one replays one execution. It adds nothing if ctx ends.
func one(ctx context.Context, h History, v *Version, r *Report, id string, limit time.Duration) error {
	then, err := h.Show(ctx, id)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, store.ErrUnknown):
		r.Add(&atom.ExecutionView{Execution: id}, Result{unable: "it is no longer stored"})
		return nil
	case err != nil:
		return fmt.Errorf("read execution %s: %w", id, err)
	}
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result := v.Replay(short, then)
	switch {
	case ctx.Err() != nil:
		return nil
	case short.Err() != nil:
		result = Result{unable: unable("its replay took longer than " + limit.String())}
	}
	r.Add(then, result)
	return nil
}

// rest waits, unless ctx ends first.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
