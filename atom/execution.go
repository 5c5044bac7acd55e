package atom

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// maxEntries bounds one execution's journal.
const maxEntries = 50_000

// execution is one run of one execution: in memory for request/reply, or of a
// record of the store. It is what steps see as their Runtime.
type execution struct {
	atom     *Atom
	plan     *plan
	seq      int64
	public   string // its id, once it was asked for
	received time.Time
	started  time.Time
	durable  bool
	meta     *meta
	request  func() any // as `request` reads; nil: null
	env      *document.Object
	envHash  string
	redact   []string
	cancel   context.CancelCauseFunc // durable ones

	mu       sync.Mutex
	done     map[string]Entry // journal of earlier runs, by kind and key
	under    *commitment      // the newest commit; nil: there was none
	marks    []Mark
	writing  []Write
	pending  []Entry         // finished and not yet committed
	handoffs []*Acceptance   // likewise
	lane     *Lane           // of a durable one; nil: none
	behind   map[string]bool // processes handed off into its lane
	kept     *KeptReply      // likewise
	settled  *Settled        // likewise
	given    bool            // the reply is pending or committed
	waits    []Wait          // likewise
	signals  int             // that earlier runs were given
	entries  []Entry         // in memory: everything so far
	count    int
	trace    trace
	warnings []string
	failed   []string // keys of the occurrences that failed it
	tracked  map[string]string
	reply    *Reply
	sent     Traffic // written by calls of this run and of earlier ones
	memory   memory
	streams  []*stream   // loops over paged calls
	forget   []Forget    // to be committed with what is pending
	dedupe   *Dedupe     // in memory: the key that this request has claimed
	accepted *Acceptance // in memory: what was committed by an early reply
}

var _ steps.Runtime = (*execution)(nil)

// Name reads a root that is the same on every path.
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
		e.atom.mu.RLock()
		defer e.atom.mu.RUnlock()
		if r := e.atom.current[e.plan.release]; r != nil && r.secrets != nil {
			return r.secrets, true
		}
		return &document.Object{}, true // its project is not deployed any more
	case "execution":
		o := &document.Object{}
		o.Set("id", e.id())
		o.Set("process", e.plan.process.Name)
		o.Set("started_at", timeText(e.received))
		return o, true
	}
	return nil, false
}

// Process finds a process of the version that this execution runs on.
func (e *execution) Process(name string) (*processes.Process, bool) {
	p, ok := e.plan.project.Processes[name]
	return p, ok
}

// UUID gives a version 4 UUID that is the same whenever the execution runs again.
func (e *execution) UUID(place string, n int) string {
	b := derive("uuid", e.root(), place, strconv.Itoa(n))
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (e *execution) root() string {
	if e.meta.Root != "" {
		return e.meta.Root
	}
	return e.id()
}

// id is the execution's public id.
func (e *execution) id() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.public == "" {
		e.public = e.atom.ExecutionID(e.seq, e.received)
	}
	return e.public
}

// idempotencyKey is the same for every attempt of one occurrence of a call.
func (e *execution) idempotencyKey(key string) string {
	if e.meta.Call != nil {
		key = e.meta.Call.Key
	}
	b := derive("call", e.root(), key)
	return hex.EncodeToString(b[:])
}

// Warn makes the execution end with warnings.
func (e *execution) Warn(f *steps.Frame, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.warnings = append(e.warnings, f.Key()+": "+text)
}

// journaled finds what an earlier run did at a place.
func (e *execution) journaled(kind, key string) (Entry, bool) {
	if e.done == nil {
		return Entry{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	x, ok := e.done[kind+" "+key]
	return x, ok
}

// note adds an entry, to be committed before the next effect, with what must
// commit with it.
func (e *execution) note(x Entry, handoff *Acceptance, waits ...Wait) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.count++; e.count > maxEntries {
		return &fault.Failure{Code: fault.CodeInternal, Origin: fault.FromAtom,
			Message: fmt.Sprintf("the execution made more than %d calls; hand off the elements of its loops instead", maxEntries)}
	}
	for _, s := range e.streams {
		if s.Has(x.Path) {
			s.noted++
		}
	}
	if e.durable {
		e.pending = append(e.pending, x)
		if handoff != nil {
			e.handoffs = append(e.handoffs, handoff)
		}
		e.waits = append(e.waits, waits...)
	} else {
		e.entries = append(e.entries, x)
	}
	return nil
}

// Handoff creates an execution of its own.
func (e *execution) Handoff(f *steps.Frame, h *steps.Handoff) error {
	key := f.Key()
	if x, ok := e.journaled(kindHandoff, key); ok {
		f.Happened(x.At)
		if len(x.Body) > 0 {
			e.follows(string(x.Body))
		}
		return nil
	}
	now := e.clock(f)
	a := &Acceptance{Received: now, Env: e.envHash, Origin: hex.EncodeToString(slice(derive("handoff", e.root(), key)))}
	m := &meta{Correlation: e.meta.Correlation, Trace: e.meta.Trace, Principal: e.meta.Principal, Parent: e.id(), Alarm: e.meta.Alarm}
	if h.Call != nil {
		a.Process, a.Plan = e.plan.process.Name, e.plan.name()
		m.Root = e.root()
		m.Call = &metaCall{Path: f.Step().Path, Key: key}
		if h.Call.Settings != nil {
			m.Call.With = document.AppendJSON(nil, h.Call.Settings)
		}
		if owner := f.Process(); owner != e.plan.process { // a called process' step
			a.Process, a.Plan = owner.Name, (&plan{process: owner, release: e.plan.release, files: e.plan.files}).name()
		}
		setDocument(a, h.Call.Body, e.redact)
	} else {
		d, ok := e.atom.Process(h.Process)
		if !ok {
			return fault.Failf(fault.CodeInternal, "the process %s is not deployed any more", h.Process)
		}
		in := &Arrival{Doc: h.Body, CorrelationID: m.Correlation, Traceparent: m.Trace, Principal: m.Principal, Received: now, Props: h.Props}
		taken, out, err := e.atom.intake(f.Context(), d, in)
		if err != nil {
			return err
		}
		if out == "" {
			m.Coalesced = taken.Coalesce != nil
			taken.Origin = a.Origin
			if taken.Lane != nil {
				taken.Lane.Limit = 0 // what was done is not refused
			}
			a = taken
			if h.Props != nil {
				m.Props = document.AppendJSON(nil, h.Props)
			}
		} else {
			a = nil
		}
	}
	if a != nil {
		a.Meta = m.append(nil)
	}
	x := Entry{Path: key, Kind: kindHandoff, At: now}
	if a != nil && a.Lane != nil && e.lane != nil && a.Lane.Scope == e.lane.Scope && a.Lane.Key == e.lane.Key {
		x.Body = []byte(a.Process)
		e.follows(a.Process)
	}
	if e.durable {
		f.Happened(now)
		return e.note(x, a)
	}
	if a != nil { // committed at its step
		if _, err := e.atom.store.Accept(f.Context(), a); err != nil {
			return unavailable(err)
		}
	}
	f.Happened(now)
	return e.note(x, nil)
}

// Reply answers the caller. In memory, with steps behind it, everything done
// so far is committed first, and the rest runs from there.
func (e *execution) Reply(f *steps.Frame, r *steps.Reply, rest bool) error {
	key := f.Key()
	out := &Reply{Execution: e.id(), Doc: r.Doc, Status: r.Status, Headers: headerList(r.Headers)}
	e.mu.Lock()
	e.reply, e.given = out, true
	e.mu.Unlock()
	if x, ok := e.journaled(kindReply, key); ok {
		f.Happened(x.At)
		return nil
	}
	if !e.durable && !rest {
		return nil
	}
	if e.durable && e.meta.Later != nil {
		return e.keep(f, out, rest)
	}
	now := e.clock(f)
	body, err := packReply(out)
	if err != nil {
		return err
	}
	if err := e.note(Entry{Path: key, Kind: kindReply, At: now, Body: body}, nil); err != nil {
		return err
	}
	f.Happened(now)
	if e.durable {
		return nil
	}
	a, err := e.detach(f)
	if err != nil {
		return err
	}
	e.accepted = a
	return steps.Detached
}

// detach commits an execution in memory with all it did, to go on durably.
func (e *execution) detach(f *steps.Frame) (*Acceptance, error) {
	m := *e.meta
	m.Replied = true
	a := &Acceptance{Seq: e.seq, Process: e.plan.process.Name, Plan: e.plan.name(), Env: e.envHash, Received: e.received, Due: time.Now(), Entries: e.entries, Dedupe: e.dedupe}
	if e.request != nil {
		m.Request = document.AppendJSON(nil, e.request())
	}
	if p, _ := f.Name("props"); p != nil {
		m.Props = document.AppendJSON(nil, p)
	}
	a.Meta = m.append(nil)
	input := f.Input()
	setDocument(a, input, e.redact)
	track, err := e.track(f)
	if err != nil {
		return nil, err
	}
	a.Track = track
	if _, err := e.atom.store.Accept(f.Context(), a); err != nil {
		return nil, unavailable(err)
	}
	return a, nil
}

// track computes the searchable fields on the input.
func (e *execution) track(f *steps.Frame) (map[string]string, error) {
	fields := e.plan.process.Delivery.Track
	if len(fields) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(fields))
	for _, t := range fields {
		v, err := t.Value.Eval(f.Env())
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[t.Name] = strings.Trim(string(document.AppendJSON(nil, v)), `"`)
		}
	}
	return out, nil
}

// clock gives the time of an event on a path: now, and never before what
// happened there already.
func (e *execution) clock(f *steps.Frame) time.Time {
	now := time.Now().UTC().Truncate(time.Millisecond)
	if last := f.Env().Now; now.Before(last) {
		return last
	}
	return now
}

func packReply(r *Reply) ([]byte, error) {
	x := repliedEntry{Status: r.Status, Type: r.Doc.MediaType(), Body: r.Doc.Body()}
	if !r.Doc.IsJSON() {
		x.Data = len(r.Doc.Data())
		x.Body = append(append([]byte{}, r.Doc.Body()...), r.Doc.Data()...)
	}
	if len(r.Headers) > 0 {
		o := &document.Object{}
		for _, h := range r.Headers {
			o.Set(h.Name, h.Value)
		}
		x.Headers = document.AppendJSON(nil, o)
	}
	return json.Marshal(x)
}

func unpackReply(b []byte) (*Reply, error) {
	var x repliedEntry
	if err := json.Unmarshal(b, &x); err != nil || x.Data > len(x.Body) {
		return nil, errEntry
	}
	r := &Reply{Status: x.Status, Doc: unpackDocument(x.Body, x.Type, x.Data)}
	if len(x.Headers) > 0 {
		o, _ := document.Decode(document.Parse(string(x.Headers))).(*document.Object)
		r.Headers = headerList(o)
	}
	return r, nil
}

func headerList(o *document.Object) []KV {
	if o == nil {
		return nil
	}
	list := make([]KV, 0, o.Len())
	for i := range o.Len() {
		name, v := o.At(i)
		switch v := v.(type) {
		case nil:
		case string:
			list = append(list, KV{name, v})
		default:
			list = append(list, KV{name, string(document.AppendJSON(nil, v))})
		}
	}
	return list
}

func setDocument(a *Acceptance, d *document.Document, redact []string) {
	if d == nil {
		return
	}
	d = redacted(d, redact)
	a.DocType, a.Doc = d.MediaType(), d.Body()
	if !d.IsJSON() {
		a.Data = []byte(d.Data())
	}
}

func recordDocument(r *Record) *document.Document {
	switch {
	case r.DocType == "application/json":
		return document.FromJSON(r.Doc)
	case len(r.Doc) == 0 && len(r.Data) == 0:
		return document.Empty
	}
	return document.New(r.Doc, r.DocType, string(r.Data))
}

func slice(b [16]byte) []byte { return b[:] }
