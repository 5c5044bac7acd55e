package cloud

import (
	"context"
	"log/slog"
	"sync"

	"valence/internal/budget"
)

// core is the state that the parts of a control plane share.
type core struct {
	o       Options
	log     *slog.Logger
	store   Store
	box     *box
	cluster *Cluster // nil if the store belongs to this control plane alone

	writing      sync.Mutex // held while a change is made
	lastRevision int64      // guarded by writing

	mu    sync.RWMutex // guards state; held only briefly
	state *state

	lintMemory     *budget.Pool // of the checks of packages
	mailboxes      *mailboxes
	recordWatchers recordWatchers
	logs           logQuestions
	refused        refusals

	stopping chan struct{} // closed by Service.PrepareStop
}

// begin acquires the write lock. The caller must call end on the change.
func (s *core) begin(ctx context.Context) (*change, error) {
	if s.cluster != nil {
		return s.cluster.begin(ctx)
	}
	s.writing.Lock()
	return &change{writer: s.store, mailboxes: s.mailboxes, unlock: s.writing.Unlock}, nil
}

// atomFor returns the atom with an id or name if the principal may perform an
// action on it. A revoked atom is found only by its id. The caller holds writing
// or mu.
func (s *core) atomFor(p Principal, a Action, id string) (*Atom, error) {
	if err := p.Allow(a); err != nil {
		return nil, err
	}
	x := owned(s.state.atoms, id, p.Account, func(a *Atom) string { return a.Account })
	if x == nil {
		x = s.state.atomNamed(p.Account, id)
	}
	if x == nil || !p.sees(s.state.environmentID(x.ID)) {
		return nil, notFound("atom", id)
	}
	return x, nil
}

// beginAtom acquires the write lock and returns an atom that is not revoked. The
// caller must call end on the change.
func (s *core) beginAtom(ctx context.Context, p Principal, action Action, id string) (*change, *Atom, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	a, err := s.atomFor(p, action, id)
	if err == nil && a.Revoked {
		err = notFound("atom", id)
	}
	if err != nil {
		c.end()
		return nil, nil, err
	}
	return c, a, nil
}

// environmentFor returns the environment with an id or name if the principal may
// perform an action in it. The caller holds writing or mu.
func (s *core) environmentFor(p Principal, a Action, id string) (*Environment, error) {
	if err := p.Allow(a); err != nil {
		return nil, err
	}
	e := s.state.environment(p.Account, id)
	if e == nil || !p.sees(e.ID) {
		return nil, notFound("environment", id)
	}
	return e, nil
}

// withStatus returns a copy of an atom with its status, heartbeat and generation.
// The caller holds writing or mu.
func (s *core) withStatus(a *Atom) Atom {
	x := *a
	s.mailboxes.of(a.ID).fillStatus(&x)
	x.Generation = s.state.generation(a)
	return x
}

func (s *core) checkAtomName(account, name, id string) error {
	if !validName(name) {
		return invalid("name", "must be 1 to 200 characters without control characters")
	}
	if other := s.state.atomNamed(account, name); other != nil && other.ID != id {
		return conflict("an atom named %s already exists: choose another name, or revoke that atom", name)
	}
	return nil
}

// stateLoaded sets lastRevision to the newest revision in the state, and assigns
// the mailboxes of its atoms. The caller holds writing.
func (s *core) stateLoaded() {
	for _, e := range s.state.environments {
		s.lastRevision = max(s.lastRevision, e.Revision)
	}
	for _, a := range s.state.atoms {
		s.lastRevision = max(s.lastRevision, a.Revision)
		s.mailboxes.assign(a)
	}
}
