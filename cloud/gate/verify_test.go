package gate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A request refused for overload is served the next time, even if the queue is
// full.
func TestRefusedRequestIsServedNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &verifyLimiter{slots: make(chan struct{}, 1), queue: 1}
		first, ok := j.enter(context.Background(), false)
		if !ok {
			t.Fatal("a free slot was refused")
		}
		in := make(chan func(), 2)
		wait := func(must bool) {
			release, ok := j.enter(context.Background(), must)
			if !ok {
				release = nil
			}
			in <- release
		}
		go wait(false) // fills the queue
		synctest.Wait()
		if _, ok := j.enter(context.Background(), false); ok {
			t.Fatal("a request was admitted beyond the queue")
		}
		go wait(true)
		synctest.Wait()
		first()
		for range 2 {
			release := <-in
			if release == nil {
				t.Fatal("a waiting request was refused")
			}
			release()
		}
		first, _ = j.enter(context.Background(), false)
		begin := time.Now()
		if _, ok := j.enter(context.Background(), true); ok || time.Since(begin) != VerifyWait {
			t.Errorf("got a wait of %v without a slot", time.Since(begin))
		}
		first()
	})
}
