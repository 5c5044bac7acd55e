package agent

import (
	"sync"
	"time"

	"valence/atom"
	"valence/atom/agent/spool"
)

// requests are the running execution requests whose end must be reported.
type requests struct {
	mu          sync.Mutex
	byExecution map[string][]*runningRequest // by execution ID
	// entering are the requests that the atom is accepting. An execution may end
	// before its request is in the spool; its end is then held here.
	entering  map[string]*atom.ExecutionEnd
	postponed map[string]bool // requests that will be received again
}

// runningRequest is an execution request that runs.
type runningRequest struct {
	spool.Request
	since    time.Time
	reported bool // as running
}

// reportRunningAfter is the running time after which an execution is reported
// as running.
const reportRunningAfter = time.Second

func (r *requests) init() {
	r.byExecution, r.entering, r.postponed = map[string][]*runningRequest{}, map[string]*atom.ExecutionEnd{}, map[string]bool{}
}

// enter is called before the atom accepts a request.
func (r *requests) enter(request string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entering[request] = nil
}

// hold holds the end of an execution whose request is entering, and reports
// whether it did. The caller holds mu.
func (r *requests) hold(e *atom.ExecutionEnd) bool {
	_, entering := r.entering[e.Request]
	if entering {
		r.entering[e.Request] = e
	}
	return entering
}

// setHandled records whether a request was handled or will be received again.
func (r *requests) setHandled(request string, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.postponed, request); !done {
		r.postponed[request] = true
	}
}

// isPostponed reports whether a request will be received again.
func (r *requests) isPostponed(request string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.postponed[request]
}

func (r *requests) add(w spool.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byExecution[w.Execution] = append(r.byExecution[w.Execution], &runningRequest{Request: w, since: time.Now()})
}

// executionOf returns the execution of a request, or "" if it does not run.
func (r *requests) executionOf(request string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, list := range r.byExecution {
		for _, o := range list {
			if o.ID == request {
				return id
			}
		}
	}
	return ""
}

// runningFor returns the requests of at least the given age that are not
// reported as running. Age 0 selects all requests.
func (r *requests) runningFor(age time.Duration) []spool.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []spool.Request
	for _, list := range r.byExecution {
		for _, o := range list {
			if age == 0 || !o.reported && time.Since(o.since) >= age {
				found = append(found, o.Request)
			}
		}
	}
	return found
}
