package agent

import (
	"sync"
	"sync/atomic"

	"valence/internal/wire"
)

// maxOptional limits the unrequested execution reports buffered between two
// writes. Further ones are counted and dropped.
const maxOptional = 2_000

// outbox buffers reports that are not on disk yet.
type outbox struct {
	mu       sync.Mutex
	pending  []pendingReport
	optional int   // number of unrequested ones in pending
	refused  int64 // since the last drain, because pending was full
	urgent   bool
	added    chan struct{} // wakes persistReports
	ready    chan struct{} // wakes sendReports
	dropped  atomic.Int64
}

// pendingReport is a report that is not on disk yet. It completes an execution
// request, unless completes is "".
type pendingReport struct {
	wire.ExecutionReport
	completes string
}

func (o *outbox) init() {
	o.added, o.ready = make(chan struct{}, 1), make(chan struct{}, 1)
}

func notify(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// add adds a report that an operator may be waiting for.
func (o *outbox) add(r wire.ExecutionReport, answers string) {
	o.mu.Lock()
	o.pending, o.urgent = append(o.pending, pendingReport{r, answers}), true
	o.mu.Unlock()
	notify(o.added)
}

// addOptional adds an unrequested report unless the buffer is full.
func (o *outbox) addOptional(r wire.ExecutionReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.optional >= maxOptional {
		o.dropped.Add(1)
		o.refused++
		return
	}
	o.optional++
	o.pending = append(o.pending, pendingReport{r, ""})
	if len(o.pending) == 1 {
		notify(o.added)
	}
}

// drain removes and returns all reports, and the number of those that the buffer
// had no room for.
func (o *outbox) drain() (items []pendingReport, refused int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	items, refused = o.pending, o.refused
	o.pending, o.optional, o.urgent, o.refused = nil, 0, false, 0
	return items, refused
}

func (o *outbox) isUrgent() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.urgent
}

// wakeSender makes sendReports send the reports on disk.
func (o *outbox) wakeSender() { notify(o.ready) }
