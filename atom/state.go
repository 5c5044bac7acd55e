package atom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// Bounds of what a process remembers.
const (
	maxState  = 1 << 20 // bytes of its properties
	snapshots = 2000    // prints that are read at once
)

// CodeConflict is the failure of an execution whose state was changed by
// another one meanwhile.
const CodeConflict = "state_conflict"

// memory is what an execution has found out and not yet committed.
type memory struct {
	read  map[string]int64 // version of the properties that were read, by process
	sets  []*staged
	diffs []SnapshotChange
}

// staged is what an execution sets of one process.
type staged struct {
	StateChange
	step string
	pos  fault.Pos
}

// readState gives what `state` reads of stored properties.
func readState(p *ProcessState) *document.Object {
	o := &document.Object{}
	for _, x := range p.Properties {
		o.Set(x.Name, document.Parse(string(x.Value)))
	}
	o.Set("version", document.Number(strconv.FormatInt(p.Version, 10)))
	return o
}

// State gives the properties of the frame's process as they were when it began.
func (e *execution) State(f *steps.Frame) (*document.Object, error) {
	key := f.Prefix() + "state"
	if x, ok := e.journaled(kindState, key); ok {
		o, isObject := document.Decode(document.Parse(string(x.Body))).(*document.Object)
		if !isObject {
			return nil, mismatch(key, errEntry)
		}
		e.sawVersion(f.Process().Name, o)
		return o, nil
	}
	p, err := e.atom.store.State(f.Context(), f.Process().Name)
	if err != nil {
		return nil, unavailable(err)
	}
	o := readState(p)
	e.sawVersion(f.Process().Name, o)
	return o, e.note(Entry{Path: key, Kind: kindState, At: e.clock(f), Body: document.AppendJSON(nil, o)}, nil)
}

// reads gives the checks of a process what it remembers now.
func (a *Atom) reads(ctx context.Context, f *steps.Frame, p *processes.Process) error {
	if !p.State {
		return nil
	}
	now, err := a.store.State(ctx, p.Name)
	if err != nil {
		return unavailable(err)
	}
	f.Reads(readState(now))
	return nil
}

func (e *execution) sawVersion(process string, o *document.Object) {
	v, _ := o.Get("version")
	n, _ := v.(document.Number)
	version, _ := strconv.ParseInt(string(n), 10, 64) // we have written it
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.memory.read == nil {
		e.memory.read = map[string]int64{}
	}
	e.memory.read[process] = version
}

// SetState notes properties to be committed with the end.
func (e *execution) SetState(f *steps.Frame, set *document.Object, version int64) error {
	process := f.Process().Name
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.memory.sets, func(s *staged) bool { return s.Process == process })
	if i < 0 {
		i = len(e.memory.sets)
		e.memory.sets = append(e.memory.sets, &staged{StateChange: StateChange{Process: process, Version: -1}})
	}
	s := e.memory.sets[i]
	s.step, s.pos = f.Step().Name, f.Step().Pos
	if read, ok := e.memory.read[process]; version >= 0 && (ok && read != version || s.Version >= 0 && s.Version != version) {
		return conflict(s, process)
	}
	if version >= 0 {
		s.Version = version
	}
	size := 0
	for i := range set.Len() {
		name, v := set.At(i)
		p := Property{Name: name}
		if v != nil {
			p.Value = document.AppendJSON(nil, v)
		}
		s.Set = append(slices.DeleteFunc(s.Set, func(x Property) bool { return x.Name == name }), p)
	}
	for _, p := range s.Set {
		size += len(p.Name) + len(p.Value)
	}
	if size > maxState {
		return fault.Failf(fault.CodeLimit, "the state of a process is at most 1 MiB; what grows with the number of records belongs in `changes:` or in another system")
	}
	return nil
}

func conflict(s *staged, process string) *fault.Failure {
	return &fault.Failure{Code: CodeConflict, Origin: fault.FromAtom, Step: s.step, Pos: s.pos,
		Message: "what the process " + process + " remembers was changed by another execution since this one read it"}
}

// Compare holds prints against those of the last run, and notes the new ones.
func (e *execution) Compare(f *steps.Frame, name string, prints []steps.Print) ([]steps.News, []string, error) {
	key, process := f.Key(), f.Process().Name
	if x, ok := e.journaled(kindChanges, key); ok {
		c, err := unpackChanges(x.Body, len(prints))
		if err != nil {
			return nil, nil, mismatch(key, err)
		}
		f.Happened(x.At)
		e.remember(process, name, c, prints)
		return c.news, c.gone, nil
	}
	c := &changes{news: make([]steps.News, len(prints))}
	at := make(map[string]int, len(prints))
	for i, p := range prints {
		c.news[i] = steps.Added
		at[p.Key] = i
	}
	for after := ""; ; {
		page, version, err := e.atom.store.Snapshot(f.Context(), process, name, after, snapshots)
		if err != nil {
			return nil, nil, unavailable(err)
		}
		if after != "" && version != c.version {
			return nil, nil, conflict(&staged{}, process)
		}
		c.version = version
		for _, p := range page {
			after = p.Key
			switch i, ok := at[p.Key]; {
			case !ok:
				c.gone = append(c.gone, p.Key)
			case bytes.Equal(p.Hash, prints[i].Hash[:]):
				c.news[i] = steps.Same
			default:
				c.news[i] = steps.Updated
			}
		}
		if len(page) < snapshots {
			break
		}
	}
	now := e.clock(f)
	f.Happened(now)
	e.remember(process, name, c, prints)
	return c.news, c.gone, e.note(Entry{Path: key, Kind: kindChanges, At: now, Body: c.pack()}, nil)
}

func (e *execution) remember(process, name string, c *changes, prints []steps.Print) {
	d := SnapshotChange{Process: process, Name: name, Version: c.version}
	for i, p := range prints {
		if c.news[i] != steps.Same {
			hash := p.Hash
			d.Prints = append(d.Prints, Print{Key: p.Key, Hash: hash[:]})
		}
	}
	for _, key := range c.gone {
		d.Prints = append(d.Prints, Print{Key: key})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.memory.diffs = slices.DeleteFunc(e.memory.diffs, func(x SnapshotChange) bool { return x.Process == process && x.Name == name })
	e.memory.diffs = append(e.memory.diffs, d)
}

// learned gives what is to be committed with an end that is good; nil for nothing.
func (e *execution) learned() *Memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.memory.sets) == 0 && len(e.memory.diffs) == 0 {
		return nil
	}
	m := &Memory{Snapshots: e.memory.diffs}
	for _, s := range e.memory.sets {
		m.States = append(m.States, s.StateChange)
	}
	return m
}

// tooLate is the failure of an execution whose memory was refused at its end.
func (e *execution) tooLate() *fault.Failure {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.memory.sets {
		if s.Version >= 0 {
			return conflict(s, s.Process)
		}
	}
	return conflict(&staged{}, e.plan.process.Name)
}

// remembered commits what an execution in memory has found out.
func (e *execution) remembered(ctx context.Context) error {
	m := e.learned()
	if m == nil {
		return nil
	}
	switch err := e.atom.store.Remember(ctx, m); {
	case errors.Is(err, ErrConflict):
		return e.tooLate()
	case err != nil:
		return unavailable(fmt.Errorf("keep the state: %w", err))
	}
	return nil
}
