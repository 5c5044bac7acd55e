package atom_test

import (
	"context"
	"sort"
	"sync"
	"time"

	"valence/atom"
)

type mem struct {
	mu       sync.Mutex
	seq      int64
	live     map[int64]*atom.Record
	journal  map[int64][]atom.Entry
	outcome  map[int64]*atom.Execution
	dedupe   map[string]atom.Receipt
	origin   map[string]atom.Receipt
	claims   map[string]*claim
	contents map[string][]byte
	told     func([]*atom.Record)
}
type claim struct {
	seq   int64
	reply []byte
}

func newMem() *mem {
	return &mem{live: map[int64]*atom.Record{}, journal: map[int64][]atom.Entry{}, outcome: map[int64]*atom.Execution{}, dedupe: map[string]atom.Receipt{}, origin: map[string]atom.Receipt{}, claims: map[string]*claim{}, contents: map[string][]byte{}}
}
func (s *mem) accept(a *atom.Acceptance) atom.Receipt {
	if a.Origin != "" {
		if r, ok := s.origin[a.Origin]; ok {
			r.Duplicate = true
			return r
		}
	}
	if a.Dedupe != nil {
		if r, ok := s.dedupe[a.Process+" "+a.Dedupe.Key]; ok {
			r.Duplicate = true
			return r
		}
	}
	own := a.Seq != 0
	if !own {
		s.seq++
		a.Seq = s.seq
	}
	r := atom.Receipt{Seq: a.Seq, Received: a.Received}
	if a.Origin != "" {
		s.origin[a.Origin] = r
	}
	if a.Dedupe != nil {
		s.dedupe[a.Process+" "+a.Dedupe.Key] = r
	}
	rec := &atom.Record{Acceptance: *a, State: atom.Accepted}
	s.live[a.Seq] = rec
	s.journal[a.Seq] = append(s.journal[a.Seq], a.Entries...)
	rec.Entries = nil
	if !own && a.Due.IsZero() {
		c := *rec
		s.told([]*atom.Record{&c})
	}
	return r
}
func (s *mem) Accept(_ context.Context, a *atom.Acceptance) (atom.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accept(a), nil
}
func (s *mem) Ready(_ context.Context, p string, after int64, n int) ([]*atom.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*atom.Record
	for _, r := range s.live {
		if r.Process == p && r.Seq > after && r.Due.IsZero() {
			c := *r
			out = append(out, &c)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Seq < out[j].Seq })
	if len(out) > n {
		out = out[:n]
	}
	return out, nil
}
func (s *mem) Due(_ context.Context, p string, until time.Time, n int) ([]*atom.Record, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*atom.Record
	var next time.Time
	for _, r := range s.live {
		if r.Process != p || r.Due.IsZero() {
			continue
		}
		if r.Due.After(until) {
			if next.IsZero() || r.Due.Before(next) {
				next = r.Due
			}
			continue
		}
		c := *r
		out = append(out, &c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Due.Before(out[j].Due) })
	if len(out) > n {
		out = out[:n]
	}
	return out, next, nil
}
func (s *mem) Apply(_ context.Context, c *atom.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.live[c.Seq]
	if r == nil {
		return atom.ErrEnded
	}
	s.journal[c.Seq] = append(s.journal[c.Seq], c.Entries...)
	for _, h := range c.Handoffs {
		s.accept(h)
	}
	if c.Park != nil {
		r.State, r.Due = c.Park.State, c.Park.Due
		r.Attempt++
	}
	if c.Outcome != nil {
		delete(s.live, c.Seq)
		s.outcome[c.Seq] = &atom.Execution{Record: *r, Outcome: c.Outcome, Journal: s.journal[c.Seq]}
	}
	return nil
}
func (s *mem) Entries(_ context.Context, seq int64) ([]atom.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal[seq], nil
}
func (s *mem) Record(f *atom.Finished) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome[f.Seq] = &atom.Execution{Record: f.Record, Outcome: &f.Outcome}
}
func (s *mem) Get(_ context.Context, seq int64, _ time.Time) (*atom.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.outcome[seq]; x != nil {
		return x, nil
	}
	if r := s.live[seq]; r != nil {
		return &atom.Execution{Record: *r, Journal: s.journal[seq]}, nil
	}
	return nil, atom.ErrUnknown
}
func (s *mem) List(context.Context, atom.Filter, string, int) ([]*atom.Execution, string, error) {
	return nil, "", nil
}
func (s *mem) Reserve() int64 { s.mu.Lock(); defer s.mu.Unlock(); s.seq++; return s.seq }
func (s *mem) Claim(_ context.Context, p, k string, seq int64, _ time.Time) (bool, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.claims[p+k]; c != nil {
		return false, c.reply, nil
	}
	s.claims[p+k] = &claim{seq: seq}
	return true, nil, nil
}
func (s *mem) Settle(_ context.Context, p, k string, _ int64, reply []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply == nil {
		delete(s.claims, p+k)
	} else {
		s.claims[p+k].reply = reply
	}
	return nil
}
func (s *mem) PutContent(_ context.Context, h string, c []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contents[h] = c
	return nil
}
func (s *mem) Content(_ context.Context, h string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.contents[h]; ok {
		return c, nil
	}
	return nil, atom.ErrUnknown
}
func (s *mem) Counts(context.Context) (map[string]map[atom.State]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]map[atom.State]int64{}
	for _, r := range s.live {
		if out[r.Process] == nil {
			out[r.Process] = map[atom.State]int64{}
		}
		out[r.Process][r.State]++
	}
	return out, nil
}
func (s *mem) Oldest(context.Context, string) (time.Time, error) { return time.Time{}, nil }
func (s *mem) Err() error                                       { return nil }
func (s *mem) OnAccepted(f func([]*atom.Record))                { s.told = f }
func (s *mem) Run(ctx context.Context) error                    { <-ctx.Done(); return nil }
func (s *mem) Close() error                                     { return nil }
