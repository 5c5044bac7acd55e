package cloud

import (
	"context"
	"time"
)

// How often the janitor runs.
const (
	seenEvery  = time.Minute
	purgeEvery = 10 * time.Minute
)

// lastSeenBatch is the number of last-seen times per transaction. It bounds how
// long other writers wait.
const lastSeenBatch = 500

// janitor stores last-seen times and deletes expired data.
type janitor struct{ *core }

// run works until ctx ends.
func (s *janitor) run(ctx context.Context) {
	tick, purge := time.NewTicker(seenEvery), time.NewTicker(purgeEvery)
	defer tick.Stop()
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			s.storeSeen(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			s.storeSeen(ctx)
		case <-purge.C:
			s.purge(ctx)
		}
	}
}

// storeSeen stores when atoms were last seen. In a cluster their heartbeats hold
// these times.
func (s *janitor) storeSeen(ctx context.Context) {
	if s.cluster != nil {
		return
	}
	batch := map[string]time.Time{}
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if err := s.store.SaveLastSeen(ctx, batch); err != nil {
			s.log.Error("cannot store last-seen times", "error", err)
		}
		batch = map[string]time.Time{}
	}
	for atom, at := range s.mailboxes.takeLastSeen() {
		if batch[atom] = at; len(batch) == lastSeenBatch {
			flush()
		}
	}
	flush()
}

// purge deletes data older than the retention, in small transactions.
func (s *janitor) purge(ctx context.Context) {
	if err := s.withdrawRevoked(ctx); err != nil {
		s.log.Error("cannot withdraw instructions for revoked atoms", "error", err)
	}
	if err := s.dropReplays(ctx, time.Now().Add(-replayKept)); err != nil {
		s.log.Error("cannot delete old replays", "error", err)
	}
	before := time.Now().Add(-s.o.Retention)
	for ctx.Err() == nil {
		expired, err := s.expireRequests(ctx, before)
		var more bool
		if err == nil {
			more, err = s.store.Purge(ctx, before, s.replacedBefore(before))
		}
		if err != nil {
			s.log.Error("cannot delete expired data", "error", err)
		}
		if err != nil || !more && !expired {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// replacedBefore returns the ids of inactive deployments created before a time.
func (s *janitor) replacedBefore(before time.Time) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ids []string
	for _, d := range s.state.deployments {
		if !d.Active && d.Created.Before(before) {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// withdrawRevoked withdraws instructions that were enqueued while their atom was
// being revoked.
func (s *janitor) withdrawRevoked(ctx context.Context) error {
	var revoked []string
	s.mu.RLock()
	for _, a := range s.state.atoms {
		if a.Revoked && s.mailboxes.of(a.ID).length() > 0 {
			revoked = append(revoked, a.ID)
		}
	}
	s.mu.RUnlock()
	for _, id := range revoked {
		if err := s.withdrawFrom(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *janitor) withdrawFrom(ctx context.Context, id string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	a := s.state.atoms[id]
	if a == nil || !a.Revoked {
		return nil
	}
	if err := s.withdraw(ctx, c, a); err != nil || len(c.Dropped) == 0 {
		return err
	}
	return s.commit(ctx, c)
}

// expireRequests ends requests that their atom did not acknowledge within the
// retention. It reports whether there may be more.
func (s *janitor) expireRequests(ctx context.Context, before time.Time) (more bool, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer c.end()
	expired, err := s.store.OlderThan(ctx, before, maxInstructions)
	if err != nil || len(expired) == 0 {
		return false, err
	}
	for _, m := range expired {
		if a := s.state.atoms[m.AtomID]; a != nil {
			s.withdrawInstruction(c, a, m, "the atom did not accept the request within the retention period")
		}
	}
	return len(expired) == maxInstructions, s.commit(ctx, c)
}
