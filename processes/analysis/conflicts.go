package analysis

import (
	"maps"
	"slices"
	"strings"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// Conflicts returns the names of processes and the listener routes that several
// projects declare, so that they cannot run in one atom. Each problem is
// positioned in the later project.
func Conflicts(projects []*processes.Project) fault.Problems {
	var problems fault.Problems
	names, routes := map[string]*processes.Process{}, routes{}
	for _, project := range projects {
		for _, name := range slices.Sorted(maps.Keys(project.Processes)) {
			p := project.Processes[name]
			if first := names[name]; first != nil {
				problems = append(problems, &fault.Problem{Pos: p.Pos, Code: processes.CodeDuplicateName,
					Msg: "the process `" + spec.Clip(name) + "` is already declared at " + first.Pos.String(), Hint: "rename one of them"})
				continue
			}
			names[name] = p
			if problem := routes.add(p); problem != nil {
				problems = append(problems, problem)
			}
		}
	}
	return problems
}

// listeners reports listeners of the project with the same route.
func (c *checker) listeners() {
	routes := routes{}
	for _, p := range c.procs {
		if problem := routes.add(p); problem != nil {
			c.problems = append(c.problems, problem)
		}
	}
}

// routes holds processes by the method and path of their listener, without the
// names of its captures.
type routes map[string]*processes.Process

// add adds the routes of a process. It returns a problem if another process
// has one of them.
func (r routes) add(p *processes.Process) *fault.Problem {
	if p.Listen == nil || p.Listen.Path == "" {
		return nil
	}
	for _, m := range p.Listen.Methods {
		key := m + " " + withoutNames(p.Listen.Path)
		if first := r[key]; first != nil && first.Name != p.Name {
			return &fault.Problem{Pos: p.Listen.Pos, Code: processes.CodeDuplicateListen,
				Msg:  "the process `" + first.Name + "` already listens to " + m + " " + p.Listen.Path + " at " + first.Listen.Pos.String(),
				Hint: "change the path or the method of one of them"}
		}
		r[key] = p
	}
	return nil
}

// withoutNames returns a path without the names of its captures.
func withoutNames(p string) string {
	segs := strings.Split(p, "/")
	for i, s := range segs {
		if strings.HasPrefix(s, "{") {
			segs[i] = "{}"
		}
	}
	return strings.Join(segs, "/")
}
