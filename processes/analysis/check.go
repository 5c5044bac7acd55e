// Package analysis proves properties of compiled plans: missing replies, the waits
// of callers and sequence keys, the duration of executions, idle workers, and
// conflicts between processes.
package analysis

import (
	"valence/internal/fault"
	"valence/processes"
)

// Check returns the problems between several processes: conflicting listeners,
// call cycles, unknown waits and waiting callers. It sets SuspendsCaller of the
// processes. With incomplete some component could not be parsed, so missing
// waits are not reported.
func Check(project *processes.Project, procs []*processes.Process, incomplete bool) fault.Problems {
	c := newChecker(project, procs)
	c.listeners()
	c.cycles()
	if !incomplete {
		c.unknownWaits()
	}
	c.callers()
	c.bodies()
	return c.problems
}

// Prove returns the problems that can be found only in a project without
// errors: waits that can never end, blocked sequence keys, idle workers and
// callers that time out.
func Prove(project *processes.Project, procs []*processes.Process) fault.Problems {
	c := newChecker(project, procs)
	c.ownKeys()
	if c.problems.HasErrors() {
		return c.problems
	}
	bounds := NewBounds(project)
	c.heldKeys(bounds)
	c.idleWorkers(bounds)
	c.callerTimeouts(bounds.writtenOnly())
	c.delivery(bounds)
	return c.problems
}

type checker struct {
	project    *processes.Project
	procs      []*processes.Process // in the order of the files
	suspending map[suspension]*processes.Step
	problems   fault.Problems
}

func newChecker(project *processes.Project, procs []*processes.Process) *checker {
	return &checker{project: project, procs: procs, suspending: map[suspension]*processes.Step{}}
}

func (c *checker) flow(s *processes.Step) processes.Flow { return c.project.Kinds[s.Kind].Flow }

func (c *checker) warn(at fault.Pos, code fault.Code, msg, hint string) {
	c.problems = append(c.problems, &fault.Problem{Pos: at, Severity: fault.Warning, Code: code, Msg: msg, Hint: hint})
}
