package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// maxStale is how long a control plane answers from memory after it last
// verified its position. A change made by another control plane is in effect here
// within that time, even if the connection to the database is lost.
const maxStale = 10 * time.Second

// refreshEvery is how often the position is verified when no change was announced.
const refreshEvery = 2 * time.Second

// writeLockTime bounds how long a call waits for other calls of this control plane.
const writeLockTime = 15 * time.Second

// Cluster keeps this control plane in step with the others that share its
// database. The exported methods of a nil Cluster succeed at once: the control
// plane has the store to itself.
type Cluster struct {
	*core
	shared   SharedStore
	writers  chan struct{} // holds a token while a call has or awaits the write lock
	presence Presence

	applied   atomic.Int64 // the position of the state in memory; written under core.writing
	verified  atomic.Pointer[time.Time]
	following atomic.Bool // events arrive
	starting  atomic.Bool // no event has arrived yet
	refreshes refreshRounds

	changed    chan struct{} // holds a token when there are changes to read
	urgent     chan struct{} // holds a token when heartbeats should be published soon
	heartbeats chan Event    // batches stored by other control planes

	questions questions
}

// refreshRounds lets concurrent callers of Refresh share one round.
type refreshRounds struct {
	token chan struct{} // held by the running round
	begun atomic.Int64
	ended int64 // the last round that ended; guarded by token
	err   error // its result; guarded by token
}

// questions are pending questions to the other control planes.
type questions struct {
	mu   sync.Mutex
	all  map[int64]chan struct{}
	last int64
}

func newCluster(c *core, shared SharedStore) *Cluster {
	s := &Cluster{
		core: c, shared: shared, writers: make(chan struct{}, 1), refreshes: refreshRounds{token: make(chan struct{}, 1)}, changed: make(chan struct{}, 1),
		urgent: make(chan struct{}, 1), heartbeats: make(chan Event, 64), questions: questions{all: map[int64]chan struct{}{}},
	}
	s.starting.Store(true)
	return s
}

// signal puts a token into a channel with room for one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// begin acquires the write lock among all control planes and applies their changes.
func (s *Cluster) begin(ctx context.Context) (*change, error) {
	wait := time.NewTimer(writeLockTime)
	defer wait.Stop()
	select {
	case s.writers <- struct{}{}:
	case <-wait.C:
		return nil, &Error{ErrBusy, "timed out waiting for other changes: retry later"}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	start := time.Now()
	t, err := s.shared.Begin(ctx)
	if err != nil {
		<-s.writers
		return nil, unavailable(err)
	}
	s.writing.Lock()
	c := &change{writer: t, mailboxes: s.mailboxes, unlock: func() {
		s.writing.Unlock()
		t.End()
		<-s.writers
	}}
	if t.Position() > s.applied.Load() {
		if err := s.catchUp(ctx); err != nil {
			c.end()
			return nil, unavailable(err)
		}
	}
	s.verified.Store(&start)
	return c, nil
}

// catchUp applies the changes of other control planes to the state in memory. The
// caller holds writing.
func (s *Cluster) catchUp(ctx context.Context) error {
	c := &change{}
	to, err := s.shared.ChangesSince(ctx, s.applied.Load(), func(o Object) error { return s.stage(c, o) })
	if errors.Is(err, ErrPositionExpired) {
		return s.reload(ctx)
	}
	if err != nil {
		return err
	}
	s.publish(c)
	s.applied.Store(max(to, s.applied.Load()))
	return nil
}

// stage adds an object changed by another control plane to a change. Objects of
// an unknown kind were written by a newer program and are ignored.
func (s *Cluster) stage(c *change, o Object) error {
	v := newObject(o.Kind)
	switch {
	case v == nil:
		return nil
	case o.Body == nil:
		if v = s.state.find(o.Kind, o.ID); v == nil {
			return nil
		}
		c.drops = append(c.drops, v)
	default:
		if err := json.Unmarshal(o.Body, v); err != nil {
			return fmt.Errorf("read the %s %s: %w", o.Kind, o.ID, err)
		}
		c.puts = append(c.puts, v)
	}
	switch v := v.(type) {
	case *Atom:
		s.lastRevision = max(s.lastRevision, v.Revision)
		c.wake(v.ID)
	case *Attachment:
		c.wake(v.AtomID)
	case *Environment:
		s.lastRevision = max(s.lastRevision, v.Revision)
		for atom := range s.state.atomsIn[v.ID] {
			c.wake(atom)
		}
	case *Deployment:
		c.deployments = true
	}
	return nil
}

// reload replaces the state in memory by that in the store. The caller holds
// writing.
func (s *Cluster) reload(ctx context.Context) error {
	next := newState()
	to, err := s.shared.ChangesSince(ctx, 0, func(o Object) error {
		if o.Body == nil || newObject(o.Kind) == nil {
			return nil
		}
		return next.read(o)
	})
	if err != nil {
		return err
	}
	next.reindex()
	s.mu.Lock()
	s.state.replaceWith(next)
	s.mu.Unlock()
	s.stateLoaded()
	s.applied.Store(to)
	s.mailboxes.wakeAll()
	return nil
}

// Refresh returns when every change that any control plane made before the call
// is in memory. It returns ErrUnavailable if that cannot be established.
func (s *Cluster) Refresh(ctx context.Context) error {
	if s == nil {
		return nil
	}
	r := &s.refreshes
	arrived := r.begun.Load()
	select {
	case r.token <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.token }()
	if r.ended <= arrived { // no round has begun and ended since the call
		n := r.begun.Add(1)
		r.err = s.refresh(context.WithoutCancel(ctx))
		r.ended = n
	}
	return r.err
}

func (s *Cluster) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxStale/2)
	defer cancel()
	start := time.Now()
	position, err := s.shared.Position(ctx)
	if err == nil && position > s.applied.Load() {
		s.writing.Lock()
		err = s.catchUp(ctx)
		s.writing.Unlock()
	}
	if err != nil {
		return unavailable(err)
	}
	s.verified.Store(&start)
	return nil
}

// CheckFresh returns ErrUnavailable if the state in memory may be older than ten
// seconds.
func (s *Cluster) CheckFresh() error {
	if s == nil {
		return nil
	}
	at := *s.verified.Load()
	// Unlike the monotonic clock, the wall clock advances while a machine is suspended.
	if age := max(time.Since(at), time.Since(at.Round(0))); age > maxStale {
		return fmt.Errorf("%w: this control plane has not reached its database for %s", ErrUnavailable, age.Round(time.Second))
	}
	return nil
}

// SetPresence sets which instances of atoms are served here. It must be called
// before Run.
func (s *Cluster) SetPresence(p Presence) {
	if s != nil {
		s.presence = p
	}
}
