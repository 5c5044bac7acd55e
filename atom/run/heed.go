package run

import (
	"context"
	"errors"
	"sync"

	"valence/atom/store"
)

// Heeder cancels executions of this atom whose cancellation another member of
// the group has committed.
type Heeder struct {
	engine *Engine
	kick   chan struct{}

	mu   sync.Mutex
	seqs map[int64]bool // cancelled since the last look
}

// cancelled notes a cancellation. It does not block.
func (h *Heeder) cancelled(seq int64) {
	if x, known := h.engine.cancels.Load(seq); known && x.(*cancellation).isDone() {
		return
	}
	h.mu.Lock()
	h.seqs[seq] = true
	h.mu.Unlock()
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// Run cancels executions until ctx ends. The members of the group then learn of
// the others by themselves.
func (h *Heeder) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.kick:
		}
		h.mu.Lock()
		seqs := h.seqs
		h.seqs = map[int64]bool{}
		h.mu.Unlock()
		for seq := range seqs {
			h.engine.heed(ctx, seq)
		}
	}
}

// heed cancels an execution of this member. After an error the store reports the
// cancellation again.
func (g *Engine) heed(ctx context.Context, seq int64) {
	epoch, own := g.Store.Lease(seq)
	if !own {
		return
	}
	ctx, stop := Detach(ctx)
	defer stop()
	c, _ := g.cancelOnce(ctx, &cancelRequest{seq: seq, epoch: epoch, committed: true})
	if err := c.err; err != nil && !errors.Is(err, store.ErrEnded) && !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrFenced) {
		g.Log.Warn("cannot cancel an execution yet that another member has cancelled", "error", err)
	}
}
