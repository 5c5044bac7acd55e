package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/atom/replay"
	"valence/internal/wire"
)

// Limits of replays. They run one at a time on one goroutine, which rests three
// times as long as it works, so that live executions are not slowed down.
const (
	maxQueuedReplays = 8
	maxReplayed      = 20_000 // executions of all processes
	replayEach       = 20 * time.Second
	replayRest       = 3
	maxSeenReplays   = 100
	replaySends      = 3 // attempts to send a result
)

// replays runs executions of the history through packages that are not deployed,
// and reports the changes.
type replays struct {
	*core
	deployer *deployer
	queue    chan wire.Instruction

	seen []int64 // instructions, for repeated ones; used by the poller only
}

// accept queues a replay and reports whether it need not be repeated. The control
// plane withdraws the instruction with the report, so that an atom which a replay
// stops does not run it again.
func (r *replays) accept(ctx context.Context, m wire.Instruction) bool {
	if m.Replay == nil || slices.Contains(r.seen, m.ID) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, r.timing.LogTimeout) // the next poll waits for it
	defer cancel()
	report := &wire.ReplayReport{Instruction: m.ID, State: wire.ReplayQueued}
	if full := len(r.queue) == cap(r.queue); full {
		report.State, report.Error = wire.ReplayFailed, fmt.Sprintf("%d replays wait on this atom already: run the command again later", cap(r.queue))
	}
	err := r.send(ctx, report)
	if err != nil && !isEnded(err) {
		r.log.Warn("cannot report a replay; it is postponed", "error", err)
		return false
	}
	if r.seen = append(r.seen, m.ID); len(r.seen) > maxSeenReplays {
		r.seen = r.seen[1:]
	}
	if err == nil && report.State == wire.ReplayQueued {
		r.queue <- m // only this goroutine adds to it, so there is room
	}
	return true
}

// run replays until ctx ends.
func (r *replays) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-r.queue:
			r.replay(ctx, m)
		}
	}
}

// replay runs one replay and reports its progress and its result.
func (r *replays) replay(ctx context.Context, m wire.Instruction) {
	r.log.Info("replaying executions for the control plane", "project", m.Replay.Deployment.Project, "version", m.Replay.Deployment.Version, "last", m.Replay.Last)
	p := &replayProgress{report: wire.ReplayReport{Instruction: m.ID, State: wire.ReplayRunning}}
	working, stop := context.WithCancel(ctx)
	var reporting sync.WaitGroup
	reporting.Go(func() { r.reportProgress(working, stop, p) })
	result, err := r.result(working, m.Replay, p.set)
	gone := working.Err() != nil && ctx.Err() == nil
	stop()
	reporting.Wait()
	r.deployer.removeUnused()
	if gone {
		return // nobody waits for the result
	}
	end := p.get()
	end.State, end.Result = wire.ReplayFinished, result
	if err != nil {
		r.log.Warn("replay failed", "project", m.Replay.Deployment.Project, "error", err)
		end.State, end.Error = wire.ReplayFailed, r.options.Masks.String(truncate(err.Error()))
		if ctx.Err() != nil {
			end.Error = "the atom stopped during the replay"
		}
	}
	r.sendResult(ctx, &end)
}

// result replays the executions and returns the report.
func (r *replays) result(ctx context.Context, x *wire.Replay, progress func(done, total int)) (json.RawMessage, error) {
	release, err := r.deployer.candidate(ctx, x.Deployment)
	if err != nil {
		return nil, err
	}
	limits := replay.Limits{Last: min(x.Last, wire.MaxReplays), Total: maxReplayed, Time: r.timing.Replay, Each: replayEach, Rest: replayRest}
	out, err := replay.All(ctx, r.atom, replay.Candidate{Project: release.Project, Files: release.Files, Env: release.Env}, limits, progress)
	if err != nil {
		return nil, err
	}
	for _, report := range out.Reports {
		if !r.deployer.policy().SendDocuments {
			report.WithholdDocuments(release.Files)
		}
		report.Shorten(r.options.Masks.String)
	}
	text, err := json.Marshal(out)
	if err == nil && len(text) > wire.MaxReplayResult {
		for _, report := range out.Reports {
			report.DropExamples()
		}
		text, err = json.Marshal(out)
	}
	if err == nil && len(text) > wire.MaxReplayResult {
		err = errors.New("the report is too large: replay the processes with valence replay on the machine of the atom")
	}
	return text, err
}

// replayProgress is shared by the replay and its reports.
type replayProgress struct {
	mu     sync.Mutex
	report wire.ReplayReport
}

func (p *replayProgress) set(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Done, p.report.Total = done, total
}

func (p *replayProgress) get() wire.ReplayReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.report
}

// reportProgress reports until ctx ends. It calls stop if nobody waits for the
// result any more.
func (r *replays) reportProgress(ctx context.Context, stop func(), p *replayProgress) {
	for {
		report := p.get()
		if err := r.send(ctx, &report); isEnded(err) {
			stop()
			return
		}
		if !sleep(ctx, r.timing.Progress) {
			return
		}
	}
}

// sendResult sends the last report, once only if the atom stops.
func (r *replays) sendResult(ctx context.Context, report *wire.ReplayReport) {
	for i := range replaySends {
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timing.LogTimeout/time.Duration(i+1))
		if ctx.Err() != nil {
			cancel()
			sending, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		}
		err := r.send(sending, report)
		cancel()
		if err == nil || isEnded(err) || ctx.Err() != nil {
			return
		}
		r.log.Warn("cannot send the result of a replay", "error", err)
		sleep(ctx, r.timing.Progress)
	}
}

func (r *replays) send(ctx context.Context, report *wire.ReplayReport) error {
	report.AtomStarted = r.started
	return r.client.Call(ctx, wire.PathReports, wire.Reports{Instance: r.instance, Replay: report}, nil)
}

// isEnded reports whether the control plane does not want further reports on a
// replay.
func isEnded(err error) bool { return cloudclient.ErrorCode(err) == wire.CodeConflict }

// candidate returns a package with the values of the environment, checked as if
// it were deployed.
func (dep *deployer) candidate(ctx context.Context, x wire.Deployment) (*atom.Release, error) {
	for again := true; ; again = false {
		if err := dep.composer.EnsurePackage(ctx, x); err != nil {
			return nil, err
		}
		release, err := dep.composeCandidate(x)
		if again && errors.Is(err, fs.ErrNotExist) {
			continue // a deployment has just deleted the unused packages
		}
		return release, err
	}
}

func (dep *deployer) composeCandidate(x wire.Deployment) (*atom.Release, error) {
	dep.deploying.Lock() // deployments delete unused packages
	defer dep.deploying.Unlock()
	dep.mu.Lock()
	d, serials := *dep.state.desired(), maps.Clone(dep.state.Serials)
	dep.mu.Unlock()
	d.Deployments = []wire.Deployment{x}
	if serials == nil {
		serials = map[string]int64{}
	}
	v, err := dep.composer.Compose(&d, nil, serials)
	if err != nil {
		return nil, err
	}
	return &v.Releases[len(v.Releases)-1], nil
}

// removeUnused deletes the packages that no generation needs.
func (dep *deployer) removeUnused() {
	dep.deploying.Lock()
	defer dep.deploying.Unlock()
	dep.mu.Lock()
	inUse := []*wire.Desired{dep.state.Desired, dep.state.Wanted, dep.state.Previous}
	if dep.target != nil {
		inUse = append(inUse, dep.target.Desired)
	}
	dep.mu.Unlock()
	dep.composer.RemoveUnused(inUse...)
}
