package store

// Wakeup is an execution that a commit made ready: its wait ended, its hold was
// released, or it became the head of its lane. Or the commit superseded it.
type Wakeup struct {
	Process    string
	Seq        int64
	HeadOfLane bool    // it became the head of its lane: Heads returns it, not Due
	Superseded bool    // it ended instead, because a newer message superseded it
	Record     *Record // as Due would return it; nil: the queue reads it
}

// Notifier reports executions that became ready again.
type Notifier interface {
	// OnReady sets the function that receives the executions a commit made
	// ready, in commit order, before the callers waiting for the commit return.
	// The function must not block. From that commit on, Due returns the
	// execution whatever the time is, until it is suspended or ends. OnReady
	// must be called before Run.
	OnReady(func([]Wakeup))
}
