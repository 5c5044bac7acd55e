package memory

import "valence/atom/store"

// Lease implements store.Members. After Expire another member runs everything.
func (s *Store) Lease(int64) (epoch int64, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch, s.runs() && !s.elsewhere
}

// Elsewhere makes the atom act as a member that does not run the executions, as
// another one would.
func (s *Store) Elsewhere(elsewhere bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.elsewhere = elsewhere
}

// Members implements store.Members.
func (s *Store) Members() int {
	return max(int(s.size.Load()), 1)
}

// Follow implements store.Members.
func (s *Store) Follow(int64) (stop func()) { return func() {} }

// AnnounceSettings implements store.Members.
func (s *Store) AnnounceSettings() {}

// OnNews implements store.Members.
func (s *Store) OnNews(n store.News) { s.news = n }

// News returns the functions of OnNews.
func (s *Store) News() store.News { return s.news }

// Resize sets the number of members.
func (s *Store) Resize(n int) {
	s.size.Store(int64(n))
	s.news.Resized()
}

// cancel makes a cancelled execution ready if it is suspended.
func (s *Store) cancel(x *store.Execution) {
	s.cancelled[x.Seq] = true
	if s.suspended[x.Seq] {
		s.makeReady(x)
	}
}
