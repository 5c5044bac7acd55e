package sqlite

import (
	"sync"
	"sync/atomic"
)

// announcements lets a read wait for the announcements of the commits that it
// may have seen: a commit is visible to readers before it is announced.
type announcements struct {
	begun atomic.Int64 // commits that may be visible

	mu    sync.Mutex
	more  sync.Cond
	ended int64 // commits that were announced or rolled back
}

func newAnnouncements() *announcements {
	a := &announcements{}
	a.more.L = &a.mu
	return a
}

// begin is called before each commit, by the committer.
func (a *announcements) begin() { a.begun.Add(1) }

// end is called when the last commit was announced or rolled back, by the
// committer.
func (a *announcements) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = a.begun.Load()
	a.more.Broadcast()
}

// wait returns when every commit that a read may have seen is announced. It
// must follow the read.
func (a *announcements) wait() {
	begun := a.begun.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.ended < begun {
		a.more.Wait()
	}
}
