package atom_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines collects the lines of a log, without their times.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// take returns the lines since the last call.
func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.text.String())
	l.text.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "execution" || a.Key == "wait" {
			return slog.Attr{}
		}
		return a
	}}))
}

const failsLoudly = `process: asked
listen: { path: /p, input: json, output: json, auth: none }
retry: { max_attempts: 2, backoff: 1s }
steps:
  - name: lookup
    call: sys.get
    with: { path: /down }
  - reply: x
---
process: stored
retry: { max_attempts: 2, backoff: 1s }
steps:
  - if: true
    then:
      - call: sys.post
        with: { path: /down }
---
process: refuses
listen: { path: /r, input: json, output: json, auth: none }
steps:
  - throw: unknown customer
    status: 404
`

// TestFailuresAreLogged checks that failures and attempts are logged with their
// cause, whether a caller waits or not.
func TestFailuresAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, log := newSystem(), &lines{}
		sys.log = log.logger()
		sys.answers["get /down"] = failing(9, down, "{}")
		sys.answers["post /down"] = failing(9, down, "{}")
		r := start(t, sys, nil, failsLoudly)
		defer r.stop()
		log.take()
		if _, err := r.atom.Request(context.Background(), r.process("asked"), arrival(`{}`)); err == nil {
			t.Fatal("got no failure")
		}
		check := func(want ...string) {
			t.Helper()
			if got := strings.Join(log.take(), "\n"); got != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		}
		check(`level=WARN msg="call failed; trying again" process=asked step=lookup position=p.yaml:6:5 operation=sys.get code=connect message="sys.get: connection refused" attempt=1`,
			`level=ERROR msg="execution failed" process=asked step=lookup position=p.yaml:6:5 operation=sys.get code=connect message="sys.get: connection refused"`)
		r.ended(r.accept("stored", `{}`).Execution)
		check(`level=WARN msg="call failed; trying again" process=stored step="call at 0.then.0" position=p.yaml:15:9 operation=sys.post code=connect message="sys.post: connection refused" attempt=1`,
			`level=ERROR msg="execution failed" process=stored step="call at 0.then.0" position=p.yaml:15:9 operation=sys.post code=connect message="sys.post: connection refused"`)
		if _, err := r.atom.Request(context.Background(), r.process("refuses"), arrival(`{}`)); err == nil {
			t.Fatal("got no failure")
		}
		check()
	})
}

// TestFloodOfFailuresIsNotLogged checks that a process logs a bounded number of
// failures per minute, and how many it left out.
func TestFloodOfFailuresIsNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, log := newSystem(), &lines{}
		sys.log = log.logger()
		r := start(t, sys, nil, "process: p\nlisten: { path: /p, input: json, output: json, auth: none }\nsteps:\n  - throw: broken\n")
		defer r.stop()
		log.take()
		fail := func(n int) []string {
			for range n {
				if _, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{}`)); err == nil {
					t.Fatal("got no failure")
				}
			}
			return log.take()
		}
		got := fail(1000)
		if len(got) != 20 || !strings.Contains(got[19], `note="more failures`) || strings.Contains(got[18], "note=") {
			t.Errorf("got %d lines, want 20, the last with a note:\n%s", len(got), strings.Join(got, "\n"))
		}
		time.Sleep(time.Minute)
		if got := fail(1); len(got) != 1 || !strings.Contains(got[0], "not_logged_before=980") {
			t.Errorf("got %q, want one line with not_logged_before=980", got)
		}
	})
}
