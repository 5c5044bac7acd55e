package processes

import (
	"fmt"
	"sort"
	"strings"
)

// waitsAreBounded warns of keys that are held for as long as nobody answers: a
// wait in a sequenced process keeps no worker busy, but everything behind it.
func (l *loader) waitsAreBounded(spans *Spans) {
	for _, b := range l.processes {
		if b.proc.Delivery.Sequence == nil {
			continue
		}
		for _, o := range spans.Whole(b.proc, true).Open {
			if o.Each > 0 || !strings.HasPrefix(o.What, "the wait ") {
				continue
			}
			l.warn(o.Pos, CodeHeldKey, "as long as nobody ends "+o.What+", the process `"+b.proc.Name+"` holds its sequence key, and every execution behind it waits",
				"give the wait a `timeout:`, or wait in a process without `sequence:`, started with `mode: handoff`")
		}
	}
}

// workersFit warns of workers that can only wait: those beyond what all the
// connections of the process take at once.
func (l *loader) workersFit(spans *Spans) {
	overridden := map[string]bool{}
	for _, e := range l.project.Environments {
		for name := range e.Connections {
			overridden[name] = true
		}
	}
	for _, b := range l.processes {
		if !b.workers || b.proc.Listen != nil && b.proc.Listen.Output != "" {
			continue
		}
		most, names := 0, spans.Reached(b.proc)
		var takes []string
		for _, name := range names {
			limit := spans.limits[name].Concurrency
			if limit == 0 || overridden[name] {
				most = 0
				break
			}
			most += limit
			takes = append(takes, fmt.Sprintf("%s takes %d", name, limit))
		}
		if workers := b.proc.Delivery.Workers; most > 0 && most < workers {
			l.warn(b.proc.Pos, CodeIdleWorkers, fmt.Sprintf("of the %d workers of this process at most %d can call at once, as %s: the others wait for them, and run nothing else", workers, most, strings.Join(takes, " and ")),
				fmt.Sprintf("`workers: %d`, or a larger `concurrency:` of the connection", most))
		}
	}
}

// Reached gives the connections that an execution of a process waits for, in
// the order of their names; hand-offs are executions of their own.
func (s *Spans) Reached(p *Process) []string {
	if known, ok := s.reach[p.Name]; ok {
		return known
	}
	s.reach[p.Name] = nil // of a circle, which is an error
	found := map[string]bool{}
	var visit func(Block)
	visit = func(block Block) {
		for _, step := range block {
			if r, ok := step.Settings.(Reacher); ok {
				s.reachedBy(r.Reach(), found)
			}
			for _, l := range step.Lists {
				visit(l.Steps)
			}
		}
	}
	visit(p.Steps)
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	sort.Strings(names)
	s.reach[p.Name] = names
	return names
}

func (s *Spans) reachedBy(r Reach, found map[string]bool) {
	if r.Handoff {
		return
	}
	if r.Operation.Operation != nil {
		found[r.Operation.Connection] = true
	}
	if called := s.project.Processes[r.Process]; called != nil {
		for _, name := range s.Reached(called) {
			found[name] = true
		}
	}
}
