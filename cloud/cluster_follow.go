package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"valence/internal/wire"
)

// Heartbeats are published every heartbeatEvery, and within urgentWithin when a
// status that operators see has changed.
const (
	heartbeatEvery = 10 * time.Second
	urgentWithin   = time.Second
)

// ticksPerRead is the number of ticks between reads of all mailboxes, which only
// repair missed events.
const ticksPerRead = 15

// answerTime is how long other control planes have to answer that they serve an
// instance.
const answerTime = 500 * time.Millisecond

// run follows the other control planes until ctx ends.
func (s *Cluster) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { s.follow(ctx) })
	all.Go(func() { s.keepFresh(ctx) })
	all.Go(func() { s.exchangeHeartbeats(ctx) })
	all.Wait()
}

// follow handles the events of other control planes. After a lost connection it
// subscribes again, and everything is read from the store.
func (s *Cluster) follow(ctx context.Context) {
	for logged := false; ctx.Err() == nil; {
		ticks := 0
		err := s.shared.Subscribe(ctx, func(e Event) error {
			if e.Kind == EventTick {
				if ticks++; ticks%ticksPerRead != 0 {
					return nil
				}
			}
			return s.handle(ctx, e)
		})
		if ctx.Err() != nil {
			return
		}
		if s.following.Swap(false) || !logged {
			logged = true
			s.log.Warn("cannot follow the other control planes; retrying", "error", err)
		}
		pause(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond))
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// handle applies one event.
func (s *Cluster) handle(ctx context.Context, e Event) error {
	switch e.Kind {
	case EventSubscribed:
		if err := s.resync(ctx); err != nil {
			return err
		}
		s.following.Store(true)
		s.starting.Store(false)
	case EventTick:
		return s.readMailboxes(ctx)
	case EventChanged:
		signal(s.changed)
	case EventQueued:
		for _, id := range e.Instructions {
			s.mailboxes.of(e.Atom).add(id)
		}
	case EventAcknowledged:
		if e.Atom == "" {
			s.mailboxes.removeAll(e.Instructions)
		} else {
			s.mailboxes.of(e.Atom).remove(e.Instructions)
		}
	case EventRecorded:
		for _, r := range e.Requests {
			s.recordWatchers.notify(r)
		}
	case EventHeartbeats:
		if !e.Own {
			select {
			case s.heartbeats <- e:
			default: // more will follow soon
			}
		}
	case EventLog:
		s.logs.answer(e.Number, logAnswer{stored: true})
	case EventWhoServes:
		if s.presence != nil && !e.Own && s.presence.Serves(e.Atom, e.Instance) {
			return s.shared.Publish(ctx, Event{Kind: EventServing, Number: e.Number})
		}
	case EventServing:
		s.questions.answer(e.Number)
	case EventEvicted:
		if s.presence != nil && !e.Own {
			s.presence.Evict(e.Atom, e.Instance)
		}
	}
	return nil
}

// resync reads everything that may have changed while no events arrived.
func (s *Cluster) resync(ctx context.Context) error {
	start := time.Now()
	s.writing.Lock()
	err := s.reload(ctx)
	s.writing.Unlock()
	if err == nil {
		err = s.readMailboxes(ctx)
	}
	if err == nil {
		err = s.readHeartbeats(ctx, "", 0)
	}
	if err != nil {
		return err
	}
	s.verified.Store(&start)
	s.recordWatchers.notifyAll()
	s.mailboxes.wakeAll()
	return nil
}

// readMailboxes reads the ids of undelivered instructions. Events received later
// describe later changes.
func (s *Cluster) readMailboxes(ctx context.Context) error {
	all := map[string][]int64{}
	_, err := s.store.Undelivered(ctx, func(atom string, id int64) error {
		all[atom] = append(all[atom], id)
		return nil
	})
	if err == nil {
		s.mailboxes.setUndelivered(all)
	}
	return err
}

// keepFresh calls Refresh every two seconds and after each announced change.
func (s *Cluster) keepFresh(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.changed:
		}
		err := s.Refresh(ctx)
		switch {
		case err == nil && failed:
			s.log.Info("the database is reachable again")
		case err != nil && !failed && ctx.Err() == nil:
			s.log.Error("cannot reach the database: changes are refused, and all requests are after 10 s", "error", err)
		}
		if failed = err != nil; failed && s.CheckFresh() != nil {
			s.mailboxes.wakeAll() // so that held polls go to another control plane
		}
	}
}

// exchangeHeartbeats publishes the heartbeats of atoms served here and reads those
// of other control planes.
func (s *Cluster) exchangeHeartbeats(ctx context.Context) {
	tick := time.NewTicker(heartbeatEvery + rand.N(heartbeatEvery/5))
	defer tick.Stop()
	soon := time.NewTimer(0)
	defer soon.Stop()
	<-soon.C
	waiting := false
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), urgentWithin*5)
			defer cancel()
			s.putHeartbeats(ctx)
			return
		case <-tick.C:
			s.putHeartbeats(ctx)
		case <-s.urgent:
			if !waiting {
				waiting = true
				soon.Reset(urgentWithin / 4)
			}
			continue
		case <-soon.C:
			s.putHeartbeats(ctx)
			pause(ctx, urgentWithin)
			waiting = false
		case e := <-s.heartbeats:
			if err := s.readHeartbeats(ctx, e.Plane, e.Number); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot read heartbeats of another control plane", "error", err)
			}
		}
	}
}

func (s *Cluster) putHeartbeats(ctx context.Context) {
	all := s.mailboxes.takeHeartbeats()
	if len(all) == 0 {
		return
	}
	if err := s.shared.PutHeartbeats(ctx, all); err != nil {
		s.mailboxes.restoreHeartbeats(all)
		if ctx.Err() == nil {
			s.log.Warn("cannot publish heartbeats to the other control planes", "error", err)
		}
	}
}

func (s *Cluster) readHeartbeats(ctx context.Context, plane string, batch int64) error {
	asked := time.Now() // the ages end later: the time of the answer must not make heartbeats newer
	all, err := s.shared.ReadHeartbeats(ctx, plane, batch)
	if err != nil {
		return err
	}
	for _, b := range all {
		var h wire.Heartbeat
		if len(b.Heartbeat) > 0 {
			if err := json.Unmarshal(b.Heartbeat, &h); err != nil {
				return fmt.Errorf("read the heartbeat of the atom %s: %w", b.Atom, err)
			}
		}
		s.mailboxes.of(b.Atom).recordPeerHeartbeat(h, b, asked.Add(-b.Age))
	}
	return nil
}

// Claim makes an instance of an atom the served one. It returns false if another
// instance is alive at any control plane. The caller claims each instance once,
// at its first poll.
func (s *Cluster) Claim(ctx context.Context, atom, instance string) (bool, error) {
	if s == nil {
		return true, nil
	}
	served, err := s.shared.ServeInstance(ctx, atom, instance, instance)
	if err == nil && served != instance {
		var alive bool
		if alive, err = s.isServed(ctx, atom, served); alive {
			return false, nil
		}
		if err == nil {
			if served, err = s.shared.ServeInstance(ctx, atom, instance, served); err == nil && served == instance {
				err = s.shared.Publish(ctx, Event{Kind: EventEvicted, Atom: atom, Instance: instance})
			}
		}
	}
	if err != nil {
		return false, unavailable(err)
	}
	return served == instance, nil
}

// isServed reports whether any control plane serves a live instance of an atom.
func (s *Cluster) isServed(ctx context.Context, atom, instance string) (bool, error) {
	if s.presence != nil && s.presence.Serves(atom, instance) {
		return true, nil
	}
	number, answer := s.questions.add()
	defer s.questions.remove(number)
	if !s.following.Load() {
		return false, fmt.Errorf("%w: cannot ask the other control planes", ErrUnavailable)
	}
	if err := s.shared.Publish(ctx, Event{Kind: EventWhoServes, Atom: atom, Instance: instance, Number: number}); err != nil {
		return false, err
	}
	t := time.NewTimer(answerTime)
	defer t.Stop()
	select {
	case <-answer:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// add returns the number of a new question, unique among the control planes, and
// the channel that receives a token with the first answer.
func (q *questions) add() (number int64, answer <-chan struct{}) {
	ch := make(chan struct{}, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	number = q.last<<20 | rand.Int64N(1<<20)
	q.all[number] = ch
	return number, ch
}

func (q *questions) remove(number int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.all, number)
}

func (q *questions) answer(number int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ch := q.all[number]; ch != nil {
		signal(ch)
	}
}
