package cloud

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"valence/internal/wire"
)

// Limits of log requests.
const (
	maxLogLines = 1_000
	logPatience = 20 * time.Second
)

// logQuestions are log requests that wait for the atom's reply. Replies are not
// stored, except briefly in a shared store for the control plane that asked.
type logQuestions struct {
	mu sync.Mutex
	by map[int64]chan logAnswer
}

type logAnswer struct {
	lines  []wire.LogLine
	stored bool // the reply is in the store
}

func (a *logQuestions) put(id int64) chan logAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[int64]chan logAnswer{}
	}
	ch := make(chan logAnswer, 1)
	a.by[id] = ch
	return ch
}

func (a *logQuestions) drop(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, id)
}

// answer returns false if no call waits here for the reply.
func (a *logQuestions) answer(id int64, x logAnswer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := a.by[id]
	if ch != nil {
		ch <- x
		delete(a.by, id)
	}
	return ch != nil
}

// storeLog passes an atom's reply to the control plane that asked. Replies that
// nobody asked for, or repeated ones, are ignored.
func (s *AtomAPI) storeLog(ctx context.Context, atom string, question int64, lines []wire.LogLine) error {
	asked, err := s.store.Instructions(ctx, atom, []int64{question}, 1)
	if err != nil {
		return unavailable(err)
	}
	if len(asked) == 0 || asked[0].Kind != wire.KindLogs {
		return nil
	}
	lines = lines[max(0, len(lines)-asked[0].Lines):]
	for i := range lines {
		lines[i].Level, lines[i].Text = sanitize(lines[i].Level, maxWord), sanitize(lines[i].Text, maxText)
	}
	if s.logs.answer(question, logAnswer{lines: lines}) || s.cluster == nil {
		return nil
	}
	var text []byte
	if text, err = json.Marshal(lines); err == nil {
		err = s.cluster.shared.PutLog(ctx, question, text)
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// readLog returns the lines of a reply.
func (s *Fleet) readLog(ctx context.Context, question int64, x logAnswer) ([]wire.LogLine, error) {
	if !x.stored {
		return x.lines, nil
	}
	text, err := s.cluster.shared.TakeLog(ctx, question)
	if err != nil {
		return nil, unavailable(err)
	}
	var lines []wire.LogLine
	return lines, json.Unmarshal(text, &lines)
}

// AtomLog asks an atom for the last lines of its log, at most 1,000, and waits
// for them. It returns ErrConflict if the atom does not answer.
func (s *Fleet) AtomLog(ctx context.Context, p Principal, id string, lines int) ([]wire.LogLine, error) {
	if lines < 1 || lines > maxLogLines {
		return nil, &InvalidError{Field: "lines", Message: "must be 1 to 1000"}
	}
	question, answer, err := s.requestLog(ctx, p, id, lines)
	if err != nil {
		return nil, err
	}
	defer s.logs.drop(question)
	patience := time.NewTimer(logPatience)
	defer patience.Stop()
	select {
	case found := <-answer:
		return s.readLog(ctx, question, found)
	case <-patience.C:
		return nil, conflict("the atom %s did not answer within %s: it may run an older version", id, logPatience)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// requestLog enqueues the log request.
func (s *Fleet) requestLog(ctx context.Context, p Principal, id string, lines int) (question int64, answer <-chan logAnswer, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer c.end()
	a, err := s.atomFor(p, "atom.log", id)
	if err == nil && (a.Revoked || s.withStatus(a).Status != Online) {
		err = conflict("the atom %s is offline: valence cloud atoms shows when it was last seen; its log is on its machine", a.Name)
	}
	if err != nil {
		return 0, nil, err
	}
	c.wake(a.ID)
	question = c.enqueue(ctx, a.Account, a.ID, "", wire.Instruction{Kind: wire.KindLogs, Lines: lines})
	c.audit(p, "atom.log", a.ID, s.atomTitle(a))
	answer = s.logs.put(question)
	if err := s.commit(ctx, c); err != nil {
		s.logs.drop(question)
		return 0, nil, err
	}
	return question, answer, nil
}
