package agent

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"valence/atom"
	"valence/atom/atomtest"
	"valence/internal/document"
	"valence/internal/wire"
)

const (
	breaks = "process: one\nsteps:\n  - throw: it is broken\n"
	mended = "process: one\nsteps:\n  - log: fine\n"
)

func (p *plane) resubmit(id int64, request, execution, from string) {
	p.do(func() {
		p.messages = append(p.messages, wire.Message{ID: id, Kind: wire.KindResubmit, Resubmit: &wire.Resubmit{Request: request, Execution: execution, Process: "one", From: from}})
	})
}

// fail gives an execution that failed.
func (r *rig) fail(request string) string {
	r.t.Helper()
	ack, err := r.atom.ExecuteOnce(r.t.Context(), request, "one", nil, document.Empty)
	if err != nil {
		r.t.Fatal(err)
	}
	r.plane.wait("the failure", func() bool {
		v, err := r.atom.Show(r.t.Context(), ack.Execution)
		return err == nil && v.Status == "failed"
	})
	return ack.Execution
}

// runs counts the executions there are.
func (r *rig) runs() int {
	r.t.Helper()
	all, _, err := r.atom.List(r.t.Context(), atom.Filter{}, "", 100)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(all)
}

// TestResubmit: what was mended runs once, on the new version also where that
// comes with the same answer, however often it is asked for.
func TestResubmit(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", breaks), nil)
	p.waitResult(1, "active")
	failed := r.fail("of this machine")
	pack := p.pack("a.yaml", mended)
	p.do(func() {
		p.desired = &wire.Desired{Generation: 2, Environment: "prod", Deployments: []wire.Deployment{{ID: "d", Package: pack, Project: "orders", Version: "2"}}}
		for id := int64(1); id < 3; id++ {
			p.messages = append(p.messages, wire.Message{ID: id, Kind: wire.KindResubmit, Resubmit: &wire.Resubmit{Request: "executionrecord-1", Execution: failed, Process: "one"}})
		}
	})
	if x := p.waitReport("executionrecord-1"); x.Status != "completed" || x.Kind != atom.ByResubmission || x.Original != failed || x.Execution == "" {
		t.Errorf("%+v", x)
	}
	p.wait("the acknowledgements", func() bool { return len(p.messages) == 0 })
	if n := r.runs(); n != 2 {
		t.Errorf("there are %d executions", n)
	}
}

// TestResubmitRejected: what cannot be resubmitted is told, with the reason.
func TestResubmitRejected(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", breaks), nil)
	p.waitResult(1, "active")
	again, gone, over := r.fail("1"), r.fail("2"), r.fail("3")
	if _, err := r.atom.Resubmit(t.Context(), again, atom.Resubmission{}); err != nil {
		t.Fatal(err)
	}
	if err := r.atom.Discard(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ execution, from, why string }{
		"executionrecord-1": {again, "", "it was resubmitted, as "},
		"executionrecord-2": {gone, "", "it was deleted"},
		"executionrecord-3": {"0123456789abcdefghijklmnop", "", "does not have the execution"},
		"executionrecord-4": {over, "the middle", "not at the middle"},
	}
	id := int64(0)
	for request, c := range cases {
		id++
		p.resubmit(id, request, c.execution, c.from)
	}
	for request, c := range cases {
		if x := p.waitReport(request); x.Status != "rejected" || !strings.Contains(x.Error, c.why) || x.Original != c.execution || x.Kind != atom.ByResubmission {
			t.Errorf("%s: %+v", request, x)
		}
	}
	p.wait("the acknowledgements", func() bool { return len(p.messages) == 0 })
}

// cut is an atom that is killed between doing a resubmission and noting it.
type cut struct {
	Atom
	done atomic.Int64
}

func (c *cut) Resubmit(ctx context.Context, id string, r atom.Resubmission) (string, error) {
	if c.done.Load() == 0 {
		if _, err := c.Atom.Resubmit(ctx, id, r); err != nil {
			return "", err
		}
		c.done.Add(1)
	}
	return "", errors.New("it was killed")
}

// TestResubmitKilledBetween: an order whose effect is stored, and nothing of it
// noted, is known when it comes again: it runs once, and its end is told.
func TestResubmitKilledBetween(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	store := atomtest.NewStore()
	var between *cut
	r := start(t, p, data, store, func(o *Options) { between = &cut{Atom: o.Atom}; o.Atom = between })
	p.deploy(1, p.pack("a.yaml", breaks), nil)
	p.waitResult(1, "active")
	failed := r.fail("of this machine")
	p.resubmit(1, "executionrecord-1", failed, "")
	p.wait("the resubmission", func() bool { return between.done.Load() == 1 })
	r.stop()
	r = start(t, p, data, store, nil)
	if x := p.waitReport("executionrecord-1"); x.Status != "failed" || x.Original != failed || x.Kind != atom.ByResubmission {
		t.Errorf("%+v", x)
	}
	p.wait("the acknowledgement", func() bool { return len(p.messages) == 0 })
	if n := r.runs(); n != 2 {
		t.Errorf("there are %d executions", n)
	}
}
