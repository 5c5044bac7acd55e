package cloud

import (
	"context"
	"fmt"
	"slices"
	"time"

	"valence/internal/wire"
)

// atomFor finds an atom by id or name and judges an action on it. The caller
// holds changing or mu. One that was revoked is found only by its id.
func (s *Service) atomFor(p Principal, a Action, id string) (*Atom, error) {
	if err := p.Allow(a); err != nil {
		return nil, err
	}
	x := owned(s.state.atoms, id, p.Account, func(a *Atom) string { return a.Account })
	if x == nil {
		x = s.state.atomNamed(p.Account, id)
	}
	if x == nil || !p.in(s.environmentID(x.ID)) {
		return nil, missing("atom", id)
	}
	return x, nil
}

// beginAtom waits for the turn to change something of an atom that is not
// revoked. Whoever got it calls end.
func (s *Service) beginAtom(ctx context.Context, p Principal, action Action, id string) (*change, *Atom, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	a, err := s.atomFor(p, action, id)
	if err == nil && a.Revoked {
		err = missing("atom", id)
	}
	if err != nil {
		c.end()
		return nil, nil, err
	}
	return c, a, nil
}

// atomNamed finds an atom that is not revoked.
func (st *state) atomNamed(account, name string) *Atom {
	for _, a := range st.atoms {
		if a.Account == account && a.Name == name && !a.Revoked {
			return a
		}
	}
	return nil
}

// environmentID gives where an atom is attached, "" for nowhere.
func (s *Service) environmentID(atom string) string {
	if at := s.state.attachedTo[atom]; at != nil {
		return at.EnvironmentID
	}
	return ""
}

// filled completes an atom by what is known of it now. The caller holds
// changing or mu.
func (s *Service) filled(a *Atom) Atom {
	x := *a
	s.lines.of(a.ID).fill(&x)
	x.Generation = s.generation(a)
	return x
}

// generation is that of what an atom is to be like.
func (s *Service) generation(a *Atom) int64 {
	n := a.Revision
	if e := s.state.environmentOf(a.ID); e != nil {
		n = max(n, e.Revision)
	}
	return n
}

// Atom gives one, by id or name.
func (s *Service) Atom(_ context.Context, p Principal, id string) (Atom, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "atom.read", id)
	if err != nil {
		return Atom{}, err
	}
	return s.filled(a), nil
}

// Atoms lists the atoms that are not revoked and that the principal may see, by name.
func (s *Service) Atoms(_ context.Context, p Principal) ([]Atom, error) {
	if err := p.Allow("atom.read"); err != nil {
		return nil, err
	}
	all := list(s, s.state.atoms, func(a *Atom) bool { return a.Account == p.Account && !a.Revoked && p.in(s.environmentID(a.ID)) },
		func(a, b Atom) bool { return a.Name < b.Name || a.Name == b.Name && a.ID < b.ID })
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range all {
		all[i] = s.filled(&all[i])
	}
	return all, nil
}

// RenameAtom changes the name.
func (s *Service) RenameAtom(ctx context.Context, p Principal, id, name string) (Atom, error) {
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
	c.audit(p, "atom.update", a.ID, "name "+name)
	if err := s.commit(ctx, c); err != nil {
		return Atom{}, err
	}
	return s.filled(&next), nil
}

// maxPurge is as many days as the platform API knows.
const maxPurge = 9999

// SetPurge says how many days at most an atom keeps what ends from then on; 0
// leaves that to its processes.
func (s *Service) SetPurge(ctx context.Context, p Principal, id string, days int) (Atom, error) {
	if days < 0 || days > maxPurge {
		return Atom{}, invalid("purgeHistoryDays", "is 0 to %d days", maxPurge)
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
		return s.filled(a), nil
	}
	next := *a
	next.Purge, next.Revision = days, s.revision()
	c.put(&next)
	c.wake(a.ID)
	c.audit(p, "atom.update", a.ID, fmt.Sprintf("keeps executions %d days at most", days))
	if err := s.commit(ctx, c); err != nil {
		return Atom{}, err
	}
	return s.filled(&next), nil
}

func (s *Service) checkAtomName(account, name, id string) error {
	if !goodName(name) {
		return invalid("name", "is 1 to 200 characters, none of them a control character")
	}
	if other := s.state.atomNamed(account, name); other != nil && other.ID != id {
		return conflict("there is an atom %s already: choose another name, or revoke that one", name)
	}
	return nil
}

// RevokeAtom ends an atom's enrolment: none of its requests is answered any
// more. Executions that it was asked for and has not taken end as errors.
func (s *Service) RevokeAtom(ctx context.Context, p Principal, id string) error {
	c, a, err := s.beginAtom(ctx, p, "atom.delete", id)
	if err != nil {
		return err
	}
	defer c.end()
	next := *a
	next.Revoked, next.Revision = true, s.revision()
	c.wake(a.ID)
	c.put(&next)
	if at := s.state.attachedTo[a.ID]; at != nil {
		c.drop(at)
	}
	if err := s.withdraw(ctx, c, a); err != nil {
		return err
	}
	c.audit(p, "atom.delete", a.ID, "revoked "+a.Name)
	return s.commit(ctx, c)
}

// RetireAtom takes an atom out of service in good order: it is detached, it
// finishes what it has taken on and reports it, runs nothing of its control
// plane any more, and stops asking.
func (s *Service) RetireAtom(ctx context.Context, p Principal, id string) error {
	c, a, err := s.beginAtom(ctx, p, "atom.delete", id)
	if err != nil {
		return err
	}
	defer c.end()
	if a.Retired {
		return nil
	}
	next := *a
	next.Revision, next.Retired = s.revision(), true
	c.wake(a.ID)
	c.put(&next)
	if at := s.state.attachedTo[a.ID]; at != nil {
		c.drop(at)
	}
	c.message(ctx, a.Account, a.ID, "", wire.Message{Kind: wire.KindRetire})
	c.audit(p, "atom.retire", a.ID, a.Name)
	return s.commit(ctx, c)
}

// withdraw takes back what waits for an atom that will not ask again.
func (s *Service) withdraw(ctx context.Context, c *change, a *Atom) error {
	ids, err := s.waitingFor(ctx, c, a.ID)
	if err != nil {
		return unavailable(err)
	}
	for len(ids) > 0 {
		messages, err := s.store.Messages(ctx, a.ID, ids[:min(len(ids), maxMessages)], maxAnswer)
		if err != nil {
			return unavailable(err)
		}
		if len(messages) == 0 { // all of them were acknowledged meanwhile
			ids = ids[min(len(ids), maxMessages):]
			continue
		}
		for _, m := range messages {
			s.withdrawOne(c, a, m, "the atom was revoked before it took the request")
		}
		last := messages[len(messages)-1].ID
		for len(ids) > 0 && ids[0] <= last {
			ids = ids[1:]
		}
	}
	return nil
}

// waitingFor gives the messages that wait for an atom.
func (s *Service) waitingFor(ctx context.Context, c *change, atom string) ([]int64, error) {
	if t, ok := c.to.(Turn); ok {
		return t.Waiting(ctx, atom)
	}
	line := s.lines.of(atom)
	line.mu.Lock()
	defer line.mu.Unlock()
	return slices.Clone(line.waiting), nil
}

// withdrawOne takes back one message, and has its request end as an error.
func (s *Service) withdrawOne(c *change, a *Atom, m *Message, why string) {
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
		ID: recordID(time.Now()), RequestID: m.Request, Account: a.Account, AtomID: a.ID, AtomName: a.Name, EnvironmentID: s.environmentID(a.ID),
		Execution: withdrawn + m.Request, ProcessID: s.processID(a.ID, process), ProcessName: process, OriginalID: original,
		Type: how, Status: Failed, Time: m.Created, Message: why,
	})
}

// AttachAtom puts an atom into an environment.
func (s *Service) AttachAtom(ctx context.Context, p Principal, atom, environment string) (Attachment, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Attachment{}, err
	}
	defer c.end()
	e, err := s.environmentFor(p, "attachment.create", environment)
	if err != nil {
		return Attachment{}, err
	}
	// An atom in no environment is seen by who may attach it.
	a := owned(s.state.atoms, atom, p.Account, func(a *Atom) string { return a.Account })
	if a == nil {
		a = s.state.atomNamed(p.Account, atom)
	}
	if a == nil || a.Revoked {
		return Attachment{}, missing("atom", atom)
	}
	if a.Retired {
		return Attachment{}, conflict("the atom %s was retired and does not ask any more: revoke it, and let it join again", a.Name)
	}
	if at := s.state.attachedTo[a.ID]; at != nil {
		switch {
		case at.EnvironmentID == e.ID:
			return *at, nil
		case !p.in(at.EnvironmentID):
			return Attachment{}, missing("atom", atom)
		}
		return Attachment{}, conflict("the atom %s is attached to another environment: detach it first, with valence cloud detach %s", a.Name, a.Name)
	}
	at := s.attach(c, a, e)
	c.audit(p, "attachment.create", at.ID, a.Name+" to "+e.Name)
	return *at, s.commit(ctx, c)
}

// attach adds an attachment to a change.
func (s *Service) attach(c *change, a *Atom, e *Environment) *Attachment {
	next := *a
	next.Revision = s.revision()
	at := &Attachment{ID: newID(), Account: a.Account, AtomID: a.ID, EnvironmentID: e.ID}
	c.put(&next)
	c.put(at)
	c.wake(a.ID)
	return at
}

// DetachAtom takes an atom out of its environment; what is deployed there goes
// from it.
func (s *Service) DetachAtom(ctx context.Context, p Principal, attachment string) error {
	if err := p.Allow("attachment.delete"); err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	at := owned(s.state.attachments, attachment, p.Account, func(a *Attachment) string { return a.Account })
	if at == nil || !p.in(at.EnvironmentID) {
		return missing("attachment", attachment)
	}
	c.wake(at.AtomID)
	c.drop(at)
	if a := s.state.atoms[at.AtomID]; a != nil {
		next := *a
		next.Revision = s.revision()
		c.put(&next)
	}
	c.audit(p, "attachment.delete", at.ID, at.AtomID)
	return s.commit(ctx, c)
}

// Attachment gives one.
func (s *Service) Attachment(_ context.Context, p Principal, id string) (Attachment, error) {
	if err := p.Allow("attachment.read"); err != nil {
		return Attachment{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := owned(s.state.attachments, id, p.Account, func(a *Attachment) string { return a.Account })
	if at == nil || !p.in(at.EnvironmentID) {
		return Attachment{}, missing("attachment", id)
	}
	return *at, nil
}

// Attachments lists those that the principal may see.
func (s *Service) Attachments(_ context.Context, p Principal) ([]Attachment, error) {
	if err := p.Allow("attachment.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.attachments, func(a *Attachment) bool { return a.Account == p.Account && p.in(a.EnvironmentID) },
		func(a, b Attachment) bool { return a.ID < b.ID }), nil
}
