package dataplane

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.WithValue(context.Background(), t, "value"))
		defer cancel()
		d := &deadline{parent: parent, at: time.Now().Add(time.Minute)}
		if d.Err() != nil || d.Value(t) != "value" {
			t.Fatalf("got %v, %v, want value and no error", d.Err(), d.Value(t))
		}
		if at, ok := d.Deadline(); !ok || time.Until(at) != time.Minute {
			t.Errorf("got %v, %v, want ok and %v", at, ok, time.Minute)
		}
		<-time.After(time.Minute)
		if d.Err() != context.DeadlineExceeded || context.Cause(d) != context.DeadlineExceeded {
			t.Errorf("after the time, never waited for: got %v, %v", d.Err(), context.Cause(d))
		}

		d = &deadline{parent: parent, at: time.Now().Add(time.Minute)}
		child, stop := context.WithCancel(d)
		defer stop()
		start := time.Now()
		<-child.Done()
		if child.Err() != context.DeadlineExceeded || d.Err() != context.DeadlineExceeded || time.Since(start) != time.Minute || d.Value(t) != "value" {
			t.Errorf("waited for: got %v after %v", child.Err(), time.Since(start))
		}

		d = &deadline{parent: parent, at: time.Now().Add(time.Minute)}
		d.release()
		if <-d.Done(); d.Err() != context.Canceled {
			t.Errorf("released: got %v, want %v", d.Err(), context.Canceled)
		}

		sooner, end := context.WithTimeout(parent, time.Second)
		defer end()
		d = &deadline{parent: sooner, at: time.Now().Add(time.Minute)}
		if at, _ := d.Deadline(); time.Until(at) != time.Second {
			t.Errorf("the parent's deadline is sooner: got %v", time.Until(at))
		}

		d = &deadline{parent: parent, at: time.Now().Add(time.Minute)}
		cancel()
		if d.Err() != context.Canceled || context.Cause(d) != context.Canceled {
			t.Errorf("parent cancelled: got %v", d.Err())
		}
	})
}

// A context that is not waited for costs no timer, and one derived from it no
// goroutine (synctest would detect it).
func TestDeadlineChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadline{parent: context.Background(), at: time.Now().Add(time.Hour)}
		child, stop := context.WithTimeout(d, time.Minute)
		defer stop()
		<-child.Done()
		if child.Err() != context.DeadlineExceeded || d.Err() != nil {
			t.Errorf("got %v, %v, want Err %v and no error", child.Err(), d.Err(), context.DeadlineExceeded)
		}
		d.release()
	})
}
