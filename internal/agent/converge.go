package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	Generation int64            `json:"generation"`        // that was dealt with last
	Desired    *wire.Desired    `json:"desired,omitempty"` // that runs: without what could not
	Wanted     *wire.Desired    `json:"wanted,omitempty"`  // all of it, where something could not; tried again at the next start
	Previous   *wire.Desired    `json:"previous,omitempty"`
	Since      time.Time        `json:"since,omitzero"`     // of the switch from Previous
	Refused    int64            `json:"refused,omitempty"`  // newest generation that is not run
	Serials    map[string]int64 `json:"serials,omitempty"`  // newest of a publisher, by project and environment
	Switched   int64            `json:"switched,omitempty"` // newest generation whose switches were made, also where it was refused
	Paused     []string         `json:"paused,omitempty"`   // what it wanted paused, of what is here
	Restarted  int64            `json:"restarted,omitempty"`
	Retired    bool             `json:"retired,omitempty"`

	PutBack map[string]putBack `json:"put_back,omitempty"` // by project: what failed too often here
}

// deployments gives what is deployed, which may be nothing.
func (s *state) deployments() *wire.Desired {
	if s.Desired == nil {
		return &wire.Desired{}
	}
	return s.Desired
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

func isPermanent(err error) bool {
	p := (*permanent)(nil)
	return errors.As(err, &p)
}

func never(format string, args ...any) error { return &permanent{fmt.Errorf(format, args...)} }

// alteredTries is how often a package is fetched that comes altered.
const alteredTries = 3

// want takes a generation to converge on; only the newest counts. It is false
// for one that is not newer than what is known.
func (a *Agent) want(d *wire.Desired) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := max(a.state.Generation, a.state.Refused)
	if a.desired != nil {
		known = max(known, a.desired.Generation)
	}
	if d.Generation <= known {
		return false
	}
	a.desired = &desiredState{Desired: d}
	ring(a.wake)
	return true
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
		if project, why := a.judge.verdict(); why != "" {
			a.rollback(ctx, project, why)
		}
		a.mu.Lock()
		d := a.desired
		a.mu.Unlock()
		if d == nil {
			b.reset()
			continue
		}
		err := a.converge(ctx, d)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !isPermanent(err) {
			wait := b.after(err)
			a.log.Warn("a deployment must wait", "generation", d.Generation, "error", err, "again", wait.String())
			timer = time.After(wait)
			continue
		}
		b.reset()
		if err != nil {
			a.refuse(ctx, d.Desired, err)
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

// converge brings the atom to a generation. A project that cannot run does not
// keep the others from it: its version before goes on, or nothing of it runs.
func (a *Agent) converge(ctx context.Context, d *desiredState) error {
	a.mu.Lock()
	kept, runs := a.state.deployments(), a.runs.desired
	a.mu.Unlock()
	left := map[string]error{}
	for _, x := range d.Deployments {
		if why := a.wasPutBack(x); why != nil {
			left[x.Project] = why
			continue
		}
		err := a.ensure(ctx, x)
		if errors.Is(err, errAltered) {
			if d.tries++; d.tries >= alteredTries {
				err = &permanent{err}
			}
		}
		switch {
		case err == nil:
		case isPermanent(err) && !slices.ContainsFunc(runs.Deployments, func(y wire.Deployment) bool { return y.Package == x.Package }):
			left[x.Project] = err
		default:
			return err
		}
	}
	for _, x := range kept.Deployments {
		if y := find(d.Desired, x.Project); y != nil && y.Package == x.Package {
			continue // it has been looked at
		}
		if err := a.ensure(ctx, x); err != nil {
			a.log.Warn("the version before is not whole", "project", x.Project, "error", err)
		}
	}
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s, before := a.state, a.runs
	a.mu.Unlock()
	now, err := a.adopt(ctx, d.Desired, before, s.deployments(), s.serialsToMeet(d.Desired), left)
	if err != nil {
		a.comeBack(ctx, before)
		return err
	}
	changed := now.print != before.print
	next := s
	next.Generation, next.Desired, next.Wanted, next.Serials = d.Generation, now.desired, nil, newest(now.serials, s.Serials)
	next.PutBack = stillPutBack(s.PutBack, d.Desired)
	if len(left) > 0 {
		now.broken = outages(left, now.desired)
	}
	if len(left) > len(next.PutBack) {
		next.Wanted = d.Desired
	}
	if changed {
		next.Previous, next.Since = s.previousTo(before.desired, now.desired, a.o.Clock()), a.o.Clock().UTC()
	}
	if err := a.makeSwitches(ctx, &next, d.Desired); err != nil {
		return err
	}
	if err := a.spool.save(ctx, "state", next, a.results(d.Desired, left, "failed")...); err != nil {
		a.comeBack(ctx, before)
		return fmt.Errorf("keep what is deployed: %w", err)
	}
	a.running(next, now, before.desired, changed)
	ring(a.standing.bell)
	a.clean(next)
	a.outbox.nudge()
	for project, why := range left {
		if isPutBack(why) {
			a.log.Warn("a version that was put back stays so", "generation", d.Generation, "project", project, "reason", why)
			continue
		}
		a.log.Error("a deployment was not taken; what ran of it before goes on", "generation", d.Generation, "project", project, "reason", why)
	}
	if changed {
		a.log.Info("deployed", "generation", d.Generation, "packages", titles(now.desired))
	}
	return nil
}

// running takes over what was deployed.
func (a *Agent) running(s state, now *version, before *wire.Desired, changed bool) {
	a.mu.Lock()
	a.state, a.runs = s, now
	a.mu.Unlock()
	a.atom.KeepAtMost(time.Duration(now.desired.PurgeDays) * 24 * time.Hour)
	if !changed {
		a.judge.change(now.desired.Policy)
		return
	}
	a.judge.begin(s.Since, now.desired.Policy, s.onTrial(now), differing(now.desired, before))
}

// onTrial gives the processes of a version that are judged, each with its
// project: those of which another package ran before. Where all packages are
// the same, another value is judged, by all processes and for no project.
func (s *state) onTrial(now *version) map[string]string {
	trial := map[string]string{}
	if s.Previous == nil {
		return trial
	}
	differ := differing(now.desired, s.Previous)
	values := len(differ) == 0 && len(now.desired.Deployments) == len(s.Previous.Deployments)
	for name, project := range now.names {
		switch {
		case values:
			trial[name] = ""
		case differ[project] && find(s.Previous, project) != nil:
			trial[name] = project
		}
	}
	return trial
}

// previousTo gives what is gone back to where now runs in place of before. Of a
// project that is still new, and does not change, it is what ran before it:
// neither another value nor another project's version ends its protection.
func (s *state) previousTo(before, now *wire.Desired, at time.Time) *wire.Desired {
	if s.Previous == nil || at.Sub(s.Since) > newFor(before.Policy) {
		return before
	}
	previous := *before
	previous.Deployments = nil
	for _, x := range before.Deployments {
		stays, old := find(now, x.Project), find(s.Previous, x.Project)
		switch {
		case stays == nil, stays.Package != x.Package, old == nil, old.Package == x.Package:
			previous.Deployments = append(previous.Deployments, x)
		default:
			previous.Deployments = append(previous.Deployments, *old)
		}
	}
	return &previous
}

// differing gives the projects of which a generation has another package than
// the one before it.
func differing(d, before *wire.Desired) map[string]bool {
	differ := map[string]bool{}
	if before == nil {
		return differ
	}
	for _, x := range d.Deployments {
		if old := find(before, x.Project); old == nil || old.Package != x.Package {
			differ[x.Project] = true
		}
	}
	return differ
}

// comeBack deploys again what ran before, where something else was deployed
// since and could not be kept.
func (a *Agent) comeBack(ctx context.Context, before *version) {
	if err := a.enact(context.WithoutCancel(ctx), before); err != nil {
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

// refuse keeps that a generation is not run, and reports why. What it pauses
// and resumes is paused and resumed all the same.
func (a *Agent) refuse(ctx context.Context, d *wire.Desired, why error) {
	a.log.Error("a deployment was not taken; the version before goes on", "generation", d.Generation, "packages", titles(d), "reason", why)
	a.mu.Lock()
	next := a.state
	a.mu.Unlock()
	if err := a.makeSwitches(ctx, &next, d); err != nil {
		a.log.Error("triggers could not be paused or resumed", "error", err)
	}
	next.Refused, next.Wanted = max(next.Refused, d.Generation), d
	if err := a.spool.save(ctx, "state", next, a.results(d, all(d, why), "failed")...); err != nil {
		a.log.Error("that a deployment failed could not be kept", "error", err)
	}
	a.mu.Lock()
	a.state.Refused, a.state.Wanted, a.state.Switched, a.state.Paused = next.Refused, next.Wanted, next.Switched, next.Paused
	a.mu.Unlock()
	a.outbox.nudge()
	ring(a.standing.bell)
}

// rollback puts the version before of a project in place of one that fails too
// often; without a project, everything that ran before other values came.
func (a *Agent) rollback(ctx context.Context, project, why string) {
	a.deploying.Lock()
	defer a.deploying.Unlock()
	a.mu.Lock()
	s, runs := a.state, a.runs
	a.mu.Unlock()
	if s.Previous == nil {
		return
	}
	next, left := s, map[string]error{}
	x, old := find(runs.desired, project), find(s.Previous, project)
	switch {
	case project == "":
		next.Desired, next.Generation, next.Refused = s.Previous, s.Previous.Generation, max(s.Refused, s.Generation)
		next.Wanted, left = nil, all(runs.desired, errors.New(why))
	case x == nil, old == nil:
		return
	default:
		next.Desired = with(runs.desired, *old)
		if next.PutBack = maps.Clone(s.PutBack); next.PutBack == nil {
			next.PutBack = map[string]putBack{}
		}
		next.PutBack[project] = putBack{Deployment: x.ID, Package: x.Package, Why: why}
		left[project] = next.PutBack[project].err()
	}
	if len(differing(next.Desired, s.Previous)) == 0 { // what runs is no longer new
		next.Previous, next.Since = nil, time.Time{}
	}
	v, err := a.compose(next.Desired, a.local, nil)
	if err == nil {
		err = a.enact(ctx, v)
	}
	if err != nil {
		a.log.Error("a new version fails too often, and the one before cannot be put back", "project", project, "why", why, "error", err)
		a.judge.stop(project)
		return
	}
	v.broken = runs.broken
	if err := a.spool.save(ctx, "state", next, a.results(runs.desired, left, "rolled_back")...); err != nil {
		a.log.Error("a rollback could not be kept; it is made again after a restart", "error", err)
	}
	a.log.Error("a new version failed too often; the version before runs again", "generation", s.Generation, "packages", titles(next.Desired), "project", project, "why", why)
	a.running(next, v, runs.desired, true) // what is paused stays so
	a.outbox.nudge()
	ring(a.standing.bell)
}

// results are the reports of what became of a generation, one for each package:
// it is active, or what is told of its project in left.
func (a *Agent) results(d *wire.Desired, left map[string]error, otherwise string) []report {
	at := a.o.Clock().UTC()
	became := func(pack, project string) report {
		r := wire.DeploymentReport{Generation: d.Generation, Package: pack, State: "active", At: at}
		if why := left[project]; why != nil {
			r.State, r.Detail = otherwise, clip(why.Error())
			if isPutBack(why) {
				r.State = "rolled_back"
			}
		}
		return reportOf(aDeployment, r)
	}
	if len(d.Deployments) == 0 {
		return []report{became("", "")}
	}
	all := make([]report, len(d.Deployments))
	for i, x := range d.Deployments {
		all[i] = became(x.Package, x.Project)
	}
	return all
}

// all tells the same of every project of a generation.
func all(d *wire.Desired, why error) map[string]error {
	left := map[string]error{"": why}
	for _, x := range d.Deployments {
		left[x.Project] = why
	}
	return left
}

func titles(d *wire.Desired) []string {
	names := make([]string, len(d.Deployments))
	for i, x := range d.Deployments {
		names[i] = strings.TrimSpace(x.Project + " " + x.Version)
	}
	return names
}

// askRestart keeps that a restart was asked for, and asks for it. The message
// comes again after it, and is then known: ids grow, so one restart is that of
// every message until then.
func (a *Agent) askRestart(ctx context.Context, id int64) bool {
	a.deploying.Lock() // a deployment writes the state, too
	defer a.deploying.Unlock()
	done := true
	err := a.change(ctx, func(s *state) { done, s.Restarted = id <= s.Restarted, max(id, s.Restarted) })
	if err != nil {
		return false // after a restart it would be asked for again, and again
	}
	if done {
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
		err = a.enact(ctx, v)
	}
	if err != nil {
		a.log.Error("what is deployed could not be taken down", "error", err)
	} else {
		a.mu.Lock()
		a.runs = v
		a.mu.Unlock()
	}
	if err := a.change(ctx, func(s *state) { *s = state{Retired: true, Refused: s.Refused} }); err != nil {
		return false // after a restart it would run everything again
	}
	a.log.Warn("this atom was retired by its control plane; it runs nothing of it any more")
	a.acks.add(id, "")
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

// change writes a change of the state. Where it cannot be kept it has no effect.
// The caller holds deploying.
func (a *Agent) change(ctx context.Context, f func(*state)) error {
	a.mu.Lock()
	next := a.state
	a.mu.Unlock()
	f(&next)
	if err := a.spool.save(ctx, "state", next); err != nil {
		a.log.Error("the agent's state could not be kept", "error", err)
		return err
	}
	a.mu.Lock()
	a.state = next
	a.mu.Unlock()
	return nil
}
