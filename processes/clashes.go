package processes

import (
	"sort"

	"valence/internal/fault"
)

// Clashes reports what projects cannot have in common if they are to run
// beside each other: names of processes, and requests that listeners take. The
// problems are of the later project.
func Clashes(projects []*Project) fault.Problems {
	var problems fault.Problems
	names, listeners := map[string]*Process{}, map[string]*Process{}
	for _, project := range projects {
		own := make([]*Process, 0, len(project.Processes))
		for _, p := range project.Processes {
			own = append(own, p)
		}
		sort.Slice(own, func(i, j int) bool { return own[i].Name < own[j].Name })
		for _, p := range own {
			if first := names[p.Name]; first != nil {
				problems = append(problems, &fault.Problem{Pos: p.Pos, Code: CodeDuplicateName,
					Msg: "there is another process `" + cut(p.Name) + "` at " + first.Pos.String(), Hint: "rename one of them"})
				continue
			}
			names[p.Name] = p
			if p.Listen == nil {
				continue
			}
			shape := shapeOf(p.Listen.Path)
			for _, m := range p.Listen.Methods {
				first := listeners[m+" "+shape]
				if first == nil {
					listeners[m+" "+shape] = p
					continue
				}
				problems = append(problems, &fault.Problem{Pos: p.Listen.Pos, Code: CodeDuplicateListen,
					Msg:  m + " " + p.Listen.Path + " is taken by the process `" + first.Name + "` at " + first.Listen.Pos.String(),
					Hint: "change the path or the method of one of them"})
				break
			}
		}
	}
	return problems
}
