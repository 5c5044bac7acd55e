package analysis

import (
	"strings"

	"valence/internal/fault"
	"valence/processes"
)

// cycles reports processes that call each other in a cycle. It is an error if
// each waits for the next, and a warning if the cycle contains a hand-off.
func (c *checker) cycles() {
	for _, waits := range []bool{true, false} {
		const visiting, visited = 1, 2
		state := map[string]int{}
		var path []string
		var visit func(p *processes.Process)
		visit = func(p *processes.Process) {
			state[p.Name] = visiting
			path = append(path, p.Name)
			for _, call := range p.Calls {
				next := c.project.Processes[call.Process]
				if next == nil || waits && call.Handoff {
					continue
				}
				switch state[call.Process] {
				case 0:
					visit(next)
				case visiting:
					c.cycle(call, path, waits)
				}
			}
			path = path[:len(path)-1]
			state[p.Name] = visited
		}
		for _, p := range c.procs {
			if state[p.Name] == 0 {
				visit(p)
			}
		}
	}
}

// cycle reports the cycle that a call closes.
func (c *checker) cycle(call processes.ProcessCall, path []string, waits bool) {
	from := len(path) - 1
	for path[from] != call.Process {
		from--
	}
	cycle := strings.Join(append(append([]string(nil), path[from:]...), call.Process), " → ")
	if waits {
		c.problems = append(c.problems, &fault.Problem{Pos: call.Pos, Code: processes.CodeCallCycle,
			Msg: "processes call each other in a cycle: " + cycle, Hint: "use `for_each` or `repeat`, or `mode: handoff` if the caller need not wait"})
		return
	}
	if c.waitsThroughout(path[from:], call) {
		return // reported as an error
	}
	c.warn(call.Pos, processes.CodeHandoffCycle, "processes hand off to each other in a cycle: "+cycle,
		"make sure that the cycle ends: every round starts a new execution")
}

func (c *checker) waitsThroughout(cycle []string, closing processes.ProcessCall) bool {
	if closing.Handoff {
		return false
	}
	for i := 0; i+1 < len(cycle); i++ {
		waits := false
		for _, call := range c.project.Processes[cycle[i]].Calls {
			waits = waits || call.Process == cycle[i+1] && !call.Handoff
		}
		if !waits {
			return false
		}
	}
	return true
}
