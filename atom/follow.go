package atom

import (
	"context"
	"crypto/subtle"
	"errors"

	"valence/atom/run"
	"valence/atom/store"
)

// Follow returns the progress of an execution and its reply, to the principal
// that sent its message or to the bearer of its reply token. Executions of
// anonymous senders need only the id. For others it fails with
// store.ErrUnknown.
func (s *views) Follow(ctx context.Context, id, principal, token string) (*Progress, error) {
	t, m, err := s.followed(ctx, id, principal, token, store.NoEntries)
	if err != nil {
		return nil, err
	}
	return s.progress(ctx, id, t.Execution, m)
}

// followed returns an execution that the caller may follow, with its journal
// after a position.
func (s *views) followed(ctx context.Context, id, principal, token string, after store.JournalPosition) (*store.Tail, *run.Meta, error) {
	seq, received, ok := s.ids.ParseID(id)
	if !ok {
		return nil, nil, store.ErrUnknown
	}
	x, err := s.store.Tail(ctx, seq, received, after)
	if err != nil {
		return nil, nil, err
	}
	m, err := run.ParseMeta(x.Meta)
	if err != nil {
		return nil, nil, store.ErrUnknown
	}
	byToken := token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.ids.ReplyToken(id))) == 1
	if !byToken && m.Principal != principal || x.Process == run.CallbackProcess {
		return nil, nil, store.ErrUnknown
	}
	return x, m, nil
}

func (s *views) progress(ctx context.Context, id string, x *store.Execution, m *run.Meta) (*Progress, error) {
	p := &Progress{Execution: id, Process: x.Process, Status: s.statusOf(x), ReceivedAt: x.Received, CorrelationID: m.Correlation}
	if x.Outcome != nil {
		p.EndedAt = x.Outcome.Ended
	}
	if m.Deferred == nil {
		return p, nil
	}
	p.HasReply = true
	reply, err := s.store.DeferredReply(ctx, x.Seq)
	switch {
	case err == nil:
		p.Reply, err = run.UnpackStoredReply(reply.Body)
	case errors.Is(err, store.ErrUnknown):
		p.Gone, err = x.Outcome != nil, nil // the reply commits with the outcome at the latest
	default:
		return nil, err
	}
	return p, err
}
