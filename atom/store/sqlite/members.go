package sqlite

import "valence/atom/store"

// Lease implements store.Members. The folder has one owner, who runs everything.
func (s *Store) Lease(int64) (epoch int64, own bool) { return 0, true }

// Members implements store.Members.
func (s *Store) Members() int { return 1 }

// Follow implements store.Members. All commits are this atom's own.
func (s *Store) Follow(int64) (stop func()) { return func() {} }

// AnnounceSettings implements store.Members.
func (s *Store) AnnounceSettings() {}

// OnNews implements store.Members. There is no other member.
func (s *Store) OnNews(store.News) {}
