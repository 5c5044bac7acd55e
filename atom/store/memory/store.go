// Package memory is a store.Store in memory, for tests of the atom and of
// processes. Package storetest holds its conformance test.
package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"valence/atom/store"
)

// Store is a store.Store in memory. It commits immediately.
type Store struct {
	now    func() time.Time
	mu     sync.Mutex
	err    error // of all writes
	next   int64
	states stateVersions
	executions
	keys     map[[2]string]*key
	origins  map[string]store.Receipt
	until    map[string]time.Time // of origins that are remembered for a time of their own
	cursors  map[string][]byte
	contents map[string][]byte
	replies  map[int64]*store.DeferredReply
	trims    map[int64]int // how often the journal was trimmed
	waits    waitTable
	events   events
	lanes
	listeners
	leases

	// TailEntries is the number of journal entries that Tail has returned. Read
	// it while nothing runs.
	TailEntries int
}

// executions are the live executions and the history.
type executions struct {
	live, done map[int64]*store.Execution
	kept       map[int64]int64 // sizes of failures that ran in memory
	suspended  map[int64]bool
	expiry     map[int64]time.Time // start deadlines
	holds      map[int64][]string
}

// listeners are set before Run.
type listeners struct {
	accepted func([]*store.Record)
	ready    func([]store.Wakeup)
	wakeups  []store.Wakeup // to be reported
}

type key struct {
	seq      int64
	received time.Time
	until    time.Time
	reply    []byte
	holder   []byte
}

var _ store.Store = (*Store)(nil)

// New returns an empty store. now is its clock; nil is time.Now.
func New(now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{
		now: now, next: 1, leases: leases{epoch: 1, cancelled: map[int64]bool{}}, states: stateVersions{}, keys: map[[2]string]*key{}, origins: map[string]store.Receipt{}, until: map[string]time.Time{}, cursors: map[string][]byte{}, contents: map[string][]byte{},
		replies: map[int64]*store.DeferredReply{}, trims: map[int64]int{}, events: newEvents(), lanes: lanes{byKey: map[[2]string]*lane{}},
		executions: executions{live: map[int64]*store.Execution{}, kept: map[int64]int64{}, done: map[int64]*store.Execution{}, suspended: map[int64]bool{},
			expiry: map[int64]time.Time{}, holds: map[int64][]string{}},
	}
}

// Fail makes all writes fail with err; nil lets them succeed again.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// OnAccepted implements store.Store.
func (s *Store) OnAccepted(f func([]*store.Record)) { s.accepted = f }

// OnReady implements store.Notifier.
func (s *Store) OnReady(f func([]store.Wakeup)) { s.ready = f }

// Run waits for ctx to end.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// Accept implements store.Queue.
func (s *Store) Accept(ctx context.Context, a *store.Message) (store.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return store.Receipt{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if !s.runs() {
		return store.Receipt{}, fmt.Errorf("%w: %w", store.ErrUnavailable, store.ErrFenced)
	}
	var accepted []*store.Record
	r, err := s.accept(a, &accepted)
	s.notifyAccepted(accepted)
	s.notifyWakeups()
	return r, err
}

// Origin implements store.Origins.
func (s *Store) Origin(_ context.Context, origin string) (store.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.origins[origin]
	if !ok {
		return r, store.ErrUnknown
	}
	r.Duplicate = true
	return r, nil
}

func (s *Store) notifyAccepted(accepted []*store.Record) {
	if len(accepted) > 0 && s.accepted != nil {
		s.accepted(accepted)
	}
}

func (s *Store) accept(a *store.Message, accepted *[]*store.Record) (store.Receipt, error) {
	if a.Process == "" {
		return store.Receipt{}, errors.New("the message names no process")
	}
	if len(a.Meta) > store.MaxMeta {
		return store.Receipt{}, errors.New("the metadata has more than 64 KiB")
	}
	now := s.now()
	if r, ok := s.duplicate(a, now); ok {
		return r, nil
	}
	if s.laneFull(a.Lane) {
		return store.Receipt{}, store.ErrLaneFull
	}
	own := *a
	if own.Seq == 0 {
		own.Seq = s.next
		s.next++
	} else if x := s.live[own.Seq]; x != nil {
		return store.Receipt{Seq: x.Seq, Received: x.Received, Duplicate: true}, nil
	}
	s.coalesce(&own)
	own.Entries, own.Dedupe = nil, nil
	r := store.Receipt{Seq: own.Seq, Received: own.Received}
	x := &store.Execution{Record: store.Record{Message: own, State: store.Accepted}, Journal: slices.Clone(a.Entries)}
	if own.Due.After(now) {
		x.State = store.Waiting
	}
	if s.takenPlace != nil {
		x.Lane = s.takenPlace
	} else {
		r.WaitsInLane = s.enterLane(x)
	}
	s.live[own.Seq] = x
	if !a.Expires.IsZero() {
		s.expiry[own.Seq] = a.Expires
	}
	if a.Origin != "" {
		s.origins[a.Origin] = r
		s.until[a.Origin] = a.Remember
	}
	if a.Dedupe != nil {
		s.keys[[2]string{a.Process, a.Dedupe.Key}] = &key{seq: own.Seq, received: own.Received, until: a.Dedupe.Until, holder: a.Dedupe.Holder}
	}
	rec := x.Record
	rec.WaitsInLane, rec.Epoch = r.WaitsInLane, s.epoch
	*accepted = append(*accepted, &rec)
	return r, nil
}

// duplicate returns the receipt of an earlier message with the same origin or
// dedupe key.
func (s *Store) duplicate(a *store.Message, now time.Time) (store.Receipt, bool) {
	if until := s.until[a.Origin]; !until.IsZero() && !until.After(now) {
		delete(s.origins, a.Origin)
	}
	if r, ok := s.origins[a.Origin]; ok && a.Origin != "" {
		r.Duplicate = true
		return r, true
	}
	if a.Dedupe != nil {
		if k := s.keys[[2]string{a.Process, a.Dedupe.Key}]; k != nil && k.until.After(now) && k.seq != a.Seq {
			return store.Receipt{Seq: k.seq, Received: k.received, Duplicate: true, Holder: k.holder}, true
		}
	}
	return store.Receipt{}, false
}

// records returns copies of up to limit live executions, filtered and ordered.
func (s *Store) records(limit int, want func(*store.Execution) bool, order func(a, b *store.Record) int) []*store.Record {
	var out []*store.Record
	for _, x := range s.live {
		if x.Outcome == nil && want(x) {
			rec := x.Record
			rec.Epoch = s.epoch
			out = append(out, &rec)
		}
	}
	slices.SortFunc(out, order)
	return out[:min(limit, len(out))]
}

func bySeq(a, b *store.Record) int { return cmp.Compare(a.Seq, b.Seq) }

// Ready implements store.Queue.
func (s *Store) Ready(_ context.Context, process string, after int64, limit int) ([]*store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records(limit, func(x *store.Execution) bool {
		return s.runs() && x.Process == process && x.Seq > after && x.Due.IsZero() && x.Lane == nil && !s.suspended[x.Seq]
	}, bySeq), nil
}

// Due implements store.Queue.
func (s *Store) Due(_ context.Context, process string, until time.Time, limit int) ([]*store.Record, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := func(a, b *store.Record) int { return cmp.Or(a.Due.Compare(b.Due), bySeq(a, b)) }
	later := s.records(1, func(x *store.Execution) bool { return x.Process == process && x.Due.After(until) }, order)
	var next time.Time
	if len(later) > 0 {
		next = later[0].Due
	}
	return s.records(limit, func(x *store.Execution) bool {
		return s.runs() && x.Process == process && !x.Due.IsZero() && !x.Due.After(until)
	}, order), next, nil
}

// Apply implements store.Journal.
func (s *Store) Apply(ctx context.Context, c *store.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	x := s.live[c.Seq]
	switch {
	case x == nil && s.done[c.Seq] != nil, x != nil && x.Outcome != nil:
		return store.ErrEnded
	case x == nil:
		return store.ErrUnknown
	case c.Epoch != 0 && c.Epoch != s.epoch:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, store.ErrFenced)
	case c.Epoch != 0 && c.Disposition != nil && !c.Cancelled && s.cancelled[c.Seq]:
		return store.ErrCancelled
	}
	for _, r := range c.Require {
		if err := s.check(c.Seq, r); err != nil {
			return err
		}
	}
	for _, r := range c.Require {
		s.settle(c.Seq, r)
	}
	s.enterWaits(x, c.Waits)
	if len(c.Entries)+len(c.Trim) > 0 {
		x.Crashes = 0
	}
	if len(c.Trim) > 0 {
		x.Journal = trimJournal(x.Journal, c.Trim)
		s.trims[x.Seq]++
	}
	var accepted []*store.Record
	for _, h := range c.Handoffs {
		if _, err := s.accept(h, &accepted); err != nil {
			return err
		}
	}
	s.mark(c)
	x.Journal = append(x.Journal, c.Entries...)
	s.storeReply(x.Process, c)
	if c.Cancel {
		s.cancel(x)
	}
	switch d := c.Disposition.(type) {
	case *store.Suspension:
		s.suspend(x, d)
	case *store.Outcome:
		s.end(x, *d)
	}
	s.notifyAccepted(accepted)
	s.notifyReady()
	s.notifyWakeups()
	return nil
}

func (s *Store) suspend(x *store.Execution, p *store.Suspension) {
	x.State, x.Due, x.Reason = p.State, p.Due, p.Reason
	if x.Due.IsZero() && x.State != store.Held && len(p.Waits) == 0 {
		x.Due = dueNow
	}
	x.Attempt++
	s.holds[x.Seq] = p.For
	x.Crashes = 0
	s.suspended[x.Seq] = true
	if x.State == store.Accepted {
		s.waits.ready = append(s.waits.ready, store.Wakeup{Process: x.Process, Seq: x.Seq})
	}
	if slices.ContainsFunc(p.Waits, func(id int64) bool { return s.waits.signaled(waitKey{x.Seq, id}) }) {
		s.makeReady(x)
	}
}

func (s *Store) end(x *store.Execution, outcome store.Outcome) {
	x.Outcome, x.State, x.Due, x.Reason = &outcome, "", time.Time{}, ""
	s.waits.end(x.Seq)
	if outcome.Status != store.Failed && outcome.Status != store.Expired {
		s.archive(x)
	}
	s.leaveLane(x, outcome.Status == store.Failed)
}

// archive moves an execution to the history.
func (s *Store) archive(x *store.Execution) {
	delete(s.live, x.Seq)
	if x.Outcome.DropDocuments {
		x.Doc, x.Data, x.Journal = nil, nil, nil
	}
	s.done[x.Seq] = x
}

// Entries implements store.Journal.
func (s *Store) Entries(_ context.Context, seq int64) ([]store.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.live[seq]; x != nil {
		return slices.Clone(x.Journal), nil
	}
	return nil, nil
}

// Record implements store.History.
func (s *Store) Record(f *store.Finished) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outcome := f.Outcome
	x := &store.Execution{Record: f.Record, Outcome: &outcome, Journal: f.Entries}
	x.Entries, x.State = nil, ""
	if (outcome.Status == store.Failed || outcome.Status == store.Expired) && len(outcome.Resolved) == 0 {
		s.live[x.Seq], s.kept[x.Seq] = x, int64(f.Size())+f.FileBytes
		return
	}
	s.archive(x)
}

// PutContent implements store.Contents.
func (s *Store) PutContent(_ context.Context, hash string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
	}
	s.contents[hash] = content
	return nil
}

// Content implements store.Contents.
func (s *Store) Content(_ context.Context, hash string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.contents[hash]
	if !ok {
		return nil, store.ErrUnknown
	}
	return c, nil
}

// Counts implements store.Backlog.
func (s *Store) Counts(context.Context) (map[string]map[store.State]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[store.State]int64{}
	for _, x := range s.live {
		if x.Outcome != nil {
			continue
		}
		if out[x.Process] == nil {
			out[x.Process] = map[store.State]int64{}
		}
		out[x.Process][x.State]++
	}
	return out, nil
}

// Oldest implements store.Backlog.
func (s *Store) Oldest(_ context.Context, process string) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.records(1, func(x *store.Execution) bool { return x.Process == process && x.State != store.Waiting }, bySeq)
	if len(first) == 0 {
		return time.Time{}, nil
	}
	return first[0].Received, nil
}

// Err implements store.Backlog.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, s.err)
	}
	return nil
}

// Started does nothing: a store in memory does not survive a crash.
func (s *Store) Started(int64) {}

// Lose loses the document of a live execution.
func (s *Store) Lose(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.live[seq]; x != nil {
		x.Doc, x.Data, x.DocumentErr = nil, nil, store.ErrDocumentLost
	}
}
