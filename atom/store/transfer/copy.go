package transfer

import (
	"context"
	"fmt"
	"time"
)

// Executions is the kind of executions in a Summary and in reports of progress.
const Executions Kind = "executions"

// Limits of a batch of executions.
const (
	batchItems = 500
	batchBytes = 8 << 20
)

// Report receives the number of rows of a kind that were copied or read so far.
type Report func(kind Kind, n int64)

// reportEvery is the number of rows between two reports.
const reportEvery = 1000

// Copy copies everything that the progress does not have yet.
func Copy(ctx context.Context, from Reader, to Writer, p Progress, report Report) error {
	for i, kind := range Kinds {
		if i < p.Kinds {
			continue
		}
		n := int64(0)
		err := to.WriteRows(ctx, kind, func(each func([]any) error) error {
			return from.Rows(ctx, kind, func(values []any) error {
				if n++; n%reportEvery == 0 {
					report(kind, n)
				}
				return each(values)
			})
		})
		if err != nil {
			return fmt.Errorf("copy %s: %w", kind, err)
		}
	}
	if err := copyExecutions(ctx, from, to, p, report); err != nil {
		return fmt.Errorf("copy executions: %w", err)
	}
	if err := to.Complete(ctx); err != nil {
		return fmt.Errorf("complete the copy: %w", err)
	}
	return nil
}

func copyExecutions(ctx context.Context, from Reader, to Writer, p Progress, report Report) error {
	var batch []*Execution
	n, size := int64(0), 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := to.WriteExecutions(ctx, batch)
		n += int64(len(batch))
		report(Executions, n)
		batch, size = batch[:0], 0
		return err
	}
	err := from.Executions(ctx, p.After, p.At, func(x *Execution) error {
		batch = append(batch, x)
		if size += x.Size(); len(batch) < batchItems && size < batchBytes {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// Summary is the digests of everything in a store, by kind.
type Summary map[Kind]*Digest

// Summarize reads a whole store.
func Summarize(ctx context.Context, from Reader, at time.Time, report Report) (Summary, error) {
	all := Summary{Executions: {}}
	var b []byte
	for _, kind := range Kinds {
		d := &Digest{}
		all[kind] = d
		err := from.Rows(ctx, kind, func(values []any) error {
			if b = d.row(b, values); d.Count%reportEvery == 0 {
				report(kind, d.Count)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", kind, err)
		}
	}
	d := all[Executions]
	err := from.Executions(ctx, 0, at, func(x *Execution) error {
		if b = d.execution(b, x); d.Count%reportEvery == 0 {
			report(Executions, d.Count)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read executions: %w", err)
	}
	return all, nil
}

// Differs describes the first difference between the source and its copy; ""
// if they are equal.
func (s Summary) Differs(to Summary) string {
	for _, kind := range append([]Kind{Executions}, Kinds...) {
		a, b := s[kind], to[kind]
		switch {
		case a.Count != b.Count:
			return fmt.Sprintf("%d %s became %d", a.Count, kind, b.Count)
		case a.sum != b.sum:
			return fmt.Sprintf("the content of %d %s is not the same", a.Count, kind)
		}
	}
	return ""
}
