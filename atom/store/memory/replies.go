package memory

import (
	"context"

	"valence/atom/store"
)

// storeReply stores the reply and the claim result of a change.
func (s *Store) storeReply(process string, c *store.Change) {
	if r := c.Reply; r != nil {
		kept := &store.DeferredReply{Until: r.Until, Body: r.Body}
		if before := s.replies[c.Seq]; r.Body == nil && before != nil {
			kept.Body = before.Body
		}
		if kept.Body != nil {
			s.replies[c.Seq] = kept
		}
	}
	if c.ClaimResult == nil {
		return
	}
	name := [2]string{process, c.ClaimResult.Key}
	switch k := s.keys[name]; {
	case k == nil || k.seq != c.Seq:
	case c.ClaimResult.Reply == nil:
		delete(s.keys, name)
	default:
		k.reply = c.ClaimResult.Reply
	}
}

// DeferredReply implements store.Replies.
func (s *Store) DeferredReply(_ context.Context, seq int64) (*store.DeferredReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replies[seq]
	if r == nil || !r.Until.IsZero() && !s.now().Before(r.Until) {
		return nil, store.ErrUnknown
	}
	kept := *r
	return &kept, nil
}

// CountDeferredReplies implements store.Replies.
func (s *Store) CountDeferredReplies(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.replies)), nil
}
