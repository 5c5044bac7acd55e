package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// vouchFor is how long a control plane answers from its memory after it has
// last made sure that this is the newest: in that time at the latest, what
// another has changed holds here, too, whatever happens to the connection to
// the database. After it nothing is answered that depends on it.
const vouchFor = 10 * time.Second

// confirmEvery is how often it makes sure, without being told of a change.
const confirmEvery = 2 * time.Second

// turnTime bounds how long a call waits for others of this control plane.
const turnTime = 15 * time.Second

// sharing is the part of a control plane that shares its store with others.
type sharing struct {
	store Shared
	turns chan struct{} // holds a token while one of this plane's calls has or awaits the turn
	door  Door

	applied   atomic.Int64 // the position that is in memory; written under Service.changing
	confirmed atomic.Pointer[time.Time]
	listening atomic.Bool // others are heard now
	begins    atomic.Bool // they never were

	confirming chan struct{} // a token for who confirms
	begun      atomic.Int64  // rounds of confirming
	ended      int64         // the last that ended; under confirming
	failure    error         // how; under confirming

	changed chan struct{} // a token when there is a change to read
	urgent  chan struct{} // a token when others should hear of an atom soon
	beats   chan Event    // that others have stored

	mu        sync.Mutex
	questions map[int64]chan struct{} // who serves a run, by number
	question  int64
}

func newSharing(store Shared) *sharing {
	h := &sharing{
		store: store, turns: make(chan struct{}, 1), confirming: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		urgent: make(chan struct{}, 1), beats: make(chan Event, 64), questions: map[int64]chan struct{}{},
	}
	h.begins.Store(true)
	return h
}

// signal puts a token into a channel of one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// beginShared waits for the turn among all control planes, and has what others
// have changed before it.
func (s *Service) beginShared(ctx context.Context) (*change, error) {
	h := s.shared
	wait := time.NewTimer(turnTime)
	defer wait.Stop()
	select {
	case h.turns <- struct{}{}:
	case <-wait.C:
		return nil, &Error{ErrBusy, "other changes take too long; send this again later"}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	start := time.Now()
	t, err := h.store.Begin(ctx)
	if err != nil {
		<-h.turns
		return nil, unavailable(err)
	}
	s.changing.Lock()
	c := &change{to: t, lines: s.lines, release: func() {
		s.changing.Unlock()
		t.End()
		<-h.turns
	}}
	if t.Position() > h.applied.Load() {
		if err := s.catchUp(ctx); err != nil {
			c.end()
			return nil, unavailable(err)
		}
	}
	h.confirmed.Store(&start)
	return c, nil
}

// catchUp brings into memory what others have changed. The caller holds
// changing.
func (s *Service) catchUp(ctx context.Context) error {
	h := s.shared
	c := &change{}
	to, err := h.store.Since(ctx, h.applied.Load(), func(o Object) error { return s.foreign(c, o) })
	if errors.Is(err, ErrBehind) {
		return s.reload(ctx)
	}
	if err != nil {
		return err
	}
	s.show(c)
	h.applied.Store(max(to, h.applied.Load()))
	return nil
}

// foreign adds an object that another control plane has changed. One of a kind
// that is not known here is of a newer program, which knows what it is for.
func (s *Service) foreign(c *change, o Object) error {
	v := fresh(o.Kind)
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
		for atom := range s.state.attached[v.ID] {
			c.wake(atom)
		}
	case *Deployment:
		c.deployments = true
	}
	return nil
}

// reload reads everything anew. The caller holds changing.
func (s *Service) reload(ctx context.Context) error {
	next := newState()
	to, err := s.shared.store.Since(ctx, 0, func(o Object) error {
		if o.Body == nil || fresh(o.Kind) == nil {
			return nil
		}
		return next.read(o)
	})
	if err != nil {
		return err
	}
	next.reindex()
	s.mu.Lock()
	s.state.become(next)
	s.mu.Unlock()
	s.revisions()
	s.shared.applied.Store(to)
	s.lines.wakeAll()
	return nil
}

// find gives an object by kind and id, nil if there is none.
func (st *state) find(kind, id string) kept {
	switch kind {
	case "account":
		return some(st.accounts[id])
	case "token":
		return some(st.tokens[id])
	case "environment":
		return some(st.environments[id])
	case "atom":
		return some(st.atoms[id])
	case "attachment":
		return some(st.attachments[id])
	case "installtoken":
		return some(st.installs[id])
	case "component":
		return some(st.components[id])
	case "package":
		return some(st.packages[id])
	case "deployment":
		return some(st.deployments[id])
	case "session":
		return some(st.sessions[id])
	case "extension":
		environment, name, _ := strings.Cut(id, "/")
		return some(st.extensions[environment][name])
	}
	return nil
}

// some gives nothing for a nil pointer.
func some[T any, P interface {
	*T
	kept
}](v P) kept {
	if v == nil {
		return nil
	}
	return v
}

// become takes over what another state holds. The maps stay: who ranges over
// one holds Service.mu.
func (st *state) become(next *state) {
	replace(st.accounts, next.accounts)
	replace(st.tokens, next.tokens)
	replace(st.sessions, next.sessions)
	replace(st.bySession, next.bySession)
	replace(st.environments, next.environments)
	replace(st.atoms, next.atoms)
	replace(st.attachments, next.attachments)
	replace(st.installs, next.installs)
	replace(st.components, next.components)
	replace(st.packages, next.packages)
	replace(st.deployments, next.deployments)
	replace(st.extensions, next.extensions)
	replace(st.byHash, next.byHash)
	replace(st.installBy, next.installBy)
	replace(st.attachedTo, next.attachedTo)
	replace(st.attached, next.attached)
	replace(st.active, next.active)
	replace(st.archives, next.archives)
}

func replace[K comparable, V any](to, from map[K]V) {
	clear(to)
	maps.Copy(to, from)
}

// Confirm returns when everything that any control plane changed before the
// call is in memory. It fails with ErrUnavailable where that cannot be known. A
// control plane that has its store for itself always knows.
func (s *Service) Confirm(ctx context.Context) error {
	h := s.shared
	if h == nil {
		return nil
	}
	came := h.begun.Load()
	select {
	case h.confirming <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.confirming }()
	if h.ended <= came { // none has begun since and ended
		n := h.begun.Add(1)
		h.failure = s.confirm(context.WithoutCancel(ctx))
		h.ended = n
	}
	return h.failure
}

func (s *Service) confirm(ctx context.Context) error {
	h := s.shared
	ctx, cancel := context.WithTimeout(ctx, vouchFor/2)
	defer cancel()
	start := time.Now()
	position, err := h.store.Position(ctx)
	if err == nil && position > h.applied.Load() {
		s.changing.Lock()
		err = s.catchUp(ctx)
		s.changing.Unlock()
	}
	if err != nil {
		return unavailable(err)
	}
	h.confirmed.Store(&start)
	return nil
}

// Vouch is nil while what is in memory is not older than ten seconds.
func (s *Service) Vouch() error {
	if s.shared == nil {
		return nil
	}
	at := *s.shared.confirmed.Load()
	// The wall clock goes on while a machine is suspended.
	if age := max(time.Since(at), time.Since(at.Round(0))); age > vouchFor {
		return fmt.Errorf("%w: this control plane has not reached its database for %s", ErrUnavailable, age.Round(time.Second))
	}
	return nil
}

// SetDoor names where atoms ask, before Run.
func (s *Service) SetDoor(d Door) {
	if s.shared != nil {
		s.shared.door = d
	}
}
