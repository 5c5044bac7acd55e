package run

import (
	"context"

	"valence/atom/steps"
	"valence/connectors"
)

// Calls answers calls in place of their connections: in tests of processes.
type Calls interface {
	// Call makes one attempt, as connectors.Operation.Run does.
	Call(ctx context.Context, a *Attempt) (*connectors.Result, error)
}

// Attempt is one attempt of a call.
type Attempt struct {
	Execution int64        // its Seq
	Key       string       // of the occurrence of the step: equal for every attempt
	Number    int          // of the attempt at this occurrence; the first is 1
	Frame     *steps.Frame // of the step that calls
	Of        *steps.Call
	Call      *connectors.Call
}
