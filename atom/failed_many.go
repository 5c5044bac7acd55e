package atom

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"valence/internal/fault"
)

// Bounds of resubmitting many.
const (
	DefaultResubmissionRate = 200 // a second
	keptBatches             = 100
	batchPage               = 500
)

// BatchView is how far a resubmission, or deletion, of many has come.
type BatchView struct {
	ID       string     `json:"id"`
	State    string     `json:"state"` // running, done, stopped
	Matched  int        `json:"matched"`
	Done     int        `json:"done"`
	Refused  int        `json:"refused"` // could not be resubmitted as asked; they stay failed
	Reason   string     `json:"reason,omitempty"`
	BeganAt  time.Time  `json:"began_at"`
	EndedAt  *time.Time `json:"ended_at,omitempty"`
	Deleting bool       `json:"deleting,omitempty"`
}

// batch is one resubmission of many. It lives in memory: what it has not come
// to when the atom stops is still failed, and can be asked for again.
type batch struct {
	mu   sync.Mutex
	view BatchView
	stop context.CancelFunc
}

// batches are those of this run, the newest last.
type batches struct {
	mu   sync.Mutex
	list []*batch
	n    int
}

// ResubmitMany deals with every failure that a filter selects now, in the
// order in which they were accepted, at most perSecond of them a second (0:
// DefaultResubmissionRate), and gives how far it has come: it goes on in the
// background. With discard they are deleted instead.
func (a *Atom) ResubmitMany(ctx context.Context, f Filter, r Resubmission, perSecond float64, discard bool) (*BatchView, error) {
	if err := a.ready(); err != nil {
		return nil, err
	}
	if perSecond == 0 {
		perSecond = DefaultResubmissionRate
	}
	var ids []string
	f = unresolved(f)
	for cursor := ""; ; {
		found, next, err := a.list(ctx, f, cursor, batchPage)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			ids = append(ids, a.ExecutionID(x.Seq, x.Received))
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.Reverse(ids)
	work, stop := context.WithCancel(a.work)
	b := &batch{stop: stop, view: BatchView{State: "running", Matched: len(ids), BeganAt: now(), Deleting: discard}}
	a.batches.add(b)
	view := b.look()
	a.workers.Go(func() {
		defer stop()
		a.resubmitAll(work, b, ids, r, rate.NewLimiter(rate.Limit(perSecond), 1), discard)
	})
	return view, nil
}

func (a *Atom) resubmitAll(ctx context.Context, b *batch, ids []string, r Resubmission, pace *rate.Limiter, discard bool) {
	state := "done"
	for _, id := range ids {
		if pace.Wait(ctx) != nil || a.stopping.Load() {
			state = "stopped"
			break
		}
		err := a.Discard
		if !discard {
			err = func(ctx context.Context, id string) error {
				_, err := a.Resubmit(ctx, id, r)
				return err
			}
		}
		b.count(a.patiently(ctx, func() error { return err(ctx, id) }))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ended := now()
	b.view.State, b.view.EndedAt = state, &ended
}

// patiently does something again while the store cannot be written.
func (a *Atom) patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

func (b *batch) count(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, ErrResolved): // somebody else was faster
		b.view.Done++
	default:
		b.view.Refused++
		if b.view.Reason == "" {
			b.view.Reason = reason(err)
		}
	}
}

// reason is an error in the words of who asked.
func reason(err error) string {
	var f *fault.Failure
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

func (b *batch) look() *BatchView {
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

// Batch tells how far a resubmission of many has come; ErrUnknown if there is
// none of this run with this id.
func (a *Atom) Batch(id string) (*BatchView, error) {
	b := a.batches.find(id)
	if b == nil {
		return nil, ErrUnknown
	}
	return b.look(), nil
}

// StopBatch ends a resubmission of many; what it has not come to stays failed.
func (a *Atom) StopBatch(id string) error {
	b := a.batches.find(id)
	if b == nil {
		return ErrUnknown
	}
	b.stop()
	return nil
}
