package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/fault"
	"valence/internal/wire"
)

// state is what is deployed. It is written in one commit, after the new version
// has started: an atom that is killed at any instant comes up with the version
// before or with the new one.
type state struct {
	Generation int64            `json:"generation"` // that runs
	Desired    *wire.Desired    `json:"desired,omitempty"`
	Print      string           `json:"print,omitempty"` // of what is run, values included
	Previous   *wire.Desired    `json:"previous,omitempty"`
	Since      time.Time        `json:"since,omitzero"`    // of the switch from Previous
	Refused    int64            `json:"refused,omitempty"` // newest generation that is not run
	Serials    map[string]int64 `json:"serials,omitempty"` // newest of a publisher, by project and environment
	Restarted  int64            `json:"restarted,omitempty"`
	Retired    bool             `json:"retired,omitempty"`
}

// desiredState is a generation that the atom is to converge on.
type desiredState struct {
	*wire.Desired
	tries int
}

// permanent is an error that the same generation would give again.
type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

func never(format string, args ...any) error { return &permanent{fmt.Errorf(format, args...)} }

// alteredTries is how often a package is fetched that comes altered.
const alteredTries = 3

// want takes a generation to converge on; only the newest counts.
func (a *Agent) want(d *wire.Desired) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := max(a.state.Generation, a.state.Refused)
	if a.desired != nil {
		known = max(known, a.desired.Generation)
	}
	if d.Generation <= known {
		return
	}
	a.desired = &desiredState{Desired: d}
	ring(a.wake)
}

// converging reports whether there is a generation that is not dealt with.
func (a *Agent) converging() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.desired != nil
}

// convergeOn deals with generations and with rollbacks until ctx ends.
func (a *Agent) convergeOn(ctx context.Context) {
	b := backoff{first: a.pace.First, most: a.pace.Most}
	var timer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer:
		}
		timer = nil
		if why := a.judge.verdict(); why != "" {
			a.rollback(ctx, why)
		}
		a.mu.Lock()
		d := a.desired
		a.mu.Unlock()
		if d == nil {
			b.reset()
			continue
		}
		err := a.converge(ctx, d.Desired)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errAltered) {
			if d.tries++; d.tries >= alteredTries {
				err = &permanent{err}
			}
		}
		final := (*permanent)(nil)
		if err != nil && !errors.As(err, &final) {
			wait := b.after(err)
			a.log.Warn("a deployment must wait", "generation", d.Generation, "error", err, "again", wait.String())
			timer = time.After(wait)
			continue
		}
		b.reset()
		if err != nil {
			a.refuse(ctx, d.Desired, "failed", err.Error())
		}
		a.mu.Lock()
		if a.desired == d {
			a.desired = nil
		}
		again := a.desired != nil
		a.mu.Unlock()
		if again {
			ring(a.wake)
		}
	}
}

// converge brings the atom to a generation: all of it, or nothing.
func (a *Agent) converge(ctx context.Context, d *wire.Desired) error {
	for _, x := range d.Deployments {
		if err := a.ensure(ctx, x); err != nil {
			return err
		}
	}
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s := a.state
	a.mu.Unlock()
	v, err := a.compose(d, a.local, s.Serials)
	if err != nil {
		return err
	}
	next := s
	next.Generation, next.Desired, next.Print, next.Serials = d.Generation, d, v.print, v.serials
	changed := v.print != s.Print || a.isBroken()
	if changed {
		if !a.isBroken() {
			next.Previous, next.Since = s.Desired, time.Now().UTC()
		}
		if err := a.pauseFirst(ctx, d.Paused); err != nil {
			return err
		}
		if err := a.atom.Deploy(ctx, v.release); err != nil {
			return deployError(err)
		}
	}
	if err := a.spool.save(ctx, "state", next, results(d, "active", "")...); err != nil {
		if changed {
			a.comeBack(ctx, s)
		}
		return fmt.Errorf("keep what is deployed: %w", err)
	}
	a.running(next, v, changed)
	a.outbox.nudge()
	var before []string
	if s.Desired != nil {
		before = s.Desired.Paused
	}
	a.setPaused(ctx, before, d.Paused)
	a.clean(next)
	if changed {
		a.log.Info("deployed", "generation", d.Generation, "packages", titles(d))
	}
	return nil
}

// running takes over what was deployed.
func (a *Agent) running(s state, v *version, changed bool) {
	a.mu.Lock()
	a.state, a.names, a.broken = s, v.names, ""
	a.mu.Unlock()
	policy := wire.Policy{}
	if s.Desired != nil {
		policy = s.Desired.Policy
	}
	if changed {
		judged := s.Previous != nil && len(s.Previous.Deployments) > 0
		a.judge.begin(s.Since, judged, policy, v.names)
	} else {
		a.judge.change(policy)
	}
}

// comeBack deploys again what ran before, after the new version could not be kept.
func (a *Agent) comeBack(ctx context.Context, s state) {
	v, err := a.compose(s.Desired, a.local, nil)
	if err == nil {
		err = a.atom.Deploy(context.WithoutCancel(ctx), v.release)
	}
	if err != nil {
		a.log.Error("the version before could not be put back", "error", err)
	}
}

// deployError tells errors of a version from those of the atom.
func deployError(err error) error {
	if problems := (fault.Problems)(nil); errors.As(err, &problems) {
		return never("it cannot start: %v", strings.TrimSpace(problems.Error()))
	}
	if atom.IsUnavailable(err) || errors.Is(err, context.Canceled) {
		return err
	}
	return &permanent{err}
}

// refuse keeps that a generation is not run, and reports why.
func (a *Agent) refuse(ctx context.Context, d *wire.Desired, result, why string) {
	a.log.Error("a deployment was not taken; the version before goes on", "generation", d.Generation, "packages", titles(d), "reason", why)
	a.mu.Lock()
	next := a.state
	a.mu.Unlock()
	next.Refused = max(next.Refused, d.Generation)
	if err := a.spool.save(ctx, "state", next, results(d, result, why)...); err != nil {
		a.log.Error("that a deployment failed could not be kept", "error", err)
	}
	a.mu.Lock()
	a.state.Refused = next.Refused
	a.mu.Unlock()
	a.outbox.nudge()
}

// rollback puts the version before in place of one that fails too often.
func (a *Agent) rollback(ctx context.Context, why string) {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s := a.state
	a.mu.Unlock()
	if s.Previous == nil {
		return
	}
	v, err := a.compose(s.Previous, a.local, nil)
	if err == nil {
		err = a.atom.Deploy(ctx, v.release)
	}
	if err != nil {
		a.log.Error("a new version fails too often, and the one before cannot be put back", "why", why, "error", err)
		a.judge.stop()
		return
	}
	bad := s.Desired
	next := state{
		Generation: s.Previous.Generation, Desired: s.Previous, Print: v.print, Refused: max(s.Refused, s.Generation),
		Serials: s.Serials, Restarted: s.Restarted, Retired: s.Retired,
	}
	if err := a.spool.save(ctx, "state", next, results(bad, "rolled_back", why)...); err != nil {
		a.log.Error("a rollback could not be kept; it is made again after a restart", "error", err)
	}
	a.log.Error("a new version failed too often; the version before runs again", "generation", bad.Generation, "packages", titles(bad), "why", why)
	a.running(next, v, true)
	a.setPaused(ctx, bad.Paused, next.Desired.Paused)
	a.outbox.nudge()
}

// pauseFirst pauses what runs and is to be paused, before it is replaced.
func (a *Agent) pauseFirst(ctx context.Context, paused []string) error {
	for _, name := range paused {
		if d, ok := a.atom.Process(name); ok && !d.Paused() {
			if err := a.atom.Pause(ctx, name); err != nil {
				return fmt.Errorf("pause %s: %w", name, err)
			}
		}
	}
	return nil
}

// setPaused pauses what is to be paused, and lets go on what is not any more.
// What an operator of this machine paused stays so.
func (a *Agent) setPaused(ctx context.Context, before, now []string) {
	for _, name := range now {
		if d, ok := a.atom.Process(name); ok && !d.Paused() {
			if err := a.atom.Pause(ctx, name); err != nil {
				a.log.Error("a trigger could not be paused", "process", name, "error", err)
			}
		}
	}
	for _, name := range before {
		if !slices.Contains(now, name) {
			if err := a.atom.Resume(ctx, name); err != nil && !errors.Is(err, atom.ErrNoSuch) {
				a.log.Error("a trigger could not be resumed", "process", name, "error", err)
			}
		}
	}
}

// results are the reports of what became of a generation, one for each package.
func results(d *wire.Desired, result, detail string) []report {
	at := time.Now().UTC()
	if len(detail) > 8<<10 {
		detail = detail[:8<<10] + " …"
	}
	if len(d.Deployments) == 0 {
		return []report{reportOf(aDeployment, wire.DeploymentReport{Generation: d.Generation, State: result, Detail: detail, At: at})}
	}
	all := make([]report, len(d.Deployments))
	for i, x := range d.Deployments {
		all[i] = reportOf(aDeployment, wire.DeploymentReport{Generation: d.Generation, Package: x.Package, State: result, Detail: detail, At: at})
	}
	return all
}

func titles(d *wire.Desired) []string {
	names := make([]string, len(d.Deployments))
	for i, x := range d.Deployments {
		names[i] = strings.TrimSpace(x.Project + " " + x.Version)
	}
	return names
}

func (a *Agent) isBroken() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broken != ""
}

// askRestart keeps that a restart was asked for, and asks for it. The message
// comes again after it, and is then known.
func (a *Agent) askRestart(ctx context.Context, id int64) bool {
	if !a.change(ctx, func(s *state) bool { old := s.Restarted; s.Restarted = id; return old != id }) {
		return true
	}
	a.log.Info("the control plane asks for a restart")
	ring(a.restart)
	return false
}

// retire takes the atom out of service: what was deployed to it is not run any
// more, what was accepted is finished, and nothing is asked again.
func (a *Agent) retire(ctx context.Context, id int64) bool {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	v, err := a.compose(nil, a.local, nil)
	if err == nil {
		err = a.atom.Deploy(ctx, v.release)
	}
	if err != nil {
		a.log.Error("what is deployed could not be taken down", "error", err)
	}
	a.change(ctx, func(s *state) bool { *s = state{Retired: true, Refused: s.Refused}; return true })
	a.log.Warn("this atom was retired by its control plane; it runs nothing of it any more")
	a.acks.add(id)
	if _, err := a.pollOnce(ctx, 0, a.acks.all()); err != nil {
		a.log.Debug("the control plane does not know that the atom is retired", "error", err)
	}
	return true
}

func (a *Agent) isRetired() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.Retired
}

// change writes a change of the state, if f makes one, and reports whether it did.
func (a *Agent) change(ctx context.Context, f func(*state) bool) bool {
	a.mu.Lock()
	next := a.state
	a.mu.Unlock()
	if !f(&next) {
		return false
	}
	if err := a.spool.save(ctx, "state", next); err != nil {
		a.log.Error("the agent's state could not be kept", "error", err)
	}
	a.mu.Lock()
	a.state = next
	a.mu.Unlock()
	return true
}
