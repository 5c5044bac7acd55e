package atom

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"valence/atom/run"
	"valence/atom/store"
	"valence/internal/fault"

	"golang.org/x/time/rate"
)

// Bounds of batches.
const (
	DefaultResubmissionRate = 200 // a second
	keptBatches             = 100
	batchPage               = 500
)

// BatchView is the progress of a batch.
type BatchView struct {
	ID       string     `json:"id"`
	State    string     `json:"state"` // running, done, stopped
	Matched  int        `json:"matched"`
	Done     int        `json:"done"`
	Refused  int        `json:"refused"` // not possible as requested; they stay failed
	Reason   string     `json:"reason,omitempty"`
	BeganAt  time.Time  `json:"began_at"`
	EndedAt  *time.Time `json:"ended_at,omitempty"`
	Deleting bool       `json:"deleting,omitempty"`
}

// batch is the resubmission or deletion of many failures. It exists only in
// memory: failures that it has not reached when the atom stops stay unresolved.
type batch struct {
	mu   sync.Mutex
	view BatchView
	stop context.CancelFunc
}

// batches are the batches of this run of the atom, the newest last.
type batches struct {
	mu   sync.Mutex
	list []*batch
	n    int
	wg   sync.WaitGroup
}

// ResubmitMany starts a batch that resubmits every failure that a filter selects
// now, in the order of acceptance, at most perSecond a second (0:
// DefaultResubmissionRate). With discard it deletes them instead. It returns the
// progress of the batch, which continues in the background.
func (s *failures) ResubmitMany(ctx context.Context, f store.Filter, r Resubmission, perSecond float64, discard bool) (*BatchView, error) {
	if err := s.phase.ready(); err != nil {
		return nil, err
	}
	if perSecond == 0 {
		perSecond = DefaultResubmissionRate
	}
	var ids []string
	f = unresolved(f)
	for cursor := ""; ; {
		found, next, err := s.views.list(ctx, f, cursor, batchPage)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			ids = append(ids, s.ids.ExecutionID(x.Seq, x.Received))
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.Reverse(ids)
	work, stop := context.WithCancel(s.work)
	b := &batch{stop: stop, view: BatchView{State: "running", Matched: len(ids), BeganAt: run.Now(), Deleting: discard}}
	s.batches.add(b)
	view := b.snapshot()
	s.batches.wg.Go(func() {
		defer stop()
		s.runBatch(work, b, ids, r, rate.NewLimiter(rate.Limit(perSecond), 1), discard)
	})
	return view, nil
}

// runBatch resolves failures until ctx ends or the atom stops.
func (s *failures) runBatch(ctx context.Context, b *batch, ids []string, r Resubmission, pace *rate.Limiter, discard bool) {
	state := "done"
	for _, id := range ids {
		if pace.Wait(ctx) != nil || s.phase.stopping.Load() {
			state = "stopped"
			break
		}
		b.count(retryUnavailable(ctx, func() error {
			if discard {
				return s.Discard(ctx, id)
			}
			_, err := s.Resubmit(ctx, id, r)
			return err
		}))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ended := run.Now()
	b.view.State, b.view.EndedAt = state, &ended
}

// retryUnavailable calls do until the store is available or ctx ends.
func retryUnavailable(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrFull) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// count counts the result of one failure.
func (b *batch) count(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, store.ErrResolved): // by somebody else
		b.view.Done++
	default:
		b.view.Refused++
		if b.view.Reason == "" {
			b.view.Reason = reason(err)
		}
	}
}

// reason returns the text of an error for the operator.
func reason(err error) string {
	var f *fault.Failure
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

// snapshot returns the current progress.
func (b *batch) snapshot() *BatchView {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.view
	return &v
}

func (s *batches) add(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	b.view.ID = time.Now().UTC().Format("20060102-150405-") + strconv.Itoa(s.n)
	s.list = append(s.list, b)
	if len(s.list) > keptBatches {
		s.list = s.list[1:]
	}
}

func (s *batches) find(id string) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.list {
		if b.view.ID == id {
			return b
		}
	}
	return nil
}

// Batch returns the progress of a batch. It fails with store.ErrUnknown if this
// run of the atom has no batch with this id.
func (s *failures) Batch(id string) (*BatchView, error) {
	b := s.batches.find(id)
	if b == nil {
		return nil, store.ErrUnknown
	}
	return b.snapshot(), nil
}

// StopBatch stops a batch. Failures that it has not reached stay unresolved.
func (s *failures) StopBatch(id string) error {
	b := s.batches.find(id)
	if b == nil {
		return store.ErrUnknown
	}
	b.stop()
	return nil
}

// wait blocks until every batch has ended.
func (s *failures) wait() { s.batches.wg.Wait() }
