package run

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// maxEntries bounds the journal of one execution.
const maxEntries = 50_000

// execution is one run of an execution: of a request in memory, or of a record
// of the store. It is the steps.Runtime of its steps.
type execution struct {
	engine *Engine
	identity
	inputs
	run *activeRun // nil: in memory
	journal
	staged stagedState
	observed
	reservation
}

// newExecution returns an execution without a journal.
func newExecution(g *Engine, p *Plan, m *Meta, received time.Time, in inputs) *execution {
	e := &execution{engine: g, identity: identity{ids: g.IDs, plan: p, meta: m, received: received}, inputs: in}
	e.journal.engine, e.journal.own = g, &e.identity
	return e
}

// identity says which execution it is. It is written before the run starts,
// except public.
type identity struct {
	ids      *IDs
	plan     *Plan
	seq      int64
	epoch    int64 // of its record
	received time.Time
	started  time.Time
	durable  bool
	repeats  bool        // a call without an entry may have been made before
	begun    bool        // steps may have run before this run
	lane     *store.Lane // of a durable execution; nil: none
	meta     *Meta

	idMu     sync.Mutex
	public   string // public id; "" until it is needed
	nameless bool   // the id was needed before the execution had a number; see Immediate
}

// inputs are the values that expressions read. They are written before the run
// starts.
type inputs struct {
	request func() any // returns `request`; nil: null
	env     *document.Object
	envHash string
	redact  []string // paths whose values are not stored
}

// journal is the journal of the execution, of this run and of earlier ones, with
// the change that commits next.
type journal struct {
	engine *Engine
	own    *identity

	mu        sync.Mutex             // guards everything below, and observed
	pending   *store.Change          // finished and not yet committed; nil: nothing
	newest    *pendingCommit         // newest commit; nil: there was none
	late      lateCommit             // of paths that have ended
	earlier   map[string]store.Entry // entries of earlier runs, by kind and key
	entries   []store.Entry          // in memory: all entries
	count     int                    // of entries
	loops     []*pageLoop            // loops over paged calls
	emits     int                    // number of the last report of progress
	laneMates map[string]bool        // processes handed off into the lane of the execution
	sent      Traffic                // written by calls of this run and of earlier ones
}

// observed is shown to operators and the sender when the execution ends. The
// mutex of the journal guards it; trace has its own.
type observed struct {
	trace    trace
	warnings []string
	failed   []string // keys of the occurrences that failed it
	tracked  map[string]string
	reply    *Reply
	replied  bool // the reply is pending or committed
}

// reservation is the key that an execution in memory has claimed.
type reservation struct {
	dedupe *store.Dedupe // nil: none
}

var _ steps.Runtime = (*execution)(nil)

// Name returns a root that is the same on every path.
func (e *execution) Name(root string) (any, bool) {
	switch root {
	case "request":
		if e.request == nil {
			return nil, true
		}
		return e.request(), true
	case "env":
		return e.env, true
	case "secret":
		if secrets := e.engine.Deployments.Secrets(e.plan.Release); secrets != nil {
			return secrets, true
		}
		return &document.Object{}, true // its project is not deployed any more
	case "execution":
		o := &document.Object{}
		o.Set("id", e.id())
		o.Set("process", e.plan.Process.Name)
		o.Set("started_at", TimeText(e.received))
		return o, true
	}
	return nil, false
}

// Process returns a process of the version that the execution runs on.
func (e *execution) Process(name string) (*processes.Process, bool) {
	p, ok := e.plan.Project.Processes[name]
	return p, ok
}

// Clock returns the clock of the atom.
func (e *execution) Clock() *clock.Clock { return e.engine.Clock }

// UUID returns a version 4 UUID that is the same whenever the execution runs again.
func (e *execution) UUID(place string, n int) string {
	b := Derive("uuid", e.root(), place, strconv.Itoa(n))
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// root returns the id that idempotency keys derive from.
func (i *identity) root() string {
	if i.meta.Root != "" {
		return i.meta.Root
	}
	return i.id()
}

// id returns the public id of the execution.
func (i *identity) id() string {
	i.idMu.Lock()
	defer i.idMu.Unlock()
	i.nameless = i.nameless || i.seq == 0
	if i.public == "" {
		i.public = i.ids.ExecutionID(i.seq, i.received)
	}
	return i.public
}

// idempotencyKey returns the same key for every attempt of one occurrence of a call.
func (i *identity) idempotencyKey(key string) string {
	if i.meta.Call != nil {
		key = i.meta.Call.Key
	}
	return DeriveText("call", i.root(), key)
}

// Warn makes the execution end with warnings.
func (e *execution) Warn(f *steps.Frame, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.warnings = append(e.warnings, f.Key()+": "+text)
}

// journaled returns the entry that an earlier run wrote.
func (j *journal) journaled(kind, key string) (store.Entry, bool) {
	if j.earlier == nil {
		return store.Entry{}, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	x, ok := j.earlier[kind+" "+key]
	return x, ok
}

// appendEntry adds an entry to the journal, with the hand-off and the waits
// that must commit with it. It is committed before the next effect.
func (j *journal) appendEntry(x store.Entry, handoff *store.Message, waits ...store.Wait) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.count++; j.count > maxEntries {
		return &fault.Failure{Code: fault.CodeInternal, Source: fault.FromAtom,
			Message: fmt.Sprintf("the execution made more than %d calls; hand off the elements of its loops instead", maxEntries)}
	}
	for _, l := range j.loops {
		if l.Has(x.Path) {
			l.written++
		}
	}
	if x.Kind == KindEmit {
		j.emits++
		x.Body = packEmit(j.emits, x.Body)
	}
	if !j.own.durable {
		j.entries = append(j.entries, x)
		return nil
	}
	c := j.change()
	c.Entries = append(c.Entries, x)
	if handoff != nil {
		c.Handoffs = append(c.Handoffs, handoff)
	}
	c.Waits = append(c.Waits, waits...)
	return nil
}

// once returns the body of the entry with a kind and key that an earlier run
// wrote. If there is none it calls do, and appends an entry with the body that
// do returns. replayed reports which of the two happened.
func (j *journal) once(f *steps.Frame, kind, key string, do func() ([]byte, error)) (body []byte, replayed bool, err error) {
	if x, ok := j.journaled(kind, key); ok {
		f.AdvanceClock(x.At)
		return x.Body, true, nil
	}
	if body, err = do(); err != nil {
		return nil, false, err
	}
	now := j.clock(f)
	if err := j.appendEntry(store.Entry{Path: key, Kind: kind, At: now, Body: body}, nil); err != nil {
		return nil, false, err
	}
	f.AdvanceClock(now)
	return body, false, nil
}

// clock returns the time of an event on a path: now, but never before an
// earlier event of the path.
func (j *journal) clock(f *steps.Frame) time.Time {
	now := j.engine.Clock.Wall().Truncate(time.Millisecond)
	if last := f.Env().Now; now.Before(last) {
		return last
	}
	return now
}
