package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
)

// members is the state that this member shares with the others, besides executions.
type members struct {
	news store.News
	size atomic.Int64 // members whose lease lasts

	mu       sync.Mutex
	follows  map[int64]int       // executions that this member follows, and for how many callers
	followed map[int64]time.Time // executions that members follow, and until when
}

func newMembers() members {
	nothing := func(int64) {}
	return members{news: store.News{Changed: nothing, Cancelled: nothing, Settings: func() {}, Resized: func() {}}, follows: map[int64]int{}, followed: map[int64]time.Time{}}
}

// A member asks for notifications about the executions that it follows each
// followAgain, and they are sent for followTime. Each pollFollowed it reports
// them as changed without one.
const (
	followTime   = 30 * time.Second
	followAgain  = 10 * time.Second
	pollFollowed = time.Second
)

// OnNews implements store.Members.
func (s *Store) OnNews(n store.News) { s.news = n }

// Lease implements store.Members.
func (s *Store) Lease(seq int64) (epoch int64, own bool) {
	epoch = s.lease.current()
	return epoch, epoch != 0 && s.numbers.holds(seq)
}

// Members implements store.Members.
func (s *Store) Members() int { return max(1, int(s.members.size.Load())) }

// AnnounceSettings implements store.Members.
func (s *Store) AnnounceSettings() { s.changed.add(notice{Kind: noticeSettings}) }

// Follow implements store.Members.
func (s *Store) Follow(seq int64) (stop func()) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	if s.follows[seq]++; s.follows[seq] == 1 && !s.numbers.holds(seq) {
		s.changed.add(notice{Kind: noticeFollowed, Seq: seq})
	}
	return sync.OnceFunc(func() {
		s.members.mu.Lock()
		defer s.members.mu.Unlock()
		if s.follows[seq]--; s.follows[seq] == 0 {
			delete(s.follows, seq)
		}
	})
}

// keepFollowing reports followed executions of other members until ctx ends, in
// case a notification was lost.
func (s *Store) keepFollowing(ctx context.Context) {
	ticks := time.NewTicker(pollFollowed)
	defer ticks.Stop()
	asked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			again := now.Sub(asked) >= followAgain
			if again {
				asked = now
				s.forgetFollowers(now)
			}
			for _, seq := range s.followsElsewhere() {
				s.news.Changed(seq)
				if again {
					s.changed.add(notice{Kind: noticeFollowed, Seq: seq})
				}
			}
		}
	}
}

// followsElsewhere returns the followed executions that other members run.
func (s *Store) followsElsewhere() (seqs []int64) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	for seq := range s.follows {
		if !s.numbers.holds(seq) {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

func (s *Store) forgetFollowers(now time.Time) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	for seq, until := range s.followed {
		if now.After(until) {
			delete(s.followed, seq)
		}
	}
}

// announceFollowed notifies the followers of changed executions.
func (s *Store) announceFollowed(changed map[int64]*row) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	if len(s.followed) == 0 && len(s.follows) == 0 {
		return
	}
	for seq := range changed {
		if _, ok := s.followed[seq]; ok {
			s.changed.add(notice{Kind: noticeChanged, Seq: seq})
		}
		if s.follows[seq] > 0 {
			s.news.Changed(seq)
		}
	}
}

// hear acts on a notice of another member, or of this one.
func (s *Store) hear(n notice) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	switch n.Kind {
	case noticeCancelled:
		if s.numbers.holds(n.Seq) {
			s.news.Cancelled(n.Seq)
		}
	case noticeFollowed: // any member may change it, such as by a signal
		s.followed[n.Seq] = time.Now().Add(followTime)
	case noticeChanged:
		if s.follows[n.Seq] > 0 {
			s.news.Changed(n.Seq)
		}
	case noticeSettings:
		s.news.Settings()
	}
}

// sweepCancelled reports the cancelled executions of this member, in case a
// notification was lost or they were adopted.
func (s *Store) sweepCancelled(ctx context.Context) error {
	var seq int64
	return s.each(ctx, []any{&seq}, func() error {
		if s.numbers.holds(seq) {
			s.news.Cancelled(seq)
		}
		return nil
	}, "SELECT seq FROM atom_execution WHERE cancelled AND state < 4 AND (seq >> 20) = ANY($1) LIMIT 10000", s.numbers.blocks())
}
