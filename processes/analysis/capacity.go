package analysis

import (
	"fmt"
	"strings"

	"valence/processes"
)

// heldKeys warns of waits without a timeout in processes with `sequence:`.
// Such a wait occupies no worker, but it blocks every execution with the same key.
func (c *checker) heldKeys(bounds *Bounds) {
	for _, p := range c.procs {
		if p.Delivery.Sequence == nil {
			continue
		}
		for _, o := range bounds.Whole(p, true).Open {
			if o.Wait == "" {
				continue
			}
			c.warn(o.Pos, processes.CodeHeldKey, "during the wait `"+o.Wait+"`, which has no timeout, the process `"+p.Name+"` holds its sequence key and blocks all later executions of the key",
				"add a `timeout:` to the wait, or wait in a process without `sequence:` that is started with `mode: handoff`")
		}
	}
}

// idleWorkers warns of processes with more workers than all of their
// connections together allow concurrent calls.
func (c *checker) idleWorkers(bounds *Bounds) {
	overridden := map[string]bool{}
	for _, e := range c.project.Environments {
		for name := range e.Connections {
			overridden[name] = true
		}
	}
	for _, p := range c.procs {
		if !p.Delivery.WorkersWritten || p.Listen != nil && p.Listen.Output != "" {
			continue
		}
		total := 0
		var limits []string
		for _, name := range bounds.Connections(p) {
			limit := bounds.limits[name].Concurrency
			if limit == 0 || overridden[name] {
				total = 0
				break
			}
			total += limit
			limits = append(limits, fmt.Sprintf("%s allows %d", name, limit))
		}
		if workers := p.Delivery.Workers; total > 0 && total < workers {
			c.warn(p.Pos, processes.CodeIdleWorkers, fmt.Sprintf("at most %d of the %d workers of this process can call at once (%s); the others only wait", total, workers, strings.Join(limits, ", ")),
				fmt.Sprintf("set `workers: %d`, or increase `concurrency:` of the connection", total))
		}
	}
}
