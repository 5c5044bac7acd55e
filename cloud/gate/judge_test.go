package gate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever was sent away once is let in the next time, however many wait.
func TestNobodyIsSentAwayTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judges{slots: make(chan struct{}, 1), queue: 1}
		first, ok := j.enter(context.Background(), false)
		if !ok {
			t.Fatal("nobody is there and it is full")
		}
		in := make(chan func(), 2)
		wait := func(must bool) {
			release, ok := j.enter(context.Background(), must)
			if !ok {
				release = nil
			}
			in <- release
		}
		go wait(false) // it has the queue's one place
		synctest.Wait()
		if _, ok := j.enter(context.Background(), false); ok {
			t.Fatal("there was no place")
		}
		go wait(true)
		synctest.Wait()
		first()
		for range 2 {
			release := <-in
			if release == nil {
				t.Fatal("one that waited was sent away")
			}
			release()
		}
		first, _ = j.enter(context.Background(), false)
		begin := time.Now()
		if _, ok := j.enter(context.Background(), true); ok || time.Since(begin) != judgeTime {
			t.Errorf("it waited %v for a turn that did not come", time.Since(begin))
		}
		first()
	})
}
