package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// change is what one call changes, while it is put together. Changes are made
// one at a time, under Service.changing, so that what was looked at before
// still holds when it is written.
type change struct {
	Change
	puts, drops []kept
	deployments bool     // the active deployments may differ afterwards
	woken       []string // atoms that it concerns
	err         error
}

func (c *change) put(o kept) {
	kind, id, account := o.keptAs()
	body, err := json.Marshal(o)
	c.err = errors.Join(c.err, err)
	c.Objects = append(c.Objects, Object{kind, id, account, body})
	c.puts = append(c.puts, o)
	if kind == "deployment" {
		c.deployments = true
	}
}

func (c *change) drop(o kept) {
	kind, id, account := o.keptAs()
	c.Objects = append(c.Objects, Object{Kind: kind, ID: id, Account: account})
	c.drops = append(c.drops, o)
	if kind == "deployment" {
		c.deployments = true
	}
}

// audit adds a line to the log.
func (c *change) audit(p Principal, action Action, object, detail string) {
	c.Audit = append(c.Audit, entry(p, action, object, detail))
}

func entry(p Principal, action Action, object, detail string) AuditEntry {
	return AuditEntry{Account: p.Account, Who: p.User, Action: string(action), Object: object, Detail: detail, From: p.From, At: time.Now().UTC()}
}

// touch gives everything of an environment that its atoms are to be like a
// new generation.
func (s *Service) touch(c *change, e *Environment) {
	next := *e
	next.Revision = s.revision()
	c.put(&next)
	for atom := range s.state.attached[e.ID] {
		c.woken = append(c.woken, atom)
	}
}

// revision gives the next revision. It grows, also over a restart and after
// an older backup was restored, for it is at least the time.
func (s *Service) revision() int64 {
	s.lastRevision = max(s.lastRevision+1, time.Now().UnixMilli())
	return s.lastRevision
}

// commit writes a change, then shows it, then wakes those it concerns. The
// caller holds changing.
func (s *Service) commit(ctx context.Context, c *change) error {
	if c.err != nil {
		return c.err
	}
	// Whether the caller waits or not, what is on disk and what is in memory
	// must not differ.
	if err := s.store.Write(context.WithoutCancel(ctx), &c.Change); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.mu.Lock()
	for _, o := range c.drops {
		s.state.drop(o)
	}
	for _, o := range c.puts {
		s.state.put(o)
	}
	if c.deployments {
		s.state.reindex()
	}
	s.mu.Unlock()
	s.lines.forget(c.Dropped)
	for _, m := range c.Messages {
		s.lines.of(m.AtomID).add(m.ID)
	}
	for _, r := range c.Records {
		s.waiters.tell(r.RequestID)
	}
	for _, atom := range c.woken {
		s.lines.of(atom).wake()
	}
	return nil
}
