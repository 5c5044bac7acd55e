package sqlite_test

import (
	"fmt"
	"math"
	"slices"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// census is a count of all executions of a store.
type census struct {
	seen      map[int64]bool
	live      map[int64]bool // whether it must be returned as ready or due
	processes map[string]bool
	states    map[string]int64 // live executions by process and state
	failures  map[string]int64 // unresolved, by process and fingerprint
	children  map[string]int   // by origin
	handedOff map[string]bool  // origins in journals
}

// checkInvariants checks the invariants of any store at any time.
func checkInvariants(s *sqlite.Store) error {
	c := &census{seen: map[int64]bool{}, live: map[int64]bool{}, processes: map[string]bool{}, states: map[string]int64{},
		failures: map[string]int64{}, children: map[string]int{}, handedOff: map[string]bool{}}
	for cursor := ""; ; {
		page, next, err := s.List(ctx, store.Filter{}, cursor, 100)
		if err != nil {
			return err
		}
		for _, x := range page {
			if err := c.add(s, x); err != nil {
				return fmt.Errorf("execution %d: %w", x.Seq, err)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	for _, check := range []func(*sqlite.Store) error{c.checkHandoffs, c.checkReady, c.checkGroups, c.checkCounts} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// add counts a listed execution.
func (c *census) add(s *sqlite.Store, x *store.Execution) error {
	if c.seen[x.Seq] {
		return fmt.Errorf("listed twice")
	}
	c.seen[x.Seq] = true
	c.processes[x.Process] = true
	if o := x.Outcome; o != nil && o.Resolved == nil && (o.Status == store.Failed || o.Status == store.Expired) {
		c.failures[x.Process+" "+o.Fingerprint]++
	}
	if x.Process == "child" {
		c.children[x.Origin]++
	}
	whole, err := s.Get(ctx, x.Seq, x.Received)
	if err != nil {
		return fmt.Errorf("listed: %w", err)
	}
	if (x.Outcome == nil) != (whole.Outcome == nil) {
		return fmt.Errorf("listed with outcome %v, but Get returns %v", x.Outcome, whole.Outcome)
	}
	if x.Outcome == nil { // lists show executions in blocked lanes as held
		c.states[x.Process+" "+string(whole.State)]++
		p, err := s.Position(ctx, x.Seq, whole.Lane)
		if err != nil {
			return err
		}
		c.live[x.Seq] = (p == nil || p.Head == x.Seq) && (whole.State == store.Accepted || !whole.Due.IsZero())
	}
	for _, e := range whole.Journal {
		if e.Kind == "handoff" {
			c.handedOff[e.Path] = true
		}
	}
	return nil
}

// checkHandoffs checks that each hand-off in a journal has one child.
func (c *census) checkHandoffs(*sqlite.Store) error {
	for name, n := range c.children {
		if n != 1 || !c.handedOff[name] {
			return fmt.Errorf("hand-off %s: got %d children, in a journal: %v; want one, in a journal", name, n, c.handedOff[name])
		}
	}
	for name := range c.handedOff {
		if c.children[name] != 1 {
			return fmt.Errorf("hand-off %s is in a journal: got %d children, want 1", name, c.children[name])
		}
	}
	return nil
}

// checkReady checks that each ready or suspended execution is returned once.
func (c *census) checkReady(s *sqlite.Store) error {
	returned := map[int64]bool{}
	for p := range c.processes {
		ready, err := s.Ready(ctx, p, 0, math.MaxInt32)
		if err != nil {
			return err
		}
		due, _, err := s.Due(ctx, p, time.Now().Add(24*time.Hour), math.MaxInt32)
		if err != nil {
			return err
		}
		heads, err := s.Heads(ctx, p, math.MaxInt32, func(int64) bool { return false })
		if err != nil {
			return err
		}
		for _, x := range slices.Concat(ready, due, heads) {
			if returned[x.Seq] || !c.live[x.Seq] {
				return fmt.Errorf("%d is returned twice, or is not ready", x.Seq)
			}
			returned[x.Seq] = true
		}
	}
	for seq, ready := range c.live {
		if ready != returned[seq] {
			return fmt.Errorf("%d is returned: got %v, want %v", seq, returned[seq], ready)
		}
	}
	return nil
}

func (c *census) checkGroups(s *sqlite.Store) error {
	groups, err := s.Groups(ctx, "", math.MaxInt32)
	if err != nil {
		return err
	}
	for _, g := range groups {
		name := g.Process + " " + g.Fingerprint
		if c.failures[name] != g.Count {
			return fmt.Errorf("failures of %s: got a count of %d, want %d", name, g.Count, c.failures[name])
		}
		delete(c.failures, name)
	}
	if len(c.failures) > 0 {
		return fmt.Errorf("failures without a group: %v", c.failures)
	}
	return nil
}

func (c *census) checkCounts(s *sqlite.Store) error {
	counts, err := s.Counts(ctx)
	if err != nil {
		return err
	}
	for process, states := range counts {
		for state, n := range states {
			name := process + " " + string(state)
			if c.states[name] != n {
				return fmt.Errorf("live executions of %s: got a count of %d, want %d", name, n, c.states[name])
			}
			delete(c.states, name)
		}
	}
	if len(c.states) > 0 {
		return fmt.Errorf("live executions without a count: %v", c.states)
	}
	return nil
}
