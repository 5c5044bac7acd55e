package store

import (
	"context"
	"errors"
	"time"
)

// ErrCancelled is returned if a run would suspend or end an execution whose
// cancellation it does not know, because another member of the group committed
// it. Nothing was changed.
var ErrCancelled = errors.New("the execution was cancelled at another member of the group")

// News reports commits of the other members of a group. The functions
// are called from any goroutine and must not block. Whatever a lost notification
// says is found within seconds all the same.
type News struct {
	// Changed reports an execution of Follow that may have changed.
	Changed func(seq int64)
	// Cancelled reports that a Change with Cancel was committed to an execution
	// that this atom runs. It is repeated until the execution ends.
	Cancelled func(seq int64)
	// Settings reports that contents which people change may have changed, see
	// AnnounceSettings.
	Settings func()
	// Resized reports that the number of members has changed.
	Resized func()
}

// Group describes a group of atoms, for operators.
type Group interface {
	// Group returns the members of the group, also those whose lease has ended and
	// that no other member has taken over yet.
	Group(ctx context.Context) (*GroupView, error)
}

// GroupView is a group of atoms.
type GroupView struct {
	Name    string
	Members []*MemberView // in the order in which they joined
}

// MemberView is a member of a group.
type MemberView struct {
	Epoch   int64
	Name    string
	Version string
	This    bool // it is the atom that answers
	Joined  time.Time
	Lease   time.Duration // until the lease ends; 0: it has ended
	Blocks  int64         // blocks of numbers whose executions it runs
	Backlog int64         // its live executions
	Lanes   int64         // sequence keys of these
	Lag     time.Duration // age of the oldest one that is accepted or held; 0: there is none
}

// Members connects an atom with the other members of its group. A single atom has
// none.
type Members interface {
	// Lease returns the epoch under which this atom runs an execution. own is
	// false if another member runs it, or none.
	Lease(seq int64) (epoch int64, own bool)
	// Members returns the number of members whose lease lasts, at least 1. It does
	// not wait, also in a function that receives announcements.
	Members() int
	// Follow makes News.Changed report the commits of other members to an
	// execution, until stop is called.
	Follow(seq int64) (stop func())
	// AnnounceSettings makes the other members read settings again, such as
	// pauses. It does not wait.
	AnnounceSettings()
	// OnNews sets the functions that receive the commits of other members. It must
	// be called before Run.
	OnNews(News)
}
