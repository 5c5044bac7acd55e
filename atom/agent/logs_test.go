package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"valence/internal/wire"
)

// Recent buffers records and passes them on unchanged.
func TestRecent(t *testing.T) {
	var passed bytes.Buffer
	r := NewRecent(slog.NewTextHandler(&passed, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if last := r.Last(10); len(last) != 0 {
		t.Errorf("got %+v, want no lines", last)
	}
	log := slog.New(r)
	log.Debug("not of the level that it logs")
	log.Info("plain", "n", 1)
	log.With("process", "orders").WithGroup("call").With("try", 2).Warn("in a group", "status", 503, "at", slog.GroupValue(slog.Int("line", 3)))
	slog.New(r.WithGroup("")).Error("no group", "x", "a b", "error", json.RawMessage(`{"code":"thrown"}`))
	want := []string{"INFO plain n=1", "WARN in a group process=orders call.try=2 call.status=503 call.at=[line=3]", "ERROR no group x=a b error={\"code\":\"thrown\"}"}
	got := r.Last(10)
	for i, l := range got {
		if l.Level+" "+l.Text != want[i] || time.Since(l.At) > time.Minute || l.At.Location() != time.UTC {
			t.Errorf("%d: %+v, want %s", i, l, want[i])
		}
	}
	if len(got) != len(want) || strings.Count(passed.String(), "\n") != len(want) || !strings.Contains(passed.String(), "call.status=503") {
		t.Errorf("%d lines were kept, and passed on were\n%s", len(got), &passed)
	}
	if last := r.Last(1); len(last) != 1 || !strings.HasPrefix(last[0].Text, "no group x=a b") {
		t.Errorf("the last is %+v", last)
	}
	if last := r.Last(-1); len(last) != 0 {
		t.Errorf("got %+v, want no lines", last)
	}
}

// Recent buffers the last thousand lines and truncates long ones.
func TestRecentIsBounded(t *testing.T) {
	r := NewRecent(slog.NewTextHandler(io.Discard, nil))
	log := slog.New(r)
	for i := range maxLines + 5 {
		log.Info(fmt.Sprint("line ", i))
	}
	last := r.Last(1 << 20)
	if len(last) != maxLines || last[0].Text != "line 5" || last[maxLines-1].Text != fmt.Sprint("line ", maxLines+4) {
		t.Errorf("%d lines from %q", len(last), last[0].Text)
	}
	log.Info(strings.Repeat("x", maxLineLength-1) + "é and more")
	if text := r.Last(1)[0].Text; len(text) != maxLineLength-1 || !utf8.ValidString(text) {
		t.Errorf("%d bytes", len(text))
	}
}

// Lines are written and read concurrently.
func TestRecentAtOnce(t *testing.T) {
	r := NewRecent(slog.NewTextHandler(io.Discard, nil))
	log := slog.New(r)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 500 {
				log.With("who", i).Info("x")
				r.Last(10)
			}
		})
	}
	all.Wait()
	if n := len(r.Last(maxLines)); n != maxLines {
		t.Errorf("got %d lines, want %v", n, maxLines)
	}
}

// A request for the log is answered with the requested lines.
func TestLogIsSent(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := NewRecent(slog.NewTextHandler(io.Discard, nil))
	start(t, p, data, nil, func(o *Options) {
		o.Log, o.Logs = slog.New(r), r.Last
	})
	slog.New(r).Warn("something happened", "n", 7)
	p.do(func() {
		p.instructions = append(p.instructions, wire.Instruction{ID: 5, Kind: wire.KindLogs, Lines: 1_000})
	})
	p.wait("the log", func() bool {
		for _, l := range p.logs[5] {
			if l.Level == "WARN" && l.Text == "something happened n=7" {
				return len(p.instructions) == 0
			}
		}
		return false
	})
}

// TestLogRequestHangs: a hanging request for the log delays the atom for no
// longer than its timeout.
func TestLogRequestHangs(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	start(t, p, data, nil, func(o *Options) {
		o.Logs = NewRecent(slog.NewTextHandler(io.Discard, nil)).Last
		o.Timing.LogTimeout = 100 * time.Millisecond
	})
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(1, "active")
	hung, free := make(chan bool, 1), make(chan bool)
	defer close(free)
	p.do(func() {
		p.meddle = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != wire.PathReports {
				return false
			}
			select {
			case hung <- true: // the first request, for the log
			default:
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body) // to notice when the atom hangs up
			select {
			case <-free:
			case <-r.Context().Done():
			}
			return true
		}
		p.instructions = append(p.instructions, wire.Instruction{ID: 5, Kind: wire.KindLogs, Lines: 10})
	})
	p.wait("the log is asked for", func() bool { return len(hung) == 1 })
	p.execute(6, "executionrecord-after", "one")
	if x := p.waitReport("executionrecord-after"); x.Status != "completed" {
		t.Errorf("got %+v, want Status \"completed\"", x)
	}
}
