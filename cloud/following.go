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

// How often control planes tell each other how atoms are: every beatEvery, and
// soon where that matters to who looks.
const (
	beatEvery = 10 * time.Second
	beatSoon  = time.Second
)

// syncTicks is after how many ticks what waits is read again: the backstop.
const syncTicks = 15

// patience is how long is waited for another control plane that serves a run.
const patience = 500 * time.Millisecond

// runShared does what sharing a store takes, until ctx ends.
func (s *Service) runShared(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { s.follow(ctx) })
	all.Go(func() { s.keepConfirming(ctx) })
	all.Go(func() { s.exchangeBeats(ctx) })
	all.Wait()
}

// follow hears what others tell. A connection that was lost is made again, and
// then everything is read anew.
func (s *Service) follow(ctx context.Context) {
	h := s.shared
	for said := false; ctx.Err() == nil; {
		ticks := 0
		err := h.store.Follow(ctx, func(e Event) error {
			if e.What == Ticked {
				if ticks++; ticks%syncTicks != 0 {
					return nil
				}
			}
			return s.told(ctx, e)
		})
		if ctx.Err() != nil {
			return
		}
		if h.listening.Swap(false) || !said {
			said = true
			s.log.Warn("the other control planes are not heard; trying again", "error", err)
		}
		pause(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond))
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// told deals with one event.
func (s *Service) told(ctx context.Context, e Event) error {
	h := s.shared
	switch e.What {
	case Listening:
		if err := s.resume(ctx); err != nil {
			return err
		}
		h.listening.Store(true)
		h.begins.Store(false)
	case Ticked:
		return s.readWaiting(ctx)
	case Changed:
		signal(h.changed)
	case Queued:
		for _, id := range e.Messages {
			s.lines.of(e.Atom).add(id)
		}
	case Acknowledged:
		if e.Atom == "" {
			s.lines.forget(e.Messages)
		} else {
			s.lines.of(e.Atom).remove(e.Messages)
		}
	case Recorded:
		for _, r := range e.Requests {
			s.waiters.tell(r)
		}
	case HeardOf:
		if !e.Own {
			select {
			case h.beats <- e:
			default: // so many at once come again soon
			}
		}
	case LogLeft:
		s.asked.answer(e.Number, logAnswer{left: true})
	case WhoServes:
		if h.door != nil && !e.Own && h.door.Lives(e.Atom, e.Run) {
			return h.store.Tell(ctx, Event{What: IServe, Number: e.Number})
		}
	case IServe:
		h.mu.Lock()
		if ch := h.questions[e.Number]; ch != nil {
			signal(ch)
		}
		h.mu.Unlock()
	case Displaced:
		if h.door != nil && !e.Own {
			h.door.Displace(e.Atom, e.Run)
		}
	}
	return nil
}

// resume reads everything that may have been told while nobody listened.
func (s *Service) resume(ctx context.Context) error {
	start := time.Now()
	s.changing.Lock()
	err := s.reload(ctx)
	s.changing.Unlock()
	if err == nil {
		err = s.readWaiting(ctx)
	}
	if err == nil {
		err = s.readBeats(ctx, "", 0)
	}
	if err != nil {
		return err
	}
	s.shared.confirmed.Store(&start)
	s.waiters.tellAll()
	s.lines.wakeAll()
	return nil
}

// readWaiting reads which messages wait for which atom. Whatever is told after
// that comes after it.
func (s *Service) readWaiting(ctx context.Context) error {
	all := map[string][]int64{}
	_, err := s.store.Waiting(ctx, func(atom string, id int64) error {
		all[atom] = append(all[atom], id)
		return nil
	})
	if err == nil {
		s.lines.setWaiting(all)
	}
	return err
}

// keepConfirming makes sure that what is in memory is the newest: every two
// seconds, and when a change was told.
func (s *Service) keepConfirming(ctx context.Context) {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.shared.changed:
		}
		err := s.Confirm(ctx)
		switch {
		case err == nil && failed:
			s.log.Info("the database answers again")
		case err != nil && !failed && ctx.Err() == nil:
			s.log.Error("the database does not answer; changes are refused, and after 10 s everything is", "error", err)
		}
		if failed = err != nil; failed && s.Vouch() != nil {
			s.lines.wakeAll() // polls that are held are to be asked elsewhere
		}
	}
}

// exchangeBeats tells others how the atoms are that ask here, and takes what
// they tell.
func (s *Service) exchangeBeats(ctx context.Context) {
	tick := time.NewTicker(beatEvery + rand.N(beatEvery/5))
	defer tick.Stop()
	soon := time.NewTimer(0)
	defer soon.Stop()
	<-soon.C
	waits := false
	for {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatSoon*5)
			defer cancel()
			s.putBeats(ctx)
			return
		case <-tick.C:
			s.putBeats(ctx)
		case <-s.shared.urgent:
			if !waits {
				waits = true
				soon.Reset(beatSoon / 4)
			}
			continue
		case <-soon.C:
			s.putBeats(ctx)
			pause(ctx, beatSoon)
			waits = false
		case e := <-s.shared.beats:
			if err := s.readBeats(ctx, e.Plane, e.Number); err != nil && ctx.Err() == nil {
				s.log.Warn("how atoms of another control plane are cannot be read", "error", err)
			}
		}
	}
}

func (s *Service) putBeats(ctx context.Context) {
	all := s.lines.beats()
	if len(all) == 0 {
		return
	}
	if err := s.shared.store.PutBeats(ctx, all); err != nil {
		s.lines.untold(all)
		if ctx.Err() == nil {
			s.log.Warn("how atoms are cannot be told to other control planes", "error", err)
		}
	}
}

func (s *Service) readBeats(ctx context.Context, plane string, batch int64) error {
	all, err := s.shared.store.Beats(ctx, plane, batch)
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
		s.lines.of(b.Atom).told(h, b)
	}
	return nil
}

// Claim makes a run of an atom the one that is served, or gives false where
// another one lives, at whichever control plane. The caller asks once for each
// run that comes to it.
func (s *Service) Claim(ctx context.Context, atom, run string) (bool, error) {
	h := s.shared
	if h == nil {
		return true, nil
	}
	served, err := h.store.Serve(ctx, atom, run, run)
	if err == nil && served != run {
		var lives bool
		if lives, err = s.lives(ctx, atom, served); lives {
			return false, nil
		}
		if err == nil {
			if served, err = h.store.Serve(ctx, atom, run, served); err == nil && served == run {
				err = h.store.Tell(ctx, Event{What: Displaced, Atom: atom, Run: run})
			}
		}
	}
	if err != nil {
		return false, unavailable(err)
	}
	return served == run, nil
}

// lives asks the other control planes whether a run of an atom is there.
func (s *Service) lives(ctx context.Context, atom, run string) (bool, error) {
	h := s.shared
	if h.door != nil && h.door.Lives(atom, run) {
		return true, nil
	}
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	h.question++
	number := h.question<<20 | rand.Int64N(1<<20) // others have questions, too
	h.questions[number] = ch
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.questions, number)
		h.mu.Unlock()
	}()
	if !h.listening.Load() {
		return false, fmt.Errorf("%w: the other control planes cannot be asked", ErrUnavailable)
	}
	if err := h.store.Tell(ctx, Event{What: WhoServes, Atom: atom, Run: run, Number: number}); err != nil {
		return false, err
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-ch:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
