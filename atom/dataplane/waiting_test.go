package dataplane

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store"
)

// A process with a wait before its reply runs durably. Its caller waits for at
// most the listener's timeout, then the execution is cancelled.
func TestACallerThatWaitsForAWait(t *testing.T) {
	for _, c := range []struct {
		name      string
		replies   time.Duration // after this time
		ended     bool          // cancelling comes too late
		status    int
		body      string
		cancelled bool
	}{
		{"the reply comes in time", 10 * time.Second, false, 201, `{"seat":"12A"}`, false},
		{"it does not", time.Hour, false, 504, "", true},
		{"it comes with the cancellation", 30*time.Second + time.Nanosecond, true, 201, `{"seat":"12A"}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{watch: make(chan struct{})}
				d := on("/seats", replies("json"))
				d.Process.SuspendsCaller = true
				s := serve(t, f, d)
				start, cancelled := time.Now(), false
				f.follow = func(id, _, token string) (*atom.Progress, error) {
					p := &atom.Progress{Execution: id, Status: "waiting", HasReply: true}
					if time.Since(start) >= c.replies || cancelled && c.ended {
						p.Reply = &atom.StoredReply{Status: 201, Media: "application/json", Body: []byte(`{"seat":"12A"}`)}
					}
					return p, nil
				}
				f.cancel = func(string) error {
					cancelled = true
					if c.ended {
						return store.ErrEnded
					}
					return nil
				}
				bell := time.AfterFunc(c.replies, func() { close(f.watch) })
				defer bell.Stop()
				w := send(s, "POST", "/seats", `{}`)
				if w.Code != c.status || c.body != "" && strings.TrimSpace(w.Body.String()) != c.body || cancelled != c.cancelled {
					t.Errorf("%d %s cancelled %t", w.Code, w.Body, cancelled)
				}
				if f.last() == nil || f.last().Deferred == nil {
					t.Error("got an in-memory run, want a durable one")
				}
			})
		})
	}
}
