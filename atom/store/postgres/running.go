package postgres

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// runningSet is the executions that this member runs. They are written in the
// background, so that a takeover can blame a crash on them.
type runningSet struct {
	mu   sync.Mutex
	seqs map[int64]bool
	kick chan struct{}
}

// runningEvery is the shortest time between two writes.
const runningEvery = 50 * time.Millisecond

// Started implements store.Journal.
func (s *Store) Started(seq int64) { s.running.set(seq, true) }

func (r *runningSet) set(seq int64, runs bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seqs[seq] == runs {
		return
	}
	if r.seqs == nil {
		r.seqs = map[int64]bool{}
	}
	if runs {
		r.seqs[seq] = true
	} else {
		delete(r.seqs, seq)
	}
	wake(r.kick)
}

func (r *runningSet) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seqs = nil
}

func wake(kick chan struct{}) {
	select {
	case kick <- struct{}{}:
	default:
	}
}

func (r *runningSet) list() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.AppendSeq([]int64{}, maps.Keys(r.seqs))
}

func (r *runningSet) run(ctx context.Context, s *Store) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		}
		// Losing the latest set costs a count, not an execution.
		if err := s.write(ctx, "UPDATE atom_running SET seqs = $2 WHERE epoch = $1", s.lease.current(), r.list()); err != nil && ctx.Err() == nil {
			s.log.Debug("cannot write the running executions", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(runningEvery):
		}
	}
}
