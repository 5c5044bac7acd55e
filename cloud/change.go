package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"valence/internal/wire"
)

// change collects everything one call changes. Holding a change means holding
// the write lock, so whatever the call has read still holds when the change is
// written.
type change struct {
	Change
	writer      changeWriter
	mailboxes   *mailboxes
	puts, drops []persisted
	deployments bool     // whether the active deployments may change
	wakes       []string // atoms affected by the change
	err         error
	unlock      func()
}

// changeWriter writes a change: a store, or the write transaction of a shared
// one.
type changeWriter interface {
	Write(ctx context.Context, c *Change) error
	PutArchive(ctx context.Context, sha string, archive []byte) error
}

// end releases the write lock.
func (c *change) end() { c.unlock() }

// wake makes the atom's held poll look again after the commit.
func (c *change) wake(atom string) { c.wakes = append(c.wakes, atom) }

// enqueue adds an instruction for an atom and returns its id. The id of its
// execution request may be empty. The commit fails if the mailbox is full,
// unless the instruction retires the atom.
func (c *change) enqueue(ctx context.Context, account, atom, request string, m wire.Instruction) int64 {
	if c.mailboxes.of(atom).length() >= maxWaiting && m.Kind != wire.KindRetire {
		c.err = errors.Join(c.err, mailboxFull())
	}
	if t, ok := c.writer.(WriteTx); ok {
		var err error
		m.ID, err = t.MessageID(ctx)
		c.err = errors.Join(c.err, err)
	} else {
		m.ID = c.mailboxes.nextID()
	}
	c.Instructions = append(c.Instructions, &Instruction{Instruction: m, Account: account, AtomID: atom, Request: request, Created: time.Now().UTC()})
	return m.ID
}

func (c *change) put(o persisted) {
	kind, id, account := o.storageKey()
	body, err := json.Marshal(o)
	c.err = errors.Join(c.err, err)
	c.Objects = append(c.Objects, Object{kind, id, account, body})
	c.puts = append(c.puts, o)
	if kind == "deployment" {
		c.deployments = true
	}
}

func (c *change) drop(o persisted) {
	kind, id, account := o.storageKey()
	c.Objects = append(c.Objects, Object{Kind: kind, ID: id, Account: account})
	c.drops = append(c.drops, o)
	if kind == "deployment" {
		c.deployments = true
	}
}

// audit adds an entry to the audit log.
func (c *change) audit(p Principal, action Action, object, detail string) {
	c.Audit = append(c.Audit, newAuditEntry(p, action, object, detail))
}

// touchEnvironment raises the generation of all atoms of an environment.
func (s *core) touchEnvironment(c *change, e *Environment) {
	next := *e
	next.Revision = s.nextRevision()
	c.put(&next)
	for atom := range s.state.atomsIn[e.ID] {
		c.wake(atom)
	}
}

// nextRevision returns the next revision. Revisions are at least the time in
// milliseconds, so they grow across restarts and restored backups.
func (s *core) nextRevision() int64 {
	s.lastRevision = max(s.lastRevision+1, time.Now().UnixMilli())
	return s.lastRevision
}

// commit writes a change, makes it visible and wakes the affected atoms.
func (s *core) commit(ctx context.Context, c *change) error {
	if c.err != nil {
		return c.err
	}
	// The write is not canceled with the caller: disk and memory must agree.
	if err := c.writer.Write(context.WithoutCancel(ctx), &c.Change); err != nil {
		return unavailable(err)
	}
	if t, ok := c.writer.(WriteTx); ok {
		s.cluster.applied.Store(t.Position())
	}
	s.publish(c)
	s.mailboxes.removeAll(c.Dropped)
	for _, m := range c.Instructions {
		s.mailboxes.of(m.AtomID).add(m.ID)
	}
	for _, r := range c.Records {
		s.recordWatchers.notify(r.RequestID)
	}
	return nil
}

// publish applies a change to the state in memory and wakes the affected atoms.
func (s *core) publish(c *change) {
	s.mu.Lock()
	for _, o := range c.drops {
		s.state.drop(o)
		if a, ok := o.(*Atom); ok {
			gone := *a
			gone.Revoked = true
			s.mailboxes.assign(&gone)
		}
	}
	for _, o := range c.puts {
		s.state.put(o)
		if a, ok := o.(*Atom); ok {
			s.mailboxes.assign(a)
		}
	}
	if c.deployments {
		s.state.reindex()
	}
	s.mu.Unlock()
	for _, atom := range c.wakes {
		s.mailboxes.of(atom).wake()
	}
}
