package agent

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/wire"
)

const (
	breaks = "process: one\nsteps:\n  - throw: it is broken\n"
	mended = "process: one\nsteps:\n  - log: fine\n"
)

func (p *plane) resubmit(id int64, request, execution, from string) {
	p.do(func() {
		p.instructions = append(p.instructions, wire.Instruction{ID: id, Kind: wire.KindResubmit, Resubmit: &wire.Resubmit{Request: request, Execution: execution, Process: "one", From: from}})
	})
}

// fail returns a failed execution.
func (r *rig) fail(request string) string {
	r.t.Helper()
	ack, err := r.atom.ExecuteOnce(r.t.Context(), request, "one", atom.Input{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.plane.wait("the failure", func() bool {
		v, err := r.atom.Show(r.t.Context(), ack.Execution)
		return err == nil && v.Status == "failed"
	})
	return ack.Execution
}

// runs counts the executions.
func (r *rig) runs() int {
	r.t.Helper()
	all, _, err := r.atom.List(r.t.Context(), store.Filter{}, "", 100)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(all)
}

// TestResubmit: a resubmission runs once however often it is requested, on the
// new version even if that arrives in the same response.
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
			p.instructions = append(p.instructions, wire.Instruction{ID: id, Kind: wire.KindResubmit, Resubmit: &wire.Resubmit{Request: "executionrecord-1", Execution: failed, Process: "one"}})
		}
	})
	if x := p.waitReport("executionrecord-1"); x.Status != "completed" || x.Kind != atom.ByResubmission || x.Original != failed || x.Execution == "" {
		t.Errorf("got %+v, want Status completed, Kind retry, Original %q and Execution set", x, failed)
	}
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
	if n := r.runs(); n != 2 {
		t.Errorf("got %d executions, want 2", n)
	}
}

// TestResubmitRejected: impossible resubmissions are rejected with the reason.
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
		"executionrecord-3": {"0123456789abcdefghijklmnop", "", "no longer has the execution"},
		"executionrecord-4": {over, "the middle", "not from the middle"},
	}
	id := int64(0)
	for request, c := range cases {
		id++
		p.resubmit(id, request, c.execution, c.from)
	}
	for request, c := range cases {
		if x := p.waitReport(request); x.Status != "rejected" || !strings.Contains(x.Error, c.why) || x.Original != c.execution || x.Kind != atom.ByResubmission {
			t.Errorf("%s: got %+v, want Status rejected, Error with %q, Original %q and Kind retry", request, x, c.why, c.execution)
		}
	}
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
}

// cut is an atom killed between a resubmission and its record.
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

// TestResubmitKilledBetween: a resubmission that was stored but not recorded is
// recognized when repeated; it runs once and is reported.
func TestResubmitKilledBetween(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	store := storetest.NewStore()
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
		t.Errorf("got %+v, want Status failed, Original %q and Kind retry", x, failed)
	}
	p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 })
	if n := r.runs(); n != 2 {
		t.Errorf("got %d executions, want 2", n)
	}
}
