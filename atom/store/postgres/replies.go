package postgres

import (
	"context"

	"valence/atom/store"
)

// storeReply stores the reply of a change.
func (t *transaction) storeReply(c *store.Change) {
	switch r := c.Reply; {
	case r == nil:
	case r.Body == nil:
		t.exec("UPDATE atom_reply SET until = $2 WHERE seq = $1", c.Seq, nanos(r.Until))
	default:
		t.exec("INSERT INTO atom_reply(seq, until, body) VALUES($1, $2, $3) ON CONFLICT (seq) DO UPDATE SET until = excluded.until, body = excluded.body", c.Seq, nanos(r.Until), r.Body)
	}
}

// DeferredReply implements store.Replies.
func (s *Store) DeferredReply(ctx context.Context, seq int64) (*store.DeferredReply, error) {
	r := &store.DeferredReply{}
	var until *int64
	found, err := s.one(ctx, []any{&until, &r.Body}, "SELECT until, body FROM atom_reply WHERE seq = $1", seq)
	if r.Until = timeOf(until); err == nil && (!found || until != nil && *until <= s.clock.now().UnixNano()) {
		err = store.ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// CountDeferredReplies implements store.Replies.
func (s *Store) CountDeferredReplies(ctx context.Context) (n int64, err error) {
	_, err = s.one(ctx, []any{&n}, "SELECT count(*) FROM atom_reply")
	return n, err
}
