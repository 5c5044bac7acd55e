package cli

import (
	"fmt"
	"slices"
	"strings"

	"valence/processes"
)

// poolView is something of which there is only so much, and who waits when all
// of it is taken.
type poolView struct {
	Pool   string `json:"pool"`
	Size   int    `json:"size,omitempty"` // 0: unbounded
	Effect string `json:"effect"`
}

func (e *explainer) pool(name string, size int, format string, args ...any) {
	e.x.Pools = append(e.x.Pools, poolView{name, size, fmt.Sprintf(format, args...)})
}

// synchronous reports whether callers of a process wait on their connection while its
// steps call.
func synchronous(p *processes.Process) bool {
	return p.Listen != nil && p.Listen.Sync() && !alwaysLater(p.Listen) && !p.SuspendsCaller
}

// working reports whether a process has executions that take its workers.
func working(p *processes.Process) bool {
	return p.Pattern != processes.RequestReply || !synchronous(p) || p.Listen.Later()
}

func (e *explainer) pools() {
	e.x.Pools = []poolView{}
	p := e.process
	if l := p.Listen; l != nil {
		who := "each is kept until its message is on disk"
		switch {
		case synchronous(p):
			who = "each keeps its connection until the reply, and takes no worker"
		case e.x.WaitsMS > 0:
			who = "each keeps its connection until the reply, and no worker while its execution is suspended"
		}
		if l.Limits.Concurrency > 0 {
			e.pool("callers", l.Limits.Concurrency, "%d at once, then 503; %s", l.Limits.Concurrency, who)
		} else {
			e.pool("callers", 0, "as many as come, without limits.concurrency; %s", who)
		}
	}
	if working(p) {
		e.pool("workers", p.Delivery.Workers, "%d, of this process alone: taken while steps run and calls are under way, not by callers, nor by what waits, is held, or is due later; when all are taken, only this process' backlog grows", p.Delivery.Workers)
	}
	for _, name := range e.spans.Reached(p) {
		e.connectionPool(name)
	}
	for _, c := range p.Calls {
		if called := e.project.Processes[c.Process]; called != nil && !c.Handoff {
			e.pool("process "+c.Process, 0, "runs within the execution that calls it (%s): it takes none of its own %s", c.Pos, plural(called.Delivery.Workers, "worker", "workers"))
		}
	}
}

// connectionPool tells who waits for whom at a connection.
func (e *explainer) connectionPool(name string) {
	p, size := e.process, e.spans.Limits(name).Concurrency
	if size == 0 {
		e.pool("connection "+name, 0, "any number of calls at once; nobody waits here, set concurrency: to protect the other system")
		return
	}
	var says []string
	text := plural(size, "call at once", "calls at once")
	callers, durable := e.users(name)
	if others := without(append(append([]string(nil), callers...), durable...), p.Name); len(others) > 0 {
		text += ", shared with " + strings.Join(others, ", ")
	}
	if workers := p.Delivery.Workers; working(p) && workers > size {
		says = append(says, fmt.Sprintf("%d of the %d workers can wait for it, and this process runs nothing else then", workers-size, workers))
	}
	if synchronous(p) {
		says = append(says, fmt.Sprintf("callers beyond that wait for it, as part of their %s", exact(p.Listen.Timeout)))
		if takers := e.taking(without(durable, p.Name), size); takers != "" {
			says = append(says, takers+" can take all of it, and callers wait")
		}
	} else if waiting := without(callers, p.Name); len(waiting) > 0 && p.Delivery.Workers >= size {
		says = append(says, "the workers of this process can take all of it, and callers of "+strings.Join(waiting, ", ")+" wait")
	}
	if working(p) {
		says = append(says, "the timeout of a call begins when it has its turn")
	}
	e.pool("connection "+name, size, "%s: %s", text, strings.Join(says, "; "))
}

// users are the processes whose callers, or workers, call a connection.
func (e *explainer) users(connection string) (callers, durable []string) {
	for _, name := range sortedKeys(e.project.Processes) {
		p := e.project.Processes[name]
		if !slices.Contains(e.spans.Reached(p), connection) {
			continue
		}
		if synchronous(p) {
			callers = append(callers, name)
		} else {
			durable = append(durable, name)
		}
	}
	return callers, durable
}

// taking names the processes whose workers together can take all of a pool.
func (e *explainer) taking(names []string, size int) string {
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
