package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"valence/internal/wire"
)

// change is what one call changes, while it is put together. Who has one has
// the turn: changes are made one at a time, so that what was looked at still
// holds when it is written.
type change struct {
	Change
	to          sink
	lines       *lines
	puts, drops []kept
	deployments bool     // the active deployments may differ afterwards
	woken       []string // atoms that it concerns
	err         error
	release     func()
}

// sink is where a change is written: the store, or the turn of a store that
// several control planes use.
type sink interface {
	Write(ctx context.Context, c *Change) error
	PutArchive(ctx context.Context, sha string, archive []byte) error
}

// begin waits for the turn to change something. Whoever got it calls end.
func (s *Service) begin(ctx context.Context) (*change, error) {
	if s.shared != nil {
		return s.beginShared(ctx)
	}
	s.changing.Lock()
	return &change{to: s.store, lines: s.lines, release: s.changing.Unlock}, nil
}

// end gives the turn back.
func (c *change) end() { c.release() }

// wake lets an atom that is held look again when the change is there.
func (c *change) wake(atom string) { c.woken = append(c.woken, atom) }

// message adds a message for an atom and gives its id. The request that it is
// about may be "". The change fails where too many wait for the atom, unless
// this one takes it out of service.
func (c *change) message(ctx context.Context, account, atom, request string, m wire.Message) int64 {
	if c.lines.of(atom).length() >= maxWaiting && m.Kind != wire.KindRetire {
		c.err = errors.Join(c.err, busy())
	}
	if t, ok := c.to.(Turn); ok {
		var err error
		m.ID, err = t.MessageID(ctx)
		c.err = errors.Join(c.err, err)
	} else {
		m.ID = c.lines.next()
	}
	c.Messages = append(c.Messages, &Message{Message: m, Account: account, AtomID: atom, Request: request, Created: time.Now().UTC()})
	return m.ID
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
		c.wake(atom)
	}
}

// revision gives the next revision. It grows, also over a restart and after
// an older backup was restored, for it is at least the time.
func (s *Service) revision() int64 {
	s.lastRevision = max(s.lastRevision+1, time.Now().UnixMilli())
	return s.lastRevision
}

// commit writes a change, then shows it, then wakes those it concerns.
func (s *Service) commit(ctx context.Context, c *change) error {
	if c.err != nil {
		return c.err
	}
	// Whether the caller waits or not, what is on disk and what is in memory
	// must not differ.
	if err := c.to.Write(context.WithoutCancel(ctx), &c.Change); err != nil {
		return unavailable(err)
	}
	if t, ok := c.to.(Turn); ok {
		s.shared.applied.Store(t.Position())
	}
	s.show(c)
	s.lines.forget(c.Dropped)
	for _, m := range c.Messages {
		s.lines.of(m.AtomID).add(m.ID)
	}
	for _, r := range c.Records {
		s.waiters.tell(r.RequestID)
	}
	return nil
}

// show puts what a change holds into memory, and wakes the atoms that it
// concerns.
func (s *Service) show(c *change) {
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
	for _, atom := range c.woken {
		s.lines.of(atom).wake()
	}
}
