package atom

import "time"

// Ready is an execution that may run again although nothing made its Due come:
// what it waited for was stored, or what held it has let go.
type Ready struct {
	Process    string
	Seq        int64
	Turn       bool      // its turn has come in its lane: Heads gives it, not Due
	Superseded bool      // it ended: a newer message took its place
	Later      time.Time // it was accepted, to run then; zero: it may run now
	Record     *Record   // as Due would give it; nil: the queue reads it
}

// Notifier tells of executions that became ready again.
type Notifier interface {
	// OnReady names the function that is told of every execution that a commit
	// made ready again, in the order of commit, before whoever waits for the
	// commit is woken. It must not block. From that commit on Due gives it,
	// whatever the time is, until a Park or an Outcome. It must be set before Run.
	OnReady(func([]Ready))
}
