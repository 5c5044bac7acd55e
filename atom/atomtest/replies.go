package atomtest

import (
	"context"
	"time"

	"valence/atom"
)

// keepReply does what a change says of the reply and the dedupe key.
func (s *Store) keepReply(process string, c *atom.Change) {
	if r := c.Reply; r != nil {
		kept := &atom.KeptReply{Until: r.Until, Body: r.Body}
		if before := s.replies[c.Seq]; r.Body == nil && before != nil {
			kept.Body = before.Body
		}
		if kept.Body != nil {
			s.replies[c.Seq] = kept
		}
	}
	if c.Settled == nil {
		return
	}
	name := [2]string{process, c.Settled.Key}
	switch k := s.keys[name]; {
	case k == nil || k.seq != c.Seq:
	case c.Settled.Reply == nil:
		delete(s.keys, name)
	default:
		k.reply = c.Settled.Reply
	}
}

// KeptReply is atom.Replies'.
func (s *Store) KeptReply(_ context.Context, seq int64) (*atom.KeptReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replies[seq]
	if r == nil || !r.Until.IsZero() && !time.Now().Before(r.Until) {
		return nil, atom.ErrUnknown
	}
	kept := *r
	return &kept, nil
}

// RepliesKept is atom.Replies'.
func (s *Store) RepliesKept(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.replies)), nil
}
