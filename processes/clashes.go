package processes

import (
	"maps"
	"slices"
	"strings"

	"valence/internal/fault"
)

// Clashes reports what projects cannot have in common if they are to run
// beside each other: names of processes, and requests that listeners take. The
// problems are of the later project.
func Clashes(projects []*Project) fault.Problems {
	var problems fault.Problems
	names, taken := map[string]*Process{}, requests{}
	for _, project := range projects {
		own := slices.SortedFunc(maps.Values(project.Processes), func(p, q *Process) int { return strings.Compare(p.Name, q.Name) })
		for _, p := range own {
			if first := names[p.Name]; first != nil {
				problems = append(problems, &fault.Problem{Pos: p.Pos, Code: CodeDuplicateName,
					Msg: "there is another process `" + cut(p.Name) + "` at " + first.Pos.String(), Hint: "rename one of them"})
				continue
			}
			names[p.Name] = p
			if problem := taken.take(p); problem != nil {
				problems = append(problems, problem)
			}
		}
	}
	return problems
}

// requests are those that listeners take: by method, and path without the names
// of its captures.
type requests map[string]*Process

// take adds what a process listens to. It gives a problem where another one
// takes it already.
func (r requests) take(p *Process) *fault.Problem {
	if p.Listen == nil || p.Listen.Path == "" {
		return nil
	}
	for _, m := range p.Listen.Methods {
		key := m + " " + shapeOf(p.Listen.Path)
		if first := r[key]; first != nil && first.Name != p.Name {
			return &fault.Problem{Pos: p.Listen.Pos, Code: CodeDuplicateListen,
				Msg:  m + " " + p.Listen.Path + " is taken by the process `" + first.Name + "` at " + first.Listen.Pos.String(),
				Hint: "change the path or the method of one of them"}
		}
		r[key] = p
	}
	return nil
}
