package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"valence/atom"
	"valence/internal/wire"
	"valence/processes"
)

// standing is what the control plane knows of this atom's triggers.
type standing struct {
	bell chan struct{} // something was paused, resumed or deployed

	mu   sync.Mutex
	told string // the print that the control plane has; "": it may have none
}

func (s *standing) tell(print string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = print
}

func (s *standing) knows(print string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told == print
}

// trigger describes the trigger of a process; its kind is "" if it has none.
func trigger(p *processes.Process) wire.Listener {
	l := wire.Listener{Process: p.Name}
	switch {
	case p.Listen != nil:
		l.Kind = "listen"
	case p.Schedule != nil:
		l.Kind, l.Cron, l.Zone = "schedule", p.Schedule.Cron.String(), p.Schedule.Cron.Place().String()
	case p.Subscribe != nil:
		l.Kind = "subscribe"
	}
	return l
}

// stands tells how all triggers stand now.
func (a *Agent) stands() wire.Standing {
	a.mu.Lock()
	s := wire.Standing{Switched: a.state.Switched}
	a.mu.Unlock()
	for _, d := range a.atom.Deployed() {
		l := trigger(d.Process)
		if l.Kind == "" {
			continue
		}
		switch {
		case d.Paused():
			l.State = "paused"
		case a.atom.Hearing(d) != "":
			l.State = "failing"
		default:
			l.State = "running"
		}
		s.Listeners = append(s.Listeners, l)
	}
	if len(s.Listeners) > 0 {
		text, err := json.Marshal(s)
		if err != nil {
			return s // texts only: it cannot be
		}
		sum := sha256.Sum256(text)
		s.Print = hex.EncodeToString(sum[:8])
	}
	return s
}

// tellStanding reports how triggers stand when that has changed, until ctx
// ends. It is not kept: the next poll tells it, too.
func (a *Agent) tellStanding(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.standing.bell:
		}
		if !sleep(ctx, a.pace.Batch) { // what is paused together is told together
			return
		}
		if a.standing.knows(a.stands().Print) || !a.connected.Load() || a.isRetired() {
			continue
		}
		h := a.heartbeat(ctx)
		err := a.link.call(ctx, wire.PathReports, wire.Reports{Instance: a.instance, Generation: a.known(), Heartbeat: &h}, nil)
		if err == nil {
			a.standing.tell(h.Print)
		} else if !errors.Is(err, context.Canceled) {
			a.log.Debug("how triggers stand could not be told; the next poll does", "error", err)
		}
	}
}

// makeSwitches pauses and resumes triggers as a generation says, and takes over
// into s that it did. Where an operator of this machine said another thing, the
// newer word counts. A generation whose switches were made says nothing new.
func (a *Agent) makeSwitches(ctx context.Context, s *state, d *wire.Desired) error {
	since, before := s.Switched, s.Paused
	if d.Generation <= since {
		return nil
	}
	if err := a.pause(ctx, s, d); err != nil {
		return err
	}
	resume := slices.Clone(before)
	for name, generation := range d.Switched {
		if generation > since {
			resume = append(resume, name)
		}
	}
	for _, name := range resume {
		if p, ok := a.atom.Process(name); !ok || !p.Paused() || slices.Contains(d.Paused, name) {
			continue
		}
		if err := a.atom.Resume(ctx, name); err != nil && !errors.Is(err, atom.ErrNoSuch) {
			return fmt.Errorf("resume %s: %w", name, err)
		}
	}
	s.Switched, s.Paused = d.Generation, nil
	for _, name := range d.Paused {
		if _, ok := a.atom.Process(name); ok {
			s.Paused = append(s.Paused, name)
		}
	}
	return nil
}

// pause pauses what a generation wants paused and an earlier one did not.
func (a *Agent) pause(ctx context.Context, s *state, d *wire.Desired) error {
	since, before := s.Switched, s.Paused
	if d.Generation <= since {
		return nil
	}
	for _, name := range d.Paused {
		p, ok := a.atom.Process(name)
		if !ok || p.Paused() || slices.Contains(before, name) && d.Switched[name] <= since {
			continue
		}
		if err := a.atom.Pause(ctx, name); err != nil && !errors.Is(err, atom.ErrNoSuch) {
			return fmt.Errorf("pause %s: %w", name, err)
		}
	}
	return nil
}
