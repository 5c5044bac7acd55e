// Package atomtest holds an in-memory store, and the suite that every store
// passes.
package atomtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"valence/atom"
)

// Store is an atom.Store in memory. It forgets everything when it is dropped,
// and commits at once.
type Store struct {
	remembered remembered

	mu       sync.Mutex
	next     int64
	live     map[int64]*atom.Execution
	done     map[int64]*atom.Execution
	parked   map[int64]bool
	keys     map[[2]string]*key
	origins  map[string]atom.Receipt
	contents map[string][]byte
	accepted func([]*atom.Record)
	ready    func([]atom.Ready)
	waits    waits
	expiry   map[int64]time.Time
	err      error
	started  map[int64]int
	replies  map[int64]*atom.KeptReply
	lanes    map[[2]string]*lane
	pos      int64 // newest place in a lane
	holds    map[int64][]string
	events   events
	turns    []atom.Ready // to be told
	placed   *atom.Lane   // of the acceptance that takes another's place
}

type key struct {
	seq      int64
	received time.Time
	until    time.Time
	reply    []byte
}

var _ atom.Store = (*Store)(nil)

// NewStore makes an empty one.
func NewStore() *Store {
	return &Store{remembered: remembered{}, next: 1, live: map[int64]*atom.Execution{}, done: map[int64]*atom.Execution{}, parked: map[int64]bool{},
		keys: map[[2]string]*key{}, origins: map[string]atom.Receipt{}, contents: map[string][]byte{}, started: map[int64]int{}, replies: map[int64]*atom.KeptReply{},
		lanes: map[[2]string]*lane{}, holds: map[int64][]string{}, events: newEvents(), expiry: map[int64]time.Time{}}
}

// Fail makes everything that writes fail with err until it is called with nil.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// OnAccepted is atom.Store's.
func (s *Store) OnAccepted(f func([]*atom.Record)) { s.accepted = f }

// OnReady is atom.Notifier's.
func (s *Store) OnReady(f func([]atom.Ready)) { s.ready = f }

// Run waits for ctx to end.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// Accept is atom.Queue's.
func (s *Store) Accept(ctx context.Context, a *atom.Acceptance) (atom.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return atom.Receipt{}, fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	var told []*atom.Record
	r, err := s.accept(a, &told)
	s.tell(told)
	s.tellTurns()
	return r, err
}

// Origin is atom.Origins'.
func (s *Store) Origin(_ context.Context, origin string) (atom.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.origins[origin]
	if !ok {
		return r, atom.ErrUnknown
	}
	r.Duplicate = true
	return r, nil
}

func (s *Store) tell(told []*atom.Record) {
	if len(told) > 0 && s.accepted != nil {
		s.accepted(told)
	}
}

func (s *Store) accept(a *atom.Acceptance, told *[]*atom.Record) (atom.Receipt, error) {
	if a.Process == "" {
		return atom.Receipt{}, errors.New("an acceptance without a process")
	}
	if len(a.Meta) > 64<<10 {
		return atom.Receipt{}, errors.New("its own data is over 64 KiB")
	}
	if r, ok := s.origins[a.Origin]; ok && a.Origin != "" {
		r.Duplicate = true
		return r, nil
	}
	now := time.Now()
	if a.Dedupe != nil {
		if k := s.keys[[2]string{a.Process, a.Dedupe.Key}]; k != nil && k.until.After(now) && k.seq != a.Seq {
			return atom.Receipt{Seq: k.seq, Received: k.received, Duplicate: true}, nil
		}
	}
	if s.full(a.Lane) {
		return atom.Receipt{}, atom.ErrLaneFull
	}
	own := *a
	if own.Seq == 0 {
		own.Seq = s.next
		s.next++
	} else if x := s.live[own.Seq]; x != nil {
		return atom.Receipt{Seq: x.Seq, Received: x.Received, Duplicate: true}, nil
	}
	s.coalesce(&own)
	own.Entries, own.Dedupe = nil, nil
	r := atom.Receipt{Seq: own.Seq, Received: own.Received}
	x := &atom.Execution{Record: atom.Record{Acceptance: own, State: atom.Accepted}, Journal: slices.Clone(a.Entries)}
	if own.Due.After(now) {
		x.State = atom.Waiting
	}
	if s.placed != nil {
		x.Lane = s.placed
	} else {
		r.Behind = s.enter(x)
	}
	s.live[own.Seq] = x
	if !a.Expires.IsZero() {
		s.expiry[own.Seq] = a.Expires
	}
	if a.Origin != "" {
		s.origins[a.Origin] = r
	}
	if a.Dedupe != nil {
		s.keys[[2]string{a.Process, a.Dedupe.Key}] = &key{seq: own.Seq, received: own.Received, until: a.Dedupe.Until}
	}
	if a.Seq == 0 && a.Due.IsZero() {
		rec := x.Record
		rec.Behind = r.Behind
		*told = append(*told, &rec)
	}
	return r, nil
}

// records gives copies of live executions that are selected, by an order.
func (s *Store) records(limit int, want func(*atom.Execution) bool, order func(a, b *atom.Record) int) []*atom.Record {
	var out []*atom.Record
	for _, x := range s.live {
		if x.Outcome == nil && want(x) {
			rec := x.Record
			out = append(out, &rec)
		}
	}
	slices.SortFunc(out, order)
	return out[:min(limit, len(out))]
}

func bySeq(a, b *atom.Record) int { return cmp.Compare(a.Seq, b.Seq) }

// Ready is atom.Queue's.
func (s *Store) Ready(_ context.Context, process string, after int64, limit int) ([]*atom.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records(limit, func(x *atom.Execution) bool {
		return x.Process == process && x.Seq > after && x.Due.IsZero() && x.Lane == nil && !s.parked[x.Seq]
	}, bySeq), nil
}

// Due is atom.Queue's.
func (s *Store) Due(_ context.Context, process string, until time.Time, limit int) ([]*atom.Record, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := func(a, b *atom.Record) int { return cmp.Or(a.Due.Compare(b.Due), bySeq(a, b)) }
	later := s.records(1, func(x *atom.Execution) bool { return x.Process == process && x.Due.After(until) }, order)
	var next time.Time
	if len(later) > 0 {
		next = later[0].Due
	}
	return s.records(limit, func(x *atom.Execution) bool {
		return x.Process == process && !x.Due.IsZero() && !x.Due.After(until)
	}, order), next, nil
}

// Apply is atom.Journal's.
func (s *Store) Apply(ctx context.Context, c *atom.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	x := s.live[c.Seq]
	switch {
	case x == nil && s.done[c.Seq] != nil, x != nil && x.Outcome != nil:
		return atom.ErrEnded
	case x == nil:
		return atom.ErrUnknown
	}
	if c.Memory != nil {
		if err := s.remembered.current(c.Memory); err != nil {
			return err
		}
	}
	if err := s.begins(c); err != nil {
		return err
	}
	if err := s.applyWaits(x, c); err != nil {
		return err
	}
	if c.Memory != nil {
		s.remembered.keep(c.Memory)
	}
	if len(c.Forget) > 0 {
		x.Journal = forget(x.Journal, c.Forget)
		x.Unclean = 0
	}
	var told []*atom.Record
	for _, h := range c.Handoffs {
		if _, err := s.accept(h, &told); err != nil {
			return err
		}
	}
	s.mark(c)
	x.Journal = append(x.Journal, c.Entries...)
	s.keepReply(x.Process, c)
	if c.Park != nil {
		x.State, x.Due, x.Why = c.Park.State, c.Park.Due, c.Park.Why
		if x.Due.IsZero() && x.State != atom.Held && !c.Park.Signal {
			x.Due = atOnce
		}
		x.Attempt++
		s.holds[x.Seq] = c.Park.For
		x.Unclean = 0
		s.parked[x.Seq] = true
		delete(s.started, x.Seq)
		if c.Park.Signal && s.waits.signalled(x.Seq) > c.Park.Signals {
			s.release(x)
		}
	}
	if c.Outcome != nil {
		outcome := *c.Outcome
		x.Outcome, x.State, x.Due, x.Why = &outcome, "", time.Time{}, ""
		delete(s.started, x.Seq)
		s.waits.end(x.Seq)
		if outcome.Status != atom.Failed && outcome.Status != atom.Expired {
			s.finish(x)
		}
		s.leave(x, outcome.Status == atom.Failed)
	}
	s.tell(told)
	s.tellReady()
	s.tellTurns()
	return nil
}

// finish moves an execution to the history.
func (s *Store) finish(x *atom.Execution) {
	delete(s.live, x.Seq)
	if x.Outcome.DropDocuments {
		x.Doc, x.Data, x.Journal = nil, nil, nil
	}
	s.done[x.Seq] = x
}

// Entries is atom.Journal's.
func (s *Store) Entries(_ context.Context, seq int64) ([]atom.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.live[seq]; x != nil {
		return slices.Clone(x.Journal), nil
	}
	return nil, nil
}

// Record is atom.History's.
func (s *Store) Record(f *atom.Finished) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outcome := f.Outcome
	x := &atom.Execution{Record: f.Record, Outcome: &outcome, Journal: f.Entries}
	x.Entries, x.State = nil, ""
	if outcome.Status == atom.Failed || outcome.Status == atom.Expired {
		s.live[x.Seq] = x
		return
	}
	s.finish(x)
}

// PutContent is atom.Contents'.
func (s *Store) PutContent(_ context.Context, hash string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	s.contents[hash] = content
	return nil
}

// Content is atom.Contents'.
func (s *Store) Content(_ context.Context, hash string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.contents[hash]
	if !ok {
		return nil, atom.ErrUnknown
	}
	return c, nil
}

// Counts is atom.Backlog's.
func (s *Store) Counts(context.Context) (map[string]map[atom.State]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[atom.State]int64{}
	for _, x := range s.live {
		if x.Outcome != nil {
			continue
		}
		if out[x.Process] == nil {
			out[x.Process] = map[atom.State]int64{}
		}
		out[x.Process][x.State]++
	}
	return out, nil
}

// Oldest is atom.Backlog's.
func (s *Store) Oldest(_ context.Context, process string) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.records(1, func(x *atom.Execution) bool { return x.Process == process }, bySeq)
	if len(first) == 0 {
		return time.Time{}, nil
	}
	return first[0].Received, nil
}

// Err is atom.Backlog's.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, s.err)
	}
	return nil
}

// Started notes that an execution runs, as the durable stores do.
func (s *Store) Started(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started[seq]++
}
