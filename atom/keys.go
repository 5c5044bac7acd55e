package atom

import (
	"context"
	"time"

	"valence/atom/run"
	"valence/atom/store"
)

// BlockedKey is a sequence key that a failed execution blocks, as operators see it.
type BlockedKey struct {
	Process   string     `json:"process"` // of the failed execution
	Scope     string     `json:"scope,omitempty"`
	Key       string     `json:"key"`
	Execution string     `json:"execution"` // the failed one
	Error     *ErrorView `json:"error,omitempty"`
	Since     time.Time  `json:"since"`
	Waiting   int64      `json:"waiting"` // executions after it
}

// BlockedKeys returns the blocked keys, the longest blocked first.
func (s *views) BlockedKeys(ctx context.Context, cursor string, limit int) ([]*BlockedKey, string, error) {
	lanes, next, err := s.store.Blocked(ctx, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	keys := make([]*BlockedKey, 0, len(lanes))
	for _, l := range lanes {
		k := &BlockedKey{Process: l.Process, Key: l.Key, Since: l.Since, Waiting: l.Waiting}
		if l.Scope[0] == '/' {
			k.Scope = l.Scope[1:]
		}
		x, err := s.store.Get(ctx, l.Head, time.Time{})
		if err != nil {
			continue // it has been resolved meanwhile
		}
		v := s.view(x)
		k.Execution, k.Error = v.Execution, v.Error
		keys = append(keys, k)
	}
	return keys, next, nil
}

// SkipKey removes the failed execution that blocks a key from its lane, so that
// the next one runs. It returns the id of the failed one, or store.ErrUnknown if
// no execution of this process blocks the key.
func (s *views) SkipKey(ctx context.Context, process, key string) (string, error) {
	return s.unblock(ctx, process, key, false)
}

// ReleaseKey is SkipKey for all: executions that wait for the key now do not
// block it if they fail.
func (s *views) ReleaseKey(ctx context.Context, process, key string) (string, error) {
	return s.unblock(ctx, process, key, true)
}

func (s *views) unblock(ctx context.Context, process, key string, all bool) (string, error) {
	ctx, stop := run.Detach(ctx)
	defer stop()
	seq, err := s.store.Unblock(ctx, process, key, all)
	if err != nil {
		return "", err
	}
	x, err := s.store.Get(ctx, seq, time.Time{})
	if err != nil {
		return "", err
	}
	return s.ids.ExecutionID(x.Seq, x.Received), nil
}

// addLane adds the position of a live execution that waits in its lane. It is
// held if its key is blocked.
func (s *views) addLane(ctx context.Context, x *store.Execution, v *ExecutionView) {
	if x.Lane == nil || x.Outcome != nil || v.Status == StatusRunning {
		return
	}
	p, err := s.store.Position(ctx, x.Seq, x.Lane)
	if err != nil || p == nil || p.Head == x.Seq {
		return
	}
	v.Key, v.Ahead = x.Lane.Key, p.Ahead
	v.Reason = "waits for its turn in the sequence of its key"
	if !p.Since.IsZero() {
		v.Status = string(store.Held)
		v.Reason = "its sequence key is blocked by a failed execution"
	}
	if head, err := s.store.Get(ctx, p.Head, time.Time{}); err == nil {
		v.BlockedBy = s.ids.ExecutionID(head.Seq, head.Received)
	}
}
