package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"valence/atom"
	"valence/internal/wire"
)

// applySwitches pauses and resumes triggers as requested by a generation and
// records that in s. If a local operator disagrees, the newer decision wins.
// Each generation's switches are applied once.
func (dep *deployer) applySwitches(ctx context.Context, s *savedState, d *wire.Desired) error {
	since, before := s.SwitchesApplied, s.Paused
	if d.Generation <= since {
		return nil
	}
	if err := dep.pauseTriggers(ctx, s, d); err != nil {
		return err
	}
	resume := slices.Clone(before)
	for name, generation := range d.SwitchedIn {
		if generation > since {
			resume = append(resume, name)
		}
	}
	for _, name := range resume {
		if p, ok := dep.atom.Process(name); !ok || !p.Paused() || slices.Contains(d.Paused, name) {
			continue
		}
		if err := dep.atom.Resume(ctx, name); err != nil && !errors.Is(err, atom.ErrNoSuch) {
			return fmt.Errorf("resume %s: %w", name, err)
		}
	}
	s.SwitchesApplied, s.Paused = d.Generation, nil
	for _, name := range d.Paused {
		if _, ok := dep.atom.Process(name); ok {
			s.Paused = append(s.Paused, name)
		}
	}
	return nil
}

// pauseTriggers pauses the triggers that a generation newly wants paused.
func (dep *deployer) pauseTriggers(ctx context.Context, s *savedState, d *wire.Desired) error {
	since, before := s.SwitchesApplied, s.Paused
	if d.Generation <= since {
		return nil
	}
	for _, name := range d.Paused {
		p, ok := dep.atom.Process(name)
		if !ok || p.Paused() || slices.Contains(before, name) && d.SwitchedIn[name] <= since {
			continue
		}
		if err := dep.atom.Pause(ctx, name); err != nil && !errors.Is(err, atom.ErrNoSuch) {
			return fmt.Errorf("pause %s: %w", name, err)
		}
	}
	return nil
}
