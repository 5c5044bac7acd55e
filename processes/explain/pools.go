package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"valence/processes"
)

// Pool is a limited resource and the effect of its exhaustion.
type Pool struct {
	Pool   string `json:"pool"`
	Size   int    `json:"size,omitempty"` // 0 means unlimited
	Effect string `json:"effect"`
}

func (e *explainer) pool(name string, size int, format string, args ...any) {
	e.x.Pools = append(e.x.Pools, Pool{name, size, fmt.Sprintf(format, args...)})
}

// synchronous reports whether the steps of a process run on the connections of its callers.
func synchronous(p *processes.Process) bool {
	return p.Listen != nil && p.Listen.Sync() && !AlwaysDeferred(p.Listen) && !p.SuspendsCaller
}

// usesWorkers reports whether some executions of a process run on its workers.
func usesWorkers(p *processes.Process) bool {
	return p.Pattern != processes.RequestReply || !synchronous(p) || p.Listen.Later() || p.Listen.HasOneWay()
}

func (e *explainer) pools() {
	e.x.Pools = []Pool{}
	p := e.process
	if l := p.Listen; l != nil {
		held := "a request occupies its connection until its message is on disk"
		switch {
		case synchronous(p):
			held = "a request occupies its connection until the reply, and no worker"
		case e.x.WaitsMS > 0:
			held = "a request occupies its connection until the reply, and no worker while its execution is suspended"
		}
		if l.Limits.Concurrency > 0 {
			e.pool("callers", l.Limits.Concurrency, "%d at once, then 503; %s", l.Limits.Concurrency, held)
		} else {
			e.pool("callers", 0, "unlimited, because limits.concurrency is not set; %s", held)
		}
	}
	if usesWorkers(p) {
		e.pool("workers", p.Delivery.Workers, "%d for this process alone, occupied while steps and calls run, but not by callers or suspended, held and scheduled executions; if all are busy, only the backlog of this process grows", p.Delivery.Workers)
	}
	for _, name := range e.bounds.Connections(p) {
		e.connectionPool(name)
	}
	for _, c := range p.Calls {
		if called := e.project.Processes[c.Process]; called != nil && !c.Handoff {
			e.pool("process "+c.Process, 0, "runs within the calling execution (%s) and occupies none of its own %s", c.Pos, plural(called.Delivery.Workers, "worker", "workers"))
		}
	}
}

// connectionPool describes the competition for the calls of a connection.
func (e *explainer) connectionPool(name string) {
	p, size := e.process, e.bounds.Limits(name).Concurrency
	if size == 0 {
		e.pool("connection "+name, 0, "unlimited calls; set concurrency: to protect the other system")
		return
	}
	var effects []string
	text := plural(size, "concurrent call", "concurrent calls")
	synchronous, durable := e.users(name)
	if others := without(append(append([]string(nil), synchronous...), durable...), p.Name); len(others) > 0 {
		text += ", shared with " + strings.Join(others, ", ")
	}
	if workers := p.Delivery.Workers; usesWorkers(p) && workers > size {
		effects = append(effects, fmt.Sprintf("%d of the %d workers may wait for it, and this process then runs nothing else", workers-size, workers))
	}
	if slices.Contains(synchronous, p.Name) {
		effects = append(effects, fmt.Sprintf("further callers wait for it, within their timeout of %s", Duration(p.Listen.Timeout)))
		if others := e.exhausting(without(durable, p.Name), size); others != "" {
			effects = append(effects, others+" can use all of it, and callers wait")
		}
	} else if waiting := without(synchronous, p.Name); len(waiting) > 0 && p.Delivery.Workers >= size {
		effects = append(effects, "the workers of this process can use all of it, and callers of "+strings.Join(waiting, ", ")+" wait")
	}
	if usesWorkers(p) {
		effects = append(effects, "the timeout of a call starts when the call does")
	}
	e.pool("connection "+name, size, "%s: %s", text, strings.Join(effects, "; "))
}

// users returns the processes that use a connection, synchronously for their
// callers or durably on their workers.
func (e *explainer) users(connection string) (sync, durable []string) {
	for _, name := range slices.Sorted(maps.Keys(e.project.Processes)) {
		p := e.project.Processes[name]
		if !slices.Contains(e.bounds.Connections(p), connection) {
			continue
		}
		if synchronous(p) {
			sync = append(sync, name)
		} else {
			durable = append(durable, name)
		}
	}
	return sync, durable
}

// exhausting names the processes if their workers together can use all of a
// pool. Otherwise it returns "".
func (e *explainer) exhausting(names []string, size int) string {
	workers := 0
	for _, name := range names {
		workers += e.project.Processes[name].Delivery.Workers
	}
	if workers < size {
		return ""
	}
	return "the workers of " + strings.Join(names, ", ")
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}
