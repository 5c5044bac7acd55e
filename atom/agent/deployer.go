package agent

import (
	"context"
	"fmt"
	"sync"

	"valence/atom"
	"valence/atom/agent/canary"
	"valence/atom/agent/compose"
	"valence/internal/wire"
	"valence/processes"
)

// deployer brings the atom to the desired state of the control plane.
type deployer struct {
	*core
	composer     *compose.Composer
	canary       canary.Canary
	reports      *outbox
	sentTriggers *sentTriggers

	deploying      sync.Mutex // one deployment at a time; guards local and deployedDigest
	local          []processes.File
	deployedDigest string // digest of the running composition; "": none yet

	mu            sync.Mutex
	state         savedState
	current       *compose.Composition // the running composition; without projects that cannot run
	target        *target              // the newest generation that is not dealt with; nil: none
	targetChanged chan struct{}        // wakes convergeLoop
}

// restore loads the deployed state of the previous run.
func (dep *deployer) restore(ctx context.Context) error {
	if _, err := dep.spool.LoadState(ctx, "state", &dep.state); err != nil {
		return fmt.Errorf("read the deployed state: %w", err)
	}
	if s := &dep.state; s.SwitchesApplied == 0 && s.Desired != nil { // saved by an older version
		s.SwitchesApplied, s.Paused = s.Generation, s.Desired.Paused
	}
	return nil
}

// target is a generation that the atom converges on.
type target struct {
	*wire.Desired
	tries int
}

// setTarget sets the generation to converge on. It returns false if d is not
// newer than the known ones.
func (dep *deployer) setTarget(d *wire.Desired) bool {
	dep.mu.Lock()
	defer dep.mu.Unlock()
	known := max(dep.state.Generation, dep.state.Refused)
	if dep.target != nil {
		known = max(known, dep.target.Generation)
	}
	if d.Generation <= known {
		return false
	}
	dep.target = &target{Desired: d}
	notify(dep.targetChanged)
	return true
}

// converging reports whether a generation is being dealt with.
func (dep *deployer) converging() bool {
	dep.mu.Lock()
	defer dep.mu.Unlock()
	return dep.target != nil
}

// latestGeneration returns the newest generation that need not be sent again:
// running, in progress or rejected.
func (dep *deployer) latestGeneration() int64 {
	dep.mu.Lock()
	defer dep.mu.Unlock()
	n := max(dep.state.Generation, dep.state.Refused)
	if dep.target != nil {
		n = max(n, dep.target.Generation)
	}
	return n
}

func (dep *deployer) policy() wire.Policy {
	dep.mu.Lock()
	defer dep.mu.Unlock()
	if dep.state.Desired == nil {
		return wire.Policy{}
	}
	return dep.state.Desired.Policy
}

// observe passes an outcome to the canary and wakes convergeLoop for a
// rollback.
func (dep *deployer) observe(e atom.ExecutionEnd) {
	if dep.canary.Observe(e) {
		notify(dep.targetChanged)
	}
}

// recordRestart stores that a restart was requested by an instruction and reports
// whether an earlier run has already restarted for it: IDs increase, so one
// restart covers all earlier instructions.
func (dep *deployer) recordRestart(ctx context.Context, id int64) (done bool, err error) {
	dep.deploying.Lock() // deployments also write the state
	defer dep.deploying.Unlock()
	err = dep.updateState(ctx, func(s *savedState) { done, s.Restarted = id <= s.Restarted, max(id, s.Restarted) })
	return done, err
}

// retire stops the deployed projects for good. Accepted messages finish.
func (dep *deployer) retire(ctx context.Context) error {
	dep.deploying.Lock()
	defer dep.deploying.Unlock()
	v, err := dep.composer.Compose(nil, dep.local, nil)
	if err == nil {
		err = dep.deploy(ctx, v)
	}
	if err != nil {
		dep.log.Error("cannot stop the deployed projects", "error", err)
	} else {
		dep.mu.Lock()
		dep.current = v
		dep.mu.Unlock()
	}
	return dep.updateState(ctx, func(s *savedState) { *s = savedState{Retired: true, Refused: s.Refused} })
}

func (dep *deployer) isRetired() bool {
	dep.mu.Lock()
	defer dep.mu.Unlock()
	return dep.state.Retired
}

// updateState stores a change of the state, which has no effect if that fails.
// The caller holds deploying.
func (dep *deployer) updateState(ctx context.Context, f func(*savedState)) error {
	dep.mu.Lock()
	next := dep.state
	dep.mu.Unlock()
	f(&next)
	if err := dep.spool.SaveState(ctx, "state", next); err != nil {
		dep.log.Error("cannot store the agent's state", "error", err)
		return err
	}
	dep.mu.Lock()
	dep.state = next
	dep.mu.Unlock()
	return nil
}
