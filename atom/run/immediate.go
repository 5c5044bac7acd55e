package run

import (
	"context"
	"slices"
	"sync"

	"valence/atom/activity"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/processes"
)

// Immediate is an execution that has run and ended before its message is
// stored. Nothing that it did is visible outside, so the message and the outcome
// are stored in one commit, or neither is.
type Immediate struct {
	*execution
	input   *document.Document
	outcome store.Outcome
}

// Outcome returns how the execution ended.
func (m *Immediate) Outcome() *store.Outcome { return &m.outcome }

// pureSteps are the kinds of steps that only compute.
var pureSteps = []string{"branch", "convert", "for_each", "if", "log", "map", "repeat", "set", "stop", "switch", "throw", "try", "validate"}

// purity caches which processes only compute.
type purity struct{ byProcess sync.Map } // *processes.Process → bool

func (p *purity) of(x *processes.Process) bool {
	if known, ok := p.byProcess.Load(x); ok {
		return known.(bool)
	}
	pure := !x.State && len(x.Waits) == 0 && isPure(x.Steps)
	p.byProcess.Store(x, pure)
	return pure
}

func isPure(block processes.Block) bool {
	for _, s := range block {
		if _, calls := s.Settings.(processes.ExternalCaller); calls || !slices.Contains(pureSteps, s.Kind) {
			return false
		}
		for _, l := range s.Lists {
			if !isPure(l.Steps) {
				return false
			}
		}
	}
	return true
}

// CanRunImmediately reports whether messages of a process may be run before they
// are stored: its steps only compute, and the workers of the process are not
// stopped.
func (g *Engine) CanRunImmediately(d Deployed) bool {
	return g.Traced == nil && g.pure.of(d.Plan.Process) && len(d.Plan.redact()) == 0 && g.Workers(d.Plan.Process.Name) > 0
}

// RunImmediately runs the execution of a message that Admit has admitted and that
// is not stored yet. It returns nil if the execution must run after its message is
// stored, as usual: because it failed, because it reads its own id, which it
// does not have yet, because ctx ended, or because its message waits for others.
// CanRunImmediately must have returned true.
func (g *Engine) RunImmediately(ctx context.Context, d Deployed, in *Message, m *store.Message) *Immediate {
	if m.Seq != 0 || !m.Due.IsZero() || !m.Expires.IsZero() || m.Lane != nil || m.Coalesce != nil || in.Deferred != nil || in.Request != nil {
		return nil
	}
	e := g.prepare(d, in)
	e.started, e.durable, e.tracked = g.Clock.Wall(), true, m.Track
	f := steps.NewFrame(blob.Into(ctx, g.Blobs), e, d.Plan.Process, in.Doc, in.Props, in.Received)
	if steps.RunProcess(f) != nil || e.nameless || e.pending != nil {
		return nil
	}
	return &Immediate{e, in.Doc, e.outcome(nil, d.Plan.Process.Delivery.Retention.Documents > 0)}
}

// Stored reports the end of the execution, after its message and outcome were
// stored under a number.
func (m *Immediate) Stored(seq int64) {
	g := m.engine
	m.seq = seq
	m.plan.Stats.Ended(string(m.outcome.Status), m.outcome.Ended.Sub(m.received))
	if g.Activity.Active() {
		g.Activity.Publish(activity.Event{Event: activity.Accepted, Process: m.plan.Process.Name, Execution: m.id()})
		g.Activity.Publish(activity.Event{Event: activity.Started, Process: m.plan.Process.Name, Execution: m.id()})
	}
	g.reportEnd(m.execution, m.input, &m.outcome, nil)
}
