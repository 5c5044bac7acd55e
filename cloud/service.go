// Package cloud is the control plane: who may do what, which atoms there are,
// what is deployed to them, what they are asked to execute and what became of
// it. It never connects to an atom; cloud/gate is where atoms ask, and
// cloud/platform and cloud/operator are where people and programs do.
//
// What is configured is small, is read all the time and changes seldom: it is
// in memory, whole. A change is written first and shown then. Requests,
// messages, records and the audit log are many and are read from the store.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"valence/internal/metrics"
	"valence/processes"
)

// Options of a control plane.
type Options struct {
	Key     []byte             // 32 bytes that secrets are kept under
	Catalog *processes.Catalog // of the steps and connectors that packages may use
	Log     *slog.Logger
	Metrics *metrics.Cloud
	// Retention is how long records, requests and the audit log are kept; 0 is 30 days.
	Retention time.Duration
	// Rate is how many API calls of an account are let through per second, and
	// Burst how many at once; 0 is 100 and 200.
	Rate  float64
	Burst int
}

// Service is a control plane. Its methods may be called from any goroutine.
// Those that take a Principal check its role and its environments, and write
// the audit log.
type Service struct {
	o     Options
	log   *slog.Logger
	store Store
	box   *box
	rates rates

	changing     sync.Mutex // one change at a time
	lastRevision int64      // under changing
	shared       *sharing   // with other control planes; nil: the store is this one's alone

	mu    sync.RWMutex // of state; held for moments only
	state *state

	lines   *lines
	waiters waiters
	asked   asked
	refused refusals

	leaving chan struct{} // closed by Leave
	leave   sync.Once
}

// New makes a control plane on a store and reads what is there. It starts nothing.
func New(ctx context.Context, store Store, o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Retention == 0 {
		o.Retention = 30 * 24 * time.Hour
	}
	if o.Catalog == nil {
		return nil, errors.New("a control plane needs the catalog of what packages may use")
	}
	box, err := newBox(o.Key)
	if err != nil {
		return nil, err
	}
	s := &Service{o: o, log: o.Log, store: store, box: box, state: newState(), lines: newLines(), leaving: make(chan struct{}), rates: rates{limit: o.Rate, burst: o.Burst}}
	if shared, ok := store.(Shared); ok {
		s.shared = newSharing(shared)
	}
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("load the control plane: %w", err)
	}
	return s, nil
}

func (s *Service) load(ctx context.Context) error {
	if s.shared != nil {
		return s.resume(ctx)
	}
	if err := s.store.Load(ctx, s.state.read); err != nil {
		return err
	}
	s.state.reindex()
	s.revisions()
	highest, err := s.store.Waiting(ctx, func(atom string, id int64) error {
		s.lines.of(atom).add(id)
		return nil
	})
	if err != nil {
		return err
	}
	s.lines.last.Store(highest)
	seen, err := s.store.LastSeen(ctx)
	for atom, at := range seen {
		s.lines.of(atom).seenAt(at)
	}
	return err
}

// revisions finds the newest revision that there is.
func (s *Service) revisions() {
	for _, e := range s.state.environments {
		s.lastRevision = max(s.lastRevision, e.Revision)
	}
	for _, a := range s.state.atoms {
		s.lastRevision = max(s.lastRevision, a.Revision)
		s.lines.of(a.ID)
	}
}

// Ready is nil while the control plane takes requests.
func (s *Service) Ready() error {
	if s.shared != nil && s.shared.begins.Load() {
		return errors.New("the other control planes are not heard yet")
	}
	return errors.Join(s.store.Err(), s.Vouch())
}

// How often the background looks.
const (
	seenEvery  = time.Minute
	purgeEvery = 10 * time.Minute
)

// Run does what is to be done from time to time, until ctx ends: it stores
// when atoms were heard of, and deletes what is over.
func (s *Service) Run(ctx context.Context) error {
	if s.shared != nil {
		var sharing sync.WaitGroup
		sharing.Go(func() { s.runShared(ctx) })
		defer sharing.Wait()
	}
	tick, purge := time.NewTicker(seenEvery), time.NewTicker(purgeEvery)
	defer tick.Stop()
	defer purge.Stop()
	for {
		select {
		case <-ctx.Done():
			s.storeSeen(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
			s.storeSeen(ctx)
		case <-purge.C:
			s.purge(ctx)
		}
	}
}

// seenBatch bounds how long others wait for one transaction of these.
const seenBatch = 500

func (s *Service) storeSeen(ctx context.Context) {
	if s.shared != nil {
		return // it is in the beats
	}
	batch := map[string]time.Time{}
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if err := s.store.Seen(ctx, batch); err != nil {
			s.log.Error("when atoms were heard of cannot be stored", "error", err)
		}
		batch = map[string]time.Time{}
	}
	for atom, at := range s.lines.unstored() {
		if batch[atom] = at; len(batch) == seenBatch {
			flush()
		}
	}
	flush()
}

// purge deletes what is older than the retention, in steps that delay nobody.
func (s *Service) purge(ctx context.Context) {
	if err := s.withdrawLate(ctx); err != nil {
		s.log.Error("what waits for revoked atoms cannot be withdrawn", "error", err)
	}
	before := time.Now().Add(-s.o.Retention)
	for ctx.Err() == nil {
		stale, err := s.giveUp(ctx, before)
		var more bool
		if err == nil {
			more, err = s.store.Purge(ctx, before, s.over(before))
		}
		if err != nil {
			s.log.Error("what is over cannot be deleted", "error", err)
		}
		if err != nil || !more && !stale {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// over lists the deployments that were replaced and are older.
func (s *Service) over(before time.Time) []string {
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

// withdrawLate takes back what waits for atoms that were revoked: a request that
// came in at the same moment.
func (s *Service) withdrawLate(ctx context.Context) error {
	var late []string
	s.mu.RLock()
	for _, a := range s.state.atoms {
		if a.Revoked && s.lines.of(a.ID).length() > 0 {
			late = append(late, a.ID)
		}
	}
	s.mu.RUnlock()
	for _, id := range late {
		if err := s.withdrawFrom(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) withdrawFrom(ctx context.Context, id string) error {
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

// giveUp ends requests that their atom did not take within the retention; more
// tells that there may be others.
func (s *Service) giveUp(ctx context.Context, before time.Time) (more bool, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer c.end()
	stale, err := s.store.Stale(ctx, before, maxMessages)
	if err != nil || len(stale) == 0 {
		return false, err
	}
	for _, m := range stale {
		if a := s.state.atoms[m.AtomID]; a != nil {
			s.withdrawOne(c, a, m, "the atom did not take the request within the retention")
		}
	}
	return len(stale) == maxMessages, s.commit(ctx, c)
}

// Fleet tells how the control plane stands, for its metrics.
func (s *Service) Fleet() metrics.Fleet {
	f := metrics.Fleet{Err: s.store.Err()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, a := range s.state.atoms {
		if a.Revoked {
			continue
		}
		x := *a
		s.lines.of(a.ID).fill(&x)
		if x.Status == Online {
			f.Online++
		} else {
			f.Offline++
		}
		f.Waiting += x.Waiting
	}
	return f
}
