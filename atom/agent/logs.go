package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"

	"valence/internal/wire"
)

// Limits of the lines kept for the control plane.
const (
	maxLines      = 1_000
	maxLineLength = 4 << 10
)

// Recent is a slog.Handler that also buffers the last lines for the control
// plane. It is safe for concurrent use.
type Recent struct {
	next   slog.Handler
	lines  *lineBuffer
	attrs  string // formatted
	groups string // open groups, each followed by a dot
}

type lineBuffer struct {
	mu   sync.Mutex
	ring [maxLines]wire.LogLine
	n    int // lines written so far
}

// NewRecent returns a Recent that passes records on to next.
func NewRecent(next slog.Handler) *Recent { return &Recent{next: next, lines: &lineBuffer{}} }

// Enabled implements slog.Handler.
func (r *Recent) Enabled(ctx context.Context, level slog.Level) bool {
	return r.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (r *Recent) Handle(ctx context.Context, rec slog.Record) error {
	text := rec.Message + r.attrs
	rec.Attrs(func(a slog.Attr) bool {
		text += " " + r.groups + attrText(a)
		return len(text) < maxLineLength
	})
	text = strings.ToValidUTF8(text[:min(len(text), maxLineLength)], "") // may be cut within a character
	r.lines.add(wire.LogLine{At: rec.Time.UTC(), Level: rec.Level.String(), Text: text})
	return r.next.Handle(ctx, rec)
}

// attrText formats an attribute; bytes are treated as text.
func attrText(a slog.Attr) string {
	switch v := a.Value.Resolve().Any().(type) {
	case json.RawMessage:
		return a.Key + "=" + string(v)
	case []byte:
		return a.Key + "=" + string(v)
	}
	return a.String()
}

// WithAttrs implements slog.Handler.
func (r *Recent) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *r
	for _, a := range attrs {
		c.attrs += " " + r.groups + attrText(a)
	}
	c.next = r.next.WithAttrs(attrs)
	return &c
}

// WithGroup implements slog.Handler.
func (r *Recent) WithGroup(name string) slog.Handler {
	if name == "" {
		return r
	}
	c := *r
	c.next, c.groups = r.next.WithGroup(name), r.groups+name+"."
	return &c
}

func (l *lineBuffer) add(x wire.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%maxLines] = x
	l.n++
}

// Last returns up to most of the last lines, oldest first.
func (r *Recent) Last(most int) []wire.LogLine {
	l := r.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	most = max(min(most, l.n, maxLines), 0)
	last := make([]wire.LogLine, 0, most)
	for i := l.n - most; i < l.n; i++ {
		last = append(last, l.ring[i%maxLines])
	}
	return last
}
