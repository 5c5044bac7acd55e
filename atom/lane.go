package atom

import (
	"context"
	"time"

	"valence/atom/steps"
	"valence/internal/fault"
	"valence/processes"
)

// laneFor gives the lane of a message; nil if its process keeps no order.
func laneFor(f *steps.Frame, release string, p *processes.Process) (*Lane, error) {
	s := p.Delivery.Sequence
	if s == nil {
		return nil, nil
	}
	v, err := s.Key.Eval(f.Env())
	if err != nil {
		return nil, err
	}
	key, err := keyText(s.Key, v, "sequence", "the message carries no key to keep its order by")
	if err != nil {
		return nil, err
	}
	return &Lane{Scope: scopeOf(release, p), Key: key, Block: !s.Skip, Limit: s.Limit}, nil
}

// scopeOf names the lanes of a process.
func scopeOf(release string, p *processes.Process) string {
	if s := p.Delivery.Sequence; s != nil && s.Scope != "" {
		return "/" + qualified(release, s.Scope)
	}
	return p.Name
}

// BlockedKey is a key of a sequence whose first execution failed, as operators
// see it.
type BlockedKey struct {
	Process   string     `json:"process"` // of the failed execution
	Scope     string     `json:"scope,omitempty"`
	Key       string     `json:"key"`
	Execution string     `json:"execution"` // that failed
	Error     *ErrorView `json:"error,omitempty"`
	Since     time.Time  `json:"since"`
	Waiting   int64      `json:"waiting"` // behind it
}

// BlockedKeys gives the keys that are blocked, the one that is longest first.
func (a *Atom) BlockedKeys(ctx context.Context, cursor string, limit int) ([]*BlockedKey, string, error) {
	lanes, next, err := a.store.Blocked(ctx, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	keys := make([]*BlockedKey, 0, len(lanes))
	for _, l := range lanes {
		k := &BlockedKey{Process: l.Process, Key: l.Key, Since: l.Since, Waiting: l.Waiting}
		if l.Scope[0] == '/' {
			k.Scope = l.Scope[1:]
		}
		x, err := a.store.Get(ctx, l.Head, time.Time{})
		if err != nil {
			continue // it was dealt with meanwhile
		}
		v := a.view(x)
		k.Execution, k.Error = v.Execution, v.Error
		keys = append(keys, k)
	}
	return keys, next, nil
}

// SkipKey takes the failed execution that blocks a key out of the sequence:
// the next one runs. It gives the failed one's id; ErrUnknown if the key is not
// blocked by an execution of this process.
func (a *Atom) SkipKey(ctx context.Context, process, key string) (string, error) {
	return a.unblock(ctx, process, key, false)
}

// ReleaseKey is SkipKey, and what waits for the key now does not block it
// again when it fails.
func (a *Atom) ReleaseKey(ctx context.Context, process, key string) (string, error) {
	return a.unblock(ctx, process, key, true)
}

func (a *Atom) unblock(ctx context.Context, process, key string, all bool) (string, error) {
	seq, err := a.store.Unblock(ctx, process, key, all)
	if err != nil {
		return "", err
	}
	x, err := a.store.Get(ctx, seq, time.Time{})
	if err != nil {
		return "", err
	}
	return a.ExecutionID(x.Seq, x.Received), nil
}

// behind shows a live execution that waits for its turn: held, if its key is blocked.
func (a *Atom) behind(ctx context.Context, x *Execution, v *View) {
	if x.Lane == nil || x.Outcome != nil || v.Status == StatusRunning {
		return
	}
	p, err := a.store.Place(ctx, x.Seq, x.Lane)
	if err != nil || p == nil || p.Head == x.Seq {
		return
	}
	v.Key, v.Ahead = x.Lane.Key, p.Ahead
	v.Reason = "waits for its turn in the sequence of its key"
	if !p.Since.IsZero() {
		v.Status = string(Held)
		v.Reason = "its sequence key is blocked by a failed execution"
	}
	if head, err := a.store.Get(ctx, p.Head, time.Time{}); err == nil {
		v.BlockedBy = a.ExecutionID(head.Seq, head.Received)
	}
}

// follows notes that a hand-off waits in the lane that this execution is in.
func (e *execution) follows(process string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.behind == nil {
		e.behind = map[string]bool{}
	}
	e.behind[process] = true
}

// ownKey fails a wait whose signal was handed off to an execution of this
// one's own key: that does not begin before this one has ended.
func (e *execution) ownKey(wait string) error {
	e.mu.Lock()
	names := make([]string, 0, len(e.behind))
	for name := range e.behind {
		names = append(names, name)
	}
	e.mu.Unlock()
	find := func(name string) *processes.Process {
		if d, ok := e.atom.Process(name); ok {
			return d.Process
		}
		return nil
	}
	for _, name := range names {
		if steps.Resumes(find(name), wait, find) {
			return fault.Failf(fault.CodeOwnKey, "it would wait for ever: `%s` was handed off with the same sequence key, so it does not begin before this execution has ended, and it is what resumes `wait: %s`", name, wait)
		}
	}
	return nil
}
