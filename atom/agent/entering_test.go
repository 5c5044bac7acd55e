package agent

import (
	"context"
	"sync"
	"testing"

	"valence/atom"
	"valence/atom/store/storetest"
)

// lateReturn is an atom whose executions end before the call that accepts them
// returns.
type lateReturn struct {
	Atom
	mu    sync.Mutex
	ended map[string]chan struct{} // by execution; closed after the agent has received its end
}

func (l *lateReturn) of(execution string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended[execution] == nil {
		l.ended[execution] = make(chan struct{})
	}
	return l.ended[execution]
}

func (l *lateReturn) OnEnded(f func(atom.ExecutionEnd)) {
	l.Atom.OnEnded(func(e atom.ExecutionEnd) {
		f(e)
		close(l.of(e.Execution))
	})
}

func (l *lateReturn) ExecuteOnce(ctx context.Context, request, process string, in atom.Input) (*atom.Acknowledgement, error) {
	// The end of another execution is reported meanwhile.
	other, err := l.Atom.ExecuteOnce(ctx, "of this machine", process, in)
	if err != nil {
		return nil, err
	}
	ack, err := l.Atom.ExecuteOnce(ctx, request, process, in)
	if err == nil {
		<-l.of(other.Execution)
		<-l.of(ack.Execution)
	}
	return ack, err
}

func (l *lateReturn) Resubmit(ctx context.Context, id string, r atom.Resubmission) (string, error) {
	made, err := l.Atom.Resubmit(ctx, id, r)
	if err == nil {
		<-l.of(made)
	}
	return made, err
}

// TestEndBeforeRequestIsTracked: an execution that ends before its request is in
// the spool is reported once, as the execution of the request.
func TestEndBeforeRequestIsTracked(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, storetest.NewStore(), func(o *Options) { o.Atom = &lateReturn{Atom: o.Atom, ended: map[string]chan struct{}{}} })
	p.deploy(1, p.pack("a.yaml", breaks), nil)
	p.waitResult(1, "active")
	p.execute(1, "executionrecord-1", "one")
	first := p.waitReport("executionrecord-1")
	if first.Status != "failed" || first.Kind != atom.ByRequest {
		t.Errorf("got report %+v, want a failed execution of kind %s", first, atom.ByRequest)
	}
	p.resubmit(2, "executionrecord-2", first.Execution, "")
	second := p.waitReport("executionrecord-2")
	if second.Status != "failed" || second.Kind != atom.ByResubmission || second.Original != first.Execution {
		t.Errorf("got report %+v, want a failed resubmission of %s", second, first.Execution)
	}
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
	p.wait("the report of the other execution", func() bool { return len(p.reports) >= 3 })
	p.do(func() {
		if len(p.reports) != 3 {
			t.Errorf("got reports %+v, want one of each of 3 executions", p.reports)
		}
	})
	if watched, err := r.agent.spool.Watched(t.Context()); err != nil || len(watched) != 0 {
		t.Errorf("got tracked requests %+v, %v, want none after their reports", watched, err)
	}
}
