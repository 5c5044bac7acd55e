package listener

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
)

// A process with a wait before its reply runs durably; its caller waits for
// the reply no longer than the listener allows, and then it is cancelled.
func TestACallerThatWaitsForAWait(t *testing.T) {
	for _, c := range []struct {
		name      string
		replies   time.Duration // after that time
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
					p := &atom.Progress{Execution: id, Status: "waiting", Later: true}
					if time.Since(start) >= c.replies || cancelled && c.ended {
						p.Reply = &atom.Collected{Status: 201, Media: "application/json", Body: []byte(`{"seat":"12A"}`)}
					}
					return p, nil
				}
				f.cancel = func(string) error {
					cancelled = true
					if c.ended {
						return atom.ErrEnded
					}
					return nil
				}
				bell := time.AfterFunc(c.replies, func() { close(f.watch) })
				defer bell.Stop()
				w := send(s, "POST", "/seats", `{}`)
				if w.Code != c.status || c.body != "" && strings.TrimSpace(w.Body.String()) != c.body || cancelled != c.cancelled {
					t.Errorf("%d %s cancelled %t", w.Code, w.Body, cancelled)
				}
				if f.last() == nil || f.last().Later == nil {
					t.Error("it was run in memory")
				}
			})
		})
	}
}
