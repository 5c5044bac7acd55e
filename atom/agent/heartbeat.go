package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/internal/wire"
	"valence/processes"
)

// heartbeats describes the atom for the control plane.
type heartbeats struct {
	*core
	deployer *deployer
	outbox   *outbox

	countMu     sync.Mutex
	failedCount int64 // unresolved failed executions at countedAt
	countedAt   time.Time
}

// countInterval is the lifetime of a count.
const countInterval = 10 * time.Second

// countFailed returns the number of unresolved failed executions.
func (h *heartbeats) countFailed(ctx context.Context) int64 {
	h.countMu.Lock()
	defer h.countMu.Unlock()
	if time.Since(h.countedAt) < countInterval {
		return h.failedCount
	}
	problems, err := h.atom.Problems(ctx)
	if err != nil {
		return h.failedCount
	}
	h.countedAt, h.failedCount = time.Now(), 0
	for _, p := range problems {
		h.failedCount += p.Failed
	}
	return h.failedCount
}

func (h *heartbeats) heartbeat(ctx context.Context) wire.Heartbeat {
	beat := wire.Heartbeat{Version: h.options.Version, Host: h.options.Host, StartedAt: h.started, TriggerStatus: h.triggerStatus(), Failed: h.countFailed(ctx), Dropped: h.outbox.dropped.Load(), Health: "ok", Features: []string{wire.KindReplay}}
	for _, d := range h.atom.Processes() {
		if load, err := h.atom.Load(ctx, d.Process.Name); err == nil {
			beat.Backlog += load.Waiting
		}
	}
	if err := h.atom.Ready(); err != nil {
		beat.Health = err.Error()
	}
	if err := h.spool.Err(); err != nil {
		beat.Health = "the folder " + cloudclient.Folder + " of the data folder is not writable, so the control plane can neither deploy nor execute: " + err.Error()
	}
	h.deployer.mu.Lock()
	defer h.deployer.mu.Unlock()
	if h.deployer.current.Failure != "" {
		beat.Health = h.deployer.current.Failure
	}
	for _, d := range h.deployer.current.Desired.Deployments {
		beat.Packages = append(beat.Packages, d.Package)
	}
	return beat
}

// triggerOf describes the trigger of a process. Its kind is "" if there is
// none.
func triggerOf(p *processes.Process) wire.Trigger {
	l := wire.Trigger{Process: p.Name}
	switch {
	case p.Listen != nil:
		l.Kind = wire.TriggerListen
	case p.Schedule != nil:
		l.Kind, l.Cron, l.Zone = wire.TriggerSchedule, p.Schedule.Cron.String(), p.Schedule.Cron.Zone().String()
	case p.Subscribe != nil:
		l.Kind = wire.TriggerSubscribe
	}
	return l
}

// isDown reports whether the subscription of a process does not reach its source.
func (h *heartbeats) isDown(d *atom.DeployedProcess) bool {
	s, ok := h.atom.SubscriptionStatus(d)
	return ok && s.Error != ""
}

// triggerStatus returns the state of all triggers.
func (h *heartbeats) triggerStatus() wire.TriggerStatus {
	h.deployer.mu.Lock()
	s := wire.TriggerStatus{Switched: h.deployer.state.SwitchesApplied}
	h.deployer.mu.Unlock()
	for _, d := range h.atom.Processes() {
		l := triggerOf(d.Process)
		if l.Kind == "" {
			continue
		}
		switch {
		case d.Paused():
			l.State = wire.TriggerPaused
		case h.isDown(d):
			l.State = "failing"
		default:
			l.State = wire.TriggerRunning
		}
		s.Triggers = append(s.Triggers, l)
	}
	if len(s.Triggers) > 0 {
		text, err := json.Marshal(s)
		if err != nil {
			return s // only strings: cannot happen
		}
		sum := sha256.Sum256(text)
		s.Digest = hex.EncodeToString(sum[:8])
	}
	return s
}
