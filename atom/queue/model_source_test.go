package queue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing/synctest"
	"time"

	"valence/atom/store"
)

// snapshot returns the executions that a read sees, when the test lets it return.
func (m *model) snapshot(want func(*item) bool, order func(a, b *item) int, limit int) ([]*store.Record, error) {
	m.mu.Lock()
	var found []*item
	for _, x := range m.items {
		if !x.ended && want(x) {
			found = append(found, x)
		}
	}
	slices.SortFunc(found, order)
	var records []*store.Record
	for _, x := range found[:min(limit, len(found))] {
		records = append(records, x.record())
	}
	r := &read{sees: m.announced + len(m.commits), finish: make(chan error)}
	m.reads = append(m.reads, r)
	closing := m.closing
	m.mu.Unlock()
	if closing {
		return nil, errors.New("the model is closed")
	}
	return records, <-r.finish
}

// returnRead lets a read return, after the announcements of the commits that
// it may have seen.
func (m *model) returnRead(n uint, fails bool) {
	m.mu.Lock()
	if len(m.reads) == 0 {
		m.mu.Unlock()
		return
	}
	i := n % uint(len(m.reads))
	r := m.reads[i]
	if r.sees > m.announced {
		m.mu.Unlock()
		return
	}
	m.reads = slices.Delete(m.reads, int(i), int(i)+1)
	m.mu.Unlock()
	var err error
	if fails {
		err = errors.New("the disk is away")
	}
	r.finish <- err
	synctest.Wait()
}

func bySeq(a, b *item) int { return cmp.Compare(a.seq, b.seq) }

// Ready implements Source.
func (m *model) Ready(_ context.Context, _ string, after int64, limit int) ([]*store.Record, error) {
	return m.snapshot(func(x *item) bool { return x.seq > after && x.due.IsZero() && x.lane == "" && !x.suspended }, bySeq, limit)
}

// Due implements Source.
func (m *model) Due(_ context.Context, _ string, until time.Time, limit int) ([]*store.Record, time.Time, error) {
	m.mu.Lock()
	var next time.Time
	for _, x := range m.items {
		if !x.ended && x.due.After(until) && (next.IsZero() || x.due.Before(next)) {
			next = x.due
		}
	}
	m.mu.Unlock()
	found, err := m.snapshot(func(x *item) bool { return !x.due.IsZero() && !x.due.After(until) },
		func(a, b *item) int { return cmp.Or(a.due.Compare(b.due), bySeq(a, b)) }, limit)
	return found, next, err
}

// Heads implements Source.
func (m *model) Heads(_ context.Context, _ string, limit int, claimed func(int64) bool) ([]*store.Record, error) {
	return m.snapshot(func(x *item) bool {
		return x.lane != "" && x.due.IsZero() && !x.suspended && m.isHead(x) && !claimed(x.seq)
	}, bySeq, limit)
}
