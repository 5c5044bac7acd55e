package cloud

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"valence/internal/wire"
)

// Bounds of asking for an atom's log.
const (
	maxLogLines = 1_000
	logPatience = 20 * time.Second
)

// asked are questions for logs that wait for their answer. The answers pass
// through; a store that is shared keeps them until the control plane that asked
// has taken them.
type asked struct {
	mu sync.Mutex
	by map[int64]chan logAnswer
}

type logAnswer struct {
	lines []wire.LogLine
	left  bool // it is in the store
}

func (a *asked) put(id int64) chan logAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[int64]chan logAnswer{}
	}
	ch := make(chan logAnswer, 1)
	a.by[id] = ch
	return ch
}

func (a *asked) drop(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, id)
}

// answer gives false for a question that nobody asks here.
func (a *asked) answer(id int64, x logAnswer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := a.by[id]
	if ch != nil {
		ch <- x
		delete(a.by, id)
	}
	return ch != nil
}

// answerLog passes the answer of an atom on, to the control plane that asked.
// Who was not asked, or has answered already, is not listened to.
func (s *Service) answerLog(ctx context.Context, atom string, question int64, lines []wire.LogLine) error {
	asked, err := s.store.Messages(ctx, atom, []int64{question}, 1)
	if err != nil {
		return unavailable(err)
	}
	if len(asked) == 0 || asked[0].Kind != wire.KindLogs {
		return nil
	}
	lines = lines[max(0, len(lines)-asked[0].Lines):]
	for i := range lines {
		lines[i].Level, lines[i].Text = legible(lines[i].Level, maxWord), legible(lines[i].Text, maxText)
	}
	if s.asked.answer(question, logAnswer{lines: lines}) || s.shared == nil {
		return nil
	}
	var text []byte
	if text, err = json.Marshal(lines); err == nil {
		err = s.shared.store.LeaveLog(ctx, question, text)
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// taken gives the lines of an answer.
func (s *Service) taken(ctx context.Context, question int64, x logAnswer) ([]wire.LogLine, error) {
	if !x.left {
		return x.lines, nil
	}
	text, err := s.shared.store.TakeLog(ctx, question)
	if err != nil {
		return nil, unavailable(err)
	}
	var lines []wire.LogLine
	return lines, json.Unmarshal(text, &lines)
}

// AtomLog asks an atom for the last lines of its log, at most 1,000, and waits
// for them. It fails with ErrConflict if the atom does not answer.
func (s *Service) AtomLog(ctx context.Context, p Principal, id string, lines int) ([]wire.LogLine, error) {
	if lines < 1 || lines > maxLogLines {
		return nil, &InvalidError{Field: "lines", Message: "the number of lines is from 1 to 1000"}
	}
	question, answer, err := s.ask(ctx, p, id, lines)
	if err != nil {
		return nil, err
	}
	defer s.asked.drop(question)
	patience := time.NewTimer(logPatience)
	defer patience.Stop()
	select {
	case found := <-answer:
		return s.taken(ctx, question, found)
	case <-patience.C:
		return nil, conflict("the atom %s did not answer within %s; it may be of an older version", id, logPatience)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask sends the question for a log.
func (s *Service) ask(ctx context.Context, p Principal, id string, lines int) (question int64, answer <-chan logAnswer, err error) {
	c, err := s.begin(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer c.end()
	a, err := s.atomFor(p, "atom.log", id)
	if err == nil && (a.Revoked || s.filled(a).Status != Online) {
		err = conflict("the atom %s is not in touch with the control plane: valence cloud atoms, for when it was last; its log is on its machine", a.Name)
	}
	if err != nil {
		return 0, nil, err
	}
	c.wake(a.ID)
	question = c.message(ctx, a.Account, a.ID, "", wire.Message{Kind: wire.KindLogs, Lines: lines})
	c.audit(p, "atom.log", a.ID, a.Name)
	answer = s.asked.put(question)
	if err := s.commit(ctx, c); err != nil {
		s.asked.drop(question)
		return 0, nil, err
	}
	return question, answer, nil
}
