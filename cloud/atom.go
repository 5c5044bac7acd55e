package cloud

import (
	"context"
	"fmt"
	"slices"
	"time"

	"valence/internal/wire"
)

// Fleet holds the atoms of all accounts and attaches them to environments.
type Fleet struct{ *core }

// Atom returns the atom with an id or name.
func (s *Fleet) Atom(_ context.Context, p Principal, id string) (Atom, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "atom.read", id)
	if err != nil {
		return Atom{}, err
	}
	return s.withStatus(a), nil
}

// Atoms returns the visible atoms that are not revoked, by name.
func (s *Fleet) Atoms(_ context.Context, p Principal) ([]Atom, error) {
	if err := p.Allow("atom.read"); err != nil {
		return nil, err
	}
	all := list(s.core, s.state.atoms, func(a *Atom) bool { return a.Account == p.Account && !a.Revoked && p.sees(s.state.environmentID(a.ID)) },
		func(a, b Atom) bool { return a.Name < b.Name || a.Name == b.Name && a.ID < b.ID })
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range all {
		all[i] = s.withStatus(&all[i])
	}
	return all, nil
}

// RenameAtom renames an atom.
func (s *Fleet) RenameAtom(ctx context.Context, p Principal, id, name string) (Atom, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Atom{}, err
	}
	defer c.end()
	a, err := s.atomFor(p, "atom.update", id)
	if err != nil {
		return Atom{}, err
	}
	if err := s.checkAtomName(a.Account, name, a.ID); err != nil {
		return Atom{}, err
	}
	next := *a
	next.Name = name
	c.put(&next)
	c.audit(p, "atom.update", a.ID, "name "+name+", was "+s.atomTitle(a))
	if err := s.commit(ctx, c); err != nil {
		return Atom{}, err
	}
	return s.withStatus(&next), nil
}

// maxPurge is the highest number of days in the platform API.
const maxPurge = 9999

// SetPurge limits the days of history on an atom; 0 leaves that to its
// processes.
func (s *Fleet) SetPurge(ctx context.Context, p Principal, id string, days int) (Atom, error) {
	if days < 0 || days > maxPurge {
		return Atom{}, invalid("purgeHistoryDays", "must be 0 to %d days", maxPurge)
	}
	c, err := s.begin(ctx)
	if err != nil {
		return Atom{}, err
	}
	defer c.end()
	a, err := s.atomFor(p, "atom.update", id)
	if err != nil {
		return Atom{}, err
	}
	if a.Purge == days {
		return s.withStatus(a), nil
	}
	next := *a
	next.Purge, next.Revision = days, s.nextRevision()
	c.put(&next)
	c.wake(a.ID)
	c.audit(p, "atom.update", a.ID, fmt.Sprintf("history of %s limited to %d days", s.atomTitle(a), days))
	if err := s.commit(ctx, c); err != nil {
		return Atom{}, err
	}
	return s.withStatus(&next), nil
}

// RevokeAtom ends an atom's enrollment: its requests are refused from now on.
// Requests that it has not acknowledged end as errors.
func (s *Fleet) RevokeAtom(ctx context.Context, p Principal, id string) error {
	c, a, err := s.beginAtom(ctx, p, "atom.delete", id)
	if err != nil {
		return err
	}
	defer c.end()
	next := *a
	next.Revoked, next.Revision = true, s.nextRevision()
	c.wake(a.ID)
	c.put(&next)
	if at := s.state.attachmentOf[a.ID]; at != nil {
		c.drop(at)
	}
	if err := s.withdraw(ctx, c, a); err != nil {
		return err
	}
	c.audit(p, "atom.delete", a.ID, "revoked "+s.atomTitle(a))
	return s.commit(ctx, c)
}

// RetireAtom detaches an atom, which then finishes and reports the work it has
// accepted and stops polling.
func (s *Fleet) RetireAtom(ctx context.Context, p Principal, id string) error {
	c, a, err := s.beginAtom(ctx, p, "atom.delete", id)
	if err != nil {
		return err
	}
	defer c.end()
	if a.Retired {
		return nil
	}
	next := *a
	next.Revision, next.Retired = s.nextRevision(), true
	c.wake(a.ID)
	c.put(&next)
	if at := s.state.attachmentOf[a.ID]; at != nil {
		c.drop(at)
	}
	c.enqueue(ctx, a.Account, a.ID, "", wire.Instruction{Kind: wire.KindRetire})
	c.audit(p, "atom.retire", a.ID, s.atomTitle(a))
	return s.commit(ctx, c)
}

// withdraw deletes the undelivered instructions of an atom that will not poll
// again.
func (s *core) withdraw(ctx context.Context, c *change, a *Atom) error {
	ids, err := s.pendingFor(ctx, c, a.ID)
	if err != nil {
		return unavailable(err)
	}
	for len(ids) > 0 {
		instructions, err := s.store.Instructions(ctx, a.ID, ids[:min(len(ids), maxInstructions)], maxAnswer)
		if err != nil {
			return unavailable(err)
		}
		if len(instructions) == 0 { // all of them were acknowledged meanwhile
			ids = ids[min(len(ids), maxInstructions):]
			continue
		}
		for _, m := range instructions {
			s.withdrawInstruction(c, a, m, "the atom was revoked before it accepted the request")
		}
		last := instructions[len(instructions)-1].ID
		for len(ids) > 0 && ids[0] <= last {
			ids = ids[1:]
		}
	}
	return nil
}

// pendingFor returns the ids of an atom's undelivered instructions.
func (s *core) pendingFor(ctx context.Context, c *change, atom string) ([]int64, error) {
	if t, ok := c.writer.(WriteTx); ok {
		return t.Undelivered(ctx, atom)
	}
	line := s.mailboxes.of(atom)
	line.mu.Lock()
	defer line.mu.Unlock()
	return slices.Clone(line.undelivered), nil
}

// withdrawInstruction deletes one instruction and ends its request as an error.
func (s *core) withdrawInstruction(c *change, a *Atom, m *Instruction, why string) {
	c.Dropped = append(c.Dropped, m.ID)
	process, how, original := "", typeManual, ""
	switch {
	case m.Kind == wire.KindExecute && m.Execute != nil:
		process = m.Execute.Process
	case m.Kind == wire.KindResubmit && m.Resubmit != nil:
		process, how, original = m.Resubmit.Process, typeRetry, m.Resubmit.Execution
	default:
		return
	}
	c.Records = append(c.Records, &ExecutionRecord{
		ID: recordID(time.Now()), RequestID: m.Request, Account: a.Account, AtomID: a.ID, AtomName: a.Name, EnvironmentID: s.state.environmentID(a.ID),
		Execution: withdrawnPrefix + m.Request, ProcessID: s.state.processID(a.ID, process), ProcessName: process, OriginalID: original,
		Type: how, Status: Failed, Time: m.Created, Message: why,
	})
}

// AttachAtom puts an atom into an environment.
func (s *Fleet) AttachAtom(ctx context.Context, p Principal, atom, environment string) (Attachment, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Attachment{}, err
	}
	defer c.end()
	e, err := s.environmentFor(p, "attachment.create", environment)
	if err != nil {
		return Attachment{}, err
	}
	// A detached atom is visible to everyone allowed to attach it.
	a := owned(s.state.atoms, atom, p.Account, func(a *Atom) string { return a.Account })
	if a == nil {
		a = s.state.atomNamed(p.Account, atom)
	}
	if a == nil || a.Revoked {
		return Attachment{}, notFound("atom", atom)
	}
	if a.Retired {
		return Attachment{}, conflict("the atom %s was retired and no longer polls: revoke it and let it join again", a.Name)
	}
	if at := s.state.attachmentOf[a.ID]; at != nil {
		switch {
		case at.EnvironmentID == e.ID:
			return *at, nil
		case !p.sees(at.EnvironmentID):
			return Attachment{}, notFound("atom", atom)
		}
		return Attachment{}, conflict("the atom %s is attached to another environment: detach it first, with valence cloud detach %s", a.Name, a.Name)
	}
	at := s.attach(c, a, e)
	c.audit(p, "attachment.create", at.ID, a.Name+" to "+e.Name)
	return *at, s.commit(ctx, c)
}

// attach adds an attachment to a change.
func (s *core) attach(c *change, a *Atom, e *Environment) *Attachment {
	next := *a
	next.Revision = s.nextRevision()
	at := &Attachment{ID: newID(), Account: a.Account, AtomID: a.ID, EnvironmentID: e.ID}
	c.put(&next)
	c.put(at)
	c.wake(a.ID)
	return at
}

// DetachAtom removes an atom from its environment and so its deployments from
// the atom.
func (s *Fleet) DetachAtom(ctx context.Context, p Principal, attachment string) error {
	if err := p.Allow("attachment.delete"); err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	at := owned(s.state.attachments, attachment, p.Account, func(a *Attachment) string { return a.Account })
	if at == nil || !p.sees(at.EnvironmentID) {
		return notFound("attachment", attachment)
	}
	c.wake(at.AtomID)
	c.drop(at)
	name := at.AtomID
	if a := s.state.atoms[at.AtomID]; a != nil {
		name = a.Name
		next := *a
		next.Revision = s.nextRevision()
		c.put(&next)
	}
	c.audit(p, "attachment.delete", at.ID, name+" from "+s.environmentName(at.EnvironmentID))
	return s.commit(ctx, c)
}

// Attachment returns the attachment with an id.
func (s *Fleet) Attachment(_ context.Context, p Principal, id string) (Attachment, error) {
	if err := p.Allow("attachment.read"); err != nil {
		return Attachment{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := owned(s.state.attachments, id, p.Account, func(a *Attachment) string { return a.Account })
	if at == nil || !p.sees(at.EnvironmentID) {
		return Attachment{}, notFound("attachment", id)
	}
	return *at, nil
}

// Attachments returns the visible attachments.
func (s *Fleet) Attachments(_ context.Context, p Principal) ([]Attachment, error) {
	if err := p.Allow("attachment.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.attachments, func(a *Attachment) bool { return a.Account == p.Account && p.sees(a.EnvironmentID) },
		func(a, b Attachment) bool { return a.ID < b.ID }), nil
}
