package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"valence/internal/wire"
)

// Bounds of what is kept of the log for operators far away.
const (
	keptLines   = 1_000
	longestLine = 4 << 10
)

// Recent is a log that also keeps its last lines, for the control plane to ask
// for. Its methods may be called from many goroutines.
type Recent struct {
	next slog.Handler
	kept *lines
	with string // attributes so far, as text
	in   string // the groups that are open, each with a dot
}

type lines struct {
	mu   sync.Mutex
	ring [keptLines]wire.LogLine
	n    int // written so far
}

// NewRecent puts itself before a handler.
func NewRecent(next slog.Handler) *Recent { return &Recent{next: next, kept: &lines{}} }

// Enabled is slog.Handler's.
func (r *Recent) Enabled(ctx context.Context, level slog.Level) bool {
	return r.next.Enabled(ctx, level)
}

// Handle is slog.Handler's.
func (r *Recent) Handle(ctx context.Context, rec slog.Record) error {
	text := rec.Message + r.with
	rec.Attrs(func(a slog.Attr) bool {
		text += " " + r.in + written(a)
		return len(text) < longestLine
	})
	text = strings.ToValidUTF8(text[:min(len(text), longestLine)], "") // it may be cut inside a character
	r.kept.add(wire.LogLine{At: rec.Time.UTC(), Level: rec.Level.String(), Text: text})
	return r.next.Handle(ctx, rec)
}

// written gives an attribute as text; bytes are text, too.
func written(a slog.Attr) string {
	switch v := a.Value.Resolve().Any().(type) {
	case json.RawMessage:
		return a.Key + "=" + string(v)
	case []byte:
		return a.Key + "=" + string(v)
	}
	return a.String()
}

// WithAttrs is slog.Handler's.
func (r *Recent) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *r
	for _, a := range attrs {
		c.with += " " + r.in + written(a)
	}
	c.next = r.next.WithAttrs(attrs)
	return &c
}

// WithGroup is slog.Handler's.
func (r *Recent) WithGroup(name string) slog.Handler {
	if name == "" {
		return r
	}
	c := *r
	c.next, c.in = r.next.WithGroup(name), r.in+name+"."
	return &c
}

func (l *lines) add(x wire.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%keptLines] = x
	l.n++
}

// Last gives the last lines, the oldest first.
func (r *Recent) Last(most int) []wire.LogLine {
	l := r.kept
	l.mu.Lock()
	defer l.mu.Unlock()
	most = max(min(most, l.n, keptLines), 0)
	last := make([]wire.LogLine, 0, most)
	for i := l.n - most; i < l.n; i++ {
		last = append(last, l.ring[i%keptLines])
	}
	return last
}

// tellLog answers the control plane's question for the last lines of the log.
// What cannot be sent at once is not worth sending later: whoever asked waits.
func (a *Agent) tellLog(ctx context.Context, m wire.Message) bool {
	r := wire.Reports{Instance: a.instance, LogsFor: m.ID}
	if a.o.Logs != nil {
		r.Logs = a.o.Logs(m.Lines)
	}
	ctx, cancel := context.WithTimeout(ctx, a.pace.Log) // polls wait for it
	defer cancel()
	err := a.link.call(ctx, wire.PathReports, r, nil)
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Debug("the log was asked for and could not be sent", "error", err)
	}
	return true
}
