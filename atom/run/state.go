package run

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

const (
	maxState     = 1 << 20 // bytes of the properties that an execution sets
	snapshotPage = 2000    // digests read at once
)

// CodeConflict is the failure of an execution whose state another execution
// has changed in the meantime.
const CodeConflict = "state_conflict"

// stagedState is the state that an execution has read and set, and that
// commits when it ends.
type stagedState struct {
	mu        sync.Mutex
	read      map[string]int64 // version of the properties that were read, by process
	sets      []*stagedSet
	snapshots []store.SnapshotChange
}

// stagedSet is the properties that an execution sets of one process.
type stagedSet struct {
	store.StateChange
	step string
	pos  fault.Pos
}

// stateObject returns the value of `state` for stored properties.
func stateObject(p *store.ProcessState) *document.Object {
	o := &document.Object{}
	for _, x := range p.Properties {
		o.Set(x.Name, document.Parse(string(x.Value)))
	}
	o.Set("version", document.Number(strconv.FormatInt(p.Version, 10)))
	return o
}

// State returns the properties of the frame's process as they were when it began.
func (e *execution) State(f *steps.Frame) (*document.Object, error) {
	key := f.Prefix() + "state"
	if x, ok := e.journaled(KindState, key); ok {
		o, isObject := document.Decode(document.Parse(string(x.Body))).(*document.Object)
		if !isObject {
			return nil, mismatch(key, errEntry)
		}
		e.staged.readVersion(f.Process().Name, o)
		return o, nil
	}
	p, err := e.engine.Store.State(f.Context(), f.Process().Name)
	if err != nil {
		return nil, unavailable(err)
	}
	o := stateObject(p)
	e.staged.readVersion(f.Process().Name, o)
	return o, e.appendEntry(store.Entry{Path: key, Kind: KindState, At: e.clock(f), Body: document.AppendJSON(nil, o)}, nil)
}

// readVersion records the version that a process has read.
func (t *stagedState) readVersion(process string, state *document.Object) {
	v, _ := state.Get("version")
	n, _ := v.(document.Number)
	version, _ := strconv.ParseInt(string(n), 10, 64) // stateObject has written it
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.read == nil {
		t.read = map[string]int64{}
	}
	t.read[process] = version
}

// SetState stages properties, which commit when the execution ends.
func (e *execution) SetState(f *steps.Frame, set *document.Object, version int64) error {
	return e.staged.set(f, set, version)
}

func (t *stagedState) set(f *steps.Frame, set *document.Object, version int64) error {
	process := f.Process().Name
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.sets, func(s *stagedSet) bool { return s.Process == process })
	if i < 0 {
		i = len(t.sets)
		t.sets = append(t.sets, &stagedSet{StateChange: store.StateChange{Process: process, Version: -1}})
	}
	s := t.sets[i]
	s.step, s.pos = f.Step().Name, f.Step().Pos
	if read, ok := t.read[process]; version >= 0 && (ok && read != version || s.Version >= 0 && s.Version != version) {
		return conflict(s, process)
	}
	if version >= 0 {
		s.Version = version
	}
	size := 0
	for i := range set.Len() {
		name, v := set.At(i)
		p := store.Property{Name: name}
		if v != nil {
			p.Value = document.AppendJSON(nil, v)
		}
		if len(blob.Names(nil, p.Value)) > 0 {
			return fault.Failf(fault.CodeLimit, "the state property %q contains a file over 1 MiB: the state of a process is limited to 1 MiB; store the file in another system", name)
		}
		s.Set = append(slices.DeleteFunc(s.Set, func(x store.Property) bool { return x.Name == name }), p)
	}
	for _, p := range s.Set {
		size += len(p.Name) + len(p.Value)
	}
	if size > maxState {
		return fault.Failf(fault.CodeLimit, "the state of a process is limited to 1 MiB; use `changes:` or another system for data that grows with the number of records")
	}
	return nil
}

func conflict(s *stagedSet, process string) *fault.Failure {
	return &fault.Failure{Code: CodeConflict, Source: fault.FromAtom, Step: s.step, Pos: s.pos,
		Message: "another execution has changed the state of the process " + process + " since this one read it"}
}

// update returns the state to commit with a successful end; nil if there
// is none.
func (t *stagedState) update() *store.StateUpdate {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sets) == 0 && len(t.snapshots) == 0 {
		return nil
	}
	u := &store.StateUpdate{Snapshots: t.snapshots}
	for _, s := range t.sets {
		u.States = append(u.States, s.StateChange)
	}
	return u
}

// conflict returns the failure of an execution whose state was refused
// when it ended.
func (t *stagedState) conflict(process string) *fault.Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sets {
		if s.Version >= 0 {
			return conflict(s, s.Process)
		}
	}
	return conflict(&stagedSet{}, process)
}

// Compare compares digests of records with those of the last run, and stages
// the new ones.
func (e *execution) Compare(f *steps.Frame, name string, digests []steps.Digest) ([]steps.ChangeKind, []string, error) {
	key, process := f.Key(), f.Process().Name
	body, _, err := e.once(f, KindChanges, key, func() ([]byte, error) {
		c, err := compare(f.Context(), e.engine.Store, process, name, digests)
		if err != nil {
			return nil, err
		}
		return c.pack(), nil
	})
	if err != nil {
		return nil, nil, err
	}
	c, err := unpackComparison(body, len(digests))
	if err != nil {
		return nil, nil, mismatch(key, err)
	}
	e.staged.stageSnapshot(process, name, c, digests)
	return c.kinds, c.deleted, nil
}

// compare compares digests with the stored snapshot.
func compare(ctx context.Context, states store.States, process, name string, digests []steps.Digest) (*comparison, error) {
	c := &comparison{kinds: make([]steps.ChangeKind, len(digests))}
	index := make(map[string]int, len(digests))
	for i, d := range digests {
		c.kinds[i] = steps.Added
		index[d.Key] = i
	}
	for after := ""; ; {
		page, version, err := states.Snapshot(ctx, process, name, after, snapshotPage)
		if err != nil {
			return nil, unavailable(err)
		}
		if after != "" && version != c.version {
			return nil, conflict(&stagedSet{}, process)
		}
		c.version = version
		for _, d := range page {
			after = d.Key
			switch i, ok := index[d.Key]; {
			case !ok:
				c.deleted = append(c.deleted, d.Key)
			case bytes.Equal(d.Hash, digests[i].Hash[:]):
				c.kinds[i] = steps.Same
			default:
				c.kinds[i] = steps.Updated
			}
		}
		if len(page) < snapshotPage {
			return c, nil
		}
	}
}

// stageSnapshot stages the digests that a comparison found to be different.
func (t *stagedState) stageSnapshot(process, name string, c *comparison, digests []steps.Digest) {
	s := store.SnapshotChange{Process: process, Name: name, Version: c.version}
	for i, d := range digests {
		if c.kinds[i] != steps.Same {
			hash := d.Hash
			s.Digests = append(s.Digests, store.Digest{Key: d.Key, Hash: hash[:]})
		}
	}
	for _, key := range c.deleted {
		s.Digests = append(s.Digests, store.Digest{Key: key})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.snapshots = slices.DeleteFunc(t.snapshots, func(x store.SnapshotChange) bool { return x.Process == process && x.Name == name })
	t.snapshots = append(t.snapshots, s)
}

// comparison is the result of Compare as it is journaled: one byte for each
// record of the document, and the keys of deleted records.
type comparison struct {
	version int64
	kinds   []steps.ChangeKind
	deleted []string
}

func (c *comparison) pack() []byte {
	b := binary.AppendUvarint(nil, uint64(c.version))
	b = binary.AppendUvarint(b, uint64(len(c.kinds)))
	for _, k := range c.kinds {
		b = append(b, byte(k))
	}
	for _, key := range c.deleted {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return b
}

// unpackComparison reads a packed comparison of n records.
func unpackComparison(b []byte, n int) (*comparison, error) {
	number := func() uint64 {
		v, size := binary.Uvarint(b)
		b = b[max(size, 0):]
		return v
	}
	c := &comparison{version: int64(number())}
	if number() != uint64(n) || len(b) < n {
		return nil, errEntry
	}
	c.kinds = make([]steps.ChangeKind, n)
	for i := range c.kinds {
		c.kinds[i] = steps.ChangeKind(b[i])
	}
	for b = b[n:]; len(b) > 0; {
		size := number()
		if size > uint64(len(b)) {
			return nil, errEntry
		}
		c.deleted = append(c.deleted, string(b[:size]))
		b = b[size:]
	}
	return c, nil
}
