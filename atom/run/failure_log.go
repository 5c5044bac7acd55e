package run

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"valence/atom/store"
	"valence/internal/fault"
)

// Bounds of the log of failures. A flood of failures must not fill the disk
// that the log is on.
const (
	maxFailureLines   = 20 // of a process in one window
	failureLogWindow  = time.Minute
	maxFailureMessage = 1000 // bytes
)

// failureLog logs failures of executions and of attempts, at most
// maxFailureLines of each process in a window. The zero value is ready to use.
type failureLog struct {
	mu      sync.Mutex
	windows map[string]*failureWindow // by level and process
}

// failureWindow counts the failures of one process since a time.
type failureWindow struct {
	since  time.Time
	lines  int
	hidden int // failures that were not logged
}

// admit reports whether another failure of a process may be logged, whether it
// is the last one of its window, and how many of the window before it were not
// logged.
func (l *failureLog) admit(process string, now time.Time) (ok, last bool, hidden int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.windows[process]
	if w == nil {
		if l.windows == nil {
			l.windows = map[string]*failureWindow{}
		}
		w = &failureWindow{since: now}
		l.windows[process] = w
	}
	if now.Sub(w.since) >= failureLogWindow {
		hidden = w.hidden
		*w = failureWindow{since: now}
	}
	if w.lines >= maxFailureLines {
		w.hidden++
		return false, false, 0
	}
	w.lines++
	return true, w.lines == maxFailureLines, hidden
}

// logEnd logs the failure that ended the execution.
func (e *execution) logEnd(status store.Status, fail *fault.Failure) {
	if fail == nil || status != store.Failed {
		return
	}
	key := ""
	if n := len(fail.Keys); n > 0 {
		key = fail.Keys[n-1]
	}
	e.logFailure(slog.LevelError, "execution failed", key, fail)
}

// logFailure logs a failure of the step with a key, and its cause.
func (e *execution) logFailure(level slog.Level, text, key string, fail *fault.Failure, more ...any) {
	g, process := e.engine, e.plan.Process.Name
	ok, last, hidden := g.failures.admit(level.String()+" "+process, time.Now())
	if !ok {
		return
	}
	attrs := []any{"process", process, "execution", e.id()}
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, name, value)
		}
	}
	step, position, operation := fail.Step, "", ""
	if fail.Pos.Line > 0 {
		position = fail.Pos.String()
	}
	if s := e.plan.Step(StructuralPath(key)); s != nil {
		step, operation = cmp.Or(step, s.Label()), operationOf(s)
		position = cmp.Or(position, s.Pos.String())
	}
	add("step", step)
	add("position", position)
	add("operation", operation)
	add("code", fail.Code)
	add("message", shorten(g.Masks.String(messageOf(fail))))
	attrs = append(attrs, more...)
	if hidden > 0 {
		attrs = append(attrs, "not_logged_before", hidden)
	}
	if last {
		attrs = append(attrs, "note", "more failures of this process are not logged for a while")
	}
	g.Log.Log(context.Background(), level, text, attrs...)
}

// messageOf returns the message of a failure, or of its cause if it has none.
func messageOf(f *fault.Failure) string {
	if f.Message == "" && f.Cause != nil {
		return f.Cause.Error()
	}
	return f.Message
}

// shorten cuts a message at maxFailureMessage bytes.
func shorten(s string) string {
	if len(s) <= maxFailureMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxFailureMessage], "") + "…"
}
