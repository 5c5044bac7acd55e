package agent

import (
	"context"
	"errors"
	"sync"

	"valence/internal/wire"
)

// sentTriggers records which trigger states the control plane knows.
type sentTriggers struct {
	changed chan struct{} // signals paused, resumed or deployed triggers

	mu     sync.Mutex
	digest string // the last one sent; "": unknown
}

func (s *sentTriggers) set(print string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.digest = print
}

func (s *sentTriggers) is(print string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.digest == print
}

// triggerReporter reports changed trigger states.
type triggerReporter struct {
	*core
	sent       *sentTriggers
	deployer   *deployer
	heartbeats *heartbeats
}

// run reports changed trigger states until ctx ends. Failed reports
// are not stored because the next poll contains the state.
func (t *triggerReporter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.sent.changed:
		}
		if !sleep(ctx, t.timing.Batch) { // batch changes made together
			return
		}
		if t.sent.is(t.heartbeats.triggerStatus().Digest) || !t.connected.Load() || t.deployer.isRetired() {
			continue
		}
		h := t.heartbeats.heartbeat(ctx)
		err := t.client.Call(ctx, wire.PathReports, wire.Reports{Instance: t.instance, Generation: t.deployer.latestGeneration(), Heartbeat: &h}, nil)
		if err == nil {
			t.sent.set(h.Digest)
		} else if !errors.Is(err, context.Canceled) {
			t.log.Debug("cannot report trigger states; the next poll reports them", "error", err)
		}
	}
}
