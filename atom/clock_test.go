package atom_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/internal/document"
)

// machine is a machine whose clock can be set.
type machine struct{ ahead atomic.Int64 }

func (m *machine) wall() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }

// took runs f and returns how long it took on a monotonic clock.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// Timers last as long as they should when the clock of the machine is set back
// or forward.
func TestTimersWhenTheClockIsSet(t *testing.T) {
	cases := []struct {
		name, process, last string
		want                time.Duration
	}{
		{"sleep", "steps:\n  - sleep: 10s\n  - call: sys.post\n    with: { path: /done }\n", "post /done", 10 * time.Second},
		{"timeout of a wait", "steps:\n  - wait: w\n    key: ${doc.k}\n    timeout: 10s\n    on_timeout: [{ call: sys.post, with: { path: /done } }]\n", "post /done", 10 * time.Second},
		{"retry", "retry: { max_attempts: 3, backoff: 5s..10s, jitter: false }\nsteps:\n  - call: sys.post\n    with: { path: /fails }\n", "post /fails", 15 * time.Second},
		{"coalesce", "coalesce: { key: \"${doc.k}\", window: 10s }\nsteps:\n  - call: sys.post\n    with: { path: /done }\n", "post /done", 10 * time.Second},
	}
	for _, c := range cases {
		for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
			t.Run(c.name+" "+ahead.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sys, m := newSystem(), &machine{}
					sys.wall = m.wall
					fails := failing(2, down, `{}`)
					sys.answers["post /fails"] = func(n int) (*document.Document, error) { return fails(n) }
					r := start(t, sys, nil, "process: p\nlisten: { path: /p, input: json, auth: none }\n"+c.process)
					m.ahead.Store(int64(ahead)) // before the timer is set
					id := ""
					got := took(func() {
						in := arrival(`{"k":1}`)
						in.Received = m.wall().UTC().Truncate(time.Millisecond)
						ack, err := r.atom.Accept(context.Background(), r.process("p"), in)
						if err != nil {
							t.Fatal(err)
						}
						id = ack.Execution
						time.Sleep(4 * time.Second)
						m.ahead.Store(int64(-ahead)) // while it runs
						if v := r.ended(id); v.Status != "completed" || r.count(c.last) == 0 {
							t.Errorf("got %+v, want it completed after %s", v, c.last)
						}
					})
					if got.Truncate(time.Second) != c.want {
						t.Errorf("took %v, want %v", got, c.want)
					}
					r.stop()
				})
			})
		}
	}
}

// Dedupe windows and start deadlines last as long as they should when the clock
// of the machine is set back or forward.
func TestDeadlinesWhenTheClockIsSet(t *testing.T) {
	const yaml = `
process: once
listen: { path: /once, input: json, auth: none }
dedupe: { key: "${doc.id}", window: 10m }
steps: [{ stop: done }]
---
process: soon
listen: { path: /soon, input: json, auth: none }
workers: 1
expires: { request: 10m }
steps:
  - call: sys.post
    with: { path: "/${doc.id}" }
    timeout: 1h
    retry: { max_attempts: 1 }
`
	for _, ahead := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sys, m := newSystem(), &machine{}
				sys.wall, sys.block = m.wall, make(chan struct{})
				r := start(t, sys, nil, yaml)
				accept := func(process, body string) *atom.Acknowledgement {
					t.Helper()
					in := arrival(body)
					in.Received = m.wall().UTC().Truncate(time.Millisecond)
					ack, err := r.atom.Accept(context.Background(), r.process(process), in)
					if err != nil {
						t.Fatal(err)
					}
					return ack
				}
				m.ahead.Store(int64(ahead)) // before the deadlines are set
				accept("soon", `{"id":1}`)  // occupies the worker
				accept("once", `{"id":1}`)
				late := accept("soon", `{"id":2}`).Execution
				time.Sleep(9 * time.Minute)
				m.ahead.Store(int64(-ahead)) // while they last
				if got := accept("once", `{"id":1}`).Status; got != "duplicate" {
					t.Errorf("in its window: got a repeat %s, want duplicate", got)
				}
				if v := r.shown(late); v.Status != "accepted" {
					t.Errorf("before its deadline: got %s, want accepted", v.Status)
				}
				time.Sleep(time.Minute + time.Second)
				if got := accept("once", `{"id":1}`).Status; got != "accepted" {
					t.Errorf("after its window: got a repeat %s, want accepted", got)
				}
				if v := r.shown(late); v.Status != "expired" {
					t.Errorf("after its deadline: got %s, want expired", v.Status)
				}
				close(sys.block)
				r.stop()
			})
		})
	}
}

// A time that an earlier run stored is compared with the clock of the machine.
func TestStoredTimerAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, m := newSystem(), &machine{}
		sys.wall = m.wall
		const yaml = "process: p\nlisten: { path: /p, input: json, auth: none }\nsteps:\n  - sleep: 1h\n  - call: sys.post\n    with: { path: /done }\n"
		r := start(t, sys, nil, yaml)
		id := r.accept("p", `{}`).Execution
		time.Sleep(10 * time.Minute)
		r.stop()
		m.ahead.Store(int64(45 * time.Minute)) // the machine was off
		r = start(t, sys, r.store, yaml)
		got := took(func() {
			time.Sleep(4*time.Minute + 30*time.Second)
			if v := r.ended(id); v.Status != "completed" {
				t.Errorf("got %+v, want it completed", v)
			}
		})
		if got.Truncate(time.Second) != 5*time.Minute {
			t.Errorf("ended %v after the restart, want 5m", got)
		}
		r.stop()
	})
}
