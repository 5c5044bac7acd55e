package operate

import (
	"fmt"
	"strings"
	"time"

	"valence/atom/run"
	"valence/internal/cli/terminal"
)

// Bounds of the summary of a loop: an element beyond the first ones, the failed
// ones and the last one is only counted.
const (
	shownFirst  = 1
	shownFailed = 10
)

// stepNode is a step with the steps that ran in it.
type stepNode struct {
	*stepView
	children []*stepNode
}

// writeSteps writes steps as a tree. Unless all is set, it summarizes long loops.
func writeSteps(b *strings.Builder, steps []stepView, all bool) {
	var roots []*stepNode
	nodes := make(map[string]*stepNode, len(steps))
	for i := range steps {
		n := &stepNode{stepView: &steps[i]}
		nodes[n.Path] = n
		if parent := nodes[n.Parent]; parent != nil && n.Parent != "" {
			parent.children = append(parent.children, n)
		} else {
			roots = append(roots, n)
		}
	}
	w := stepWriter{b, all}
	w.list(roots, "  ")
}

type stepWriter struct {
	*strings.Builder
	all bool
}

// list writes the steps of one step, and a heading before those of each element
// of a loop and of each path.
func (w stepWriter) list(nodes []*stepNode, indent string) {
	groups := groupsOf(nodes)
	skipped := skippedGroups(groups)
	for i := 0; i < len(groups); i++ {
		if n := skipped[i]; n > 0 && !w.all {
			fmt.Fprintf(w, "%s… %s (--all shows them)\n", indent, terminal.Count(n, "more element", "more elements"))
			i += n - 1
			continue
		}
		g := groups[i]
		inner := indent
		if g.label != "" {
			fmt.Fprintf(w, "%s%s\n", indent, terminal.Line(g.label))
			inner += "  "
		}
		for _, n := range g.nodes {
			n.write(w.Builder, inner)
			w.list(n.children, inner+"  ")
		}
	}
}

// stepGroup are the steps of one element of a loop or of one path.
type stepGroup struct {
	label   string // "" for the steps of a list without a name
	element bool
	failed  bool
	nodes   []*stepNode
}

func groupsOf(nodes []*stepNode) []*stepGroup {
	var groups []*stepGroup
	for _, n := range nodes {
		label, element := labelOf(n.stepView)
		if len(groups) == 0 || groups[len(groups)-1].label != label {
			groups = append(groups, &stepGroup{label: label, element: element})
		}
		g := groups[len(groups)-1]
		g.nodes = append(g.nodes, n)
		g.failed = g.failed || n.Outcome == "failed"
	}
	return groups
}

// labelOf returns the element or the path that a step belongs to, within its
// parent.
func labelOf(s *stepView) (label string, element bool) {
	if s.Parent == "" || strings.HasPrefix(s.Path, s.Parent+"/") {
		return "", false
	}
	if at := run.ElementOf(s.Path); at >= 0 && strings.Count(s.Path, "[") > strings.Count(s.Parent, "[") {
		return fmt.Sprintf("element %d", at), true
	}
	parent, _, _ := strings.Cut(s.Parent, "[")
	path, _, _ := strings.Cut(strings.TrimPrefix(s.Path, parent+"."), "[")
	list := path[:max(strings.LastIndexByte(path, '.'), 0)]
	if list == "steps" {
		return "", false
	}
	return list[strings.IndexByte(list, '.')+1:], false
}

// skippedGroups returns the number of elements that a summary leaves out, by the
// index of the first one of each run of them.
func skippedGroups(groups []*stepGroup) map[int]int {
	skipped, failed, start := map[int]int{}, 0, -1
	for i, g := range groups {
		show := !g.element || i < shownFirst || i == len(groups)-1
		if g.failed && !show {
			failed++
			show = failed <= shownFailed
		}
		switch {
		case show:
			start = -1
		case start < 0:
			start = i
			skipped[start] = 1
		default:
			skipped[start]++
		}
	}
	for i, n := range skipped {
		if n == 1 { // the summary would be as long
			delete(skipped, i)
		}
	}
	return skipped
}

// write writes the step and, indented below it, its log, error, document and
// variables.
func (s *stepView) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%-8s %s", indent, s.Outcome, s.Kind)
	if s.Operation != "" {
		fmt.Fprintf(b, " %s", s.Operation)
	}
	if s.Name != "" {
		fmt.Fprintf(b, " %s", terminal.Line(s.Name))
	}
	b.WriteString("  (")
	if s.Position != "" {
		b.WriteString(s.Position + ", ")
	}
	b.WriteString(terminal.Duration(time.Duration(s.TookMS * float64(time.Millisecond))))
	if s.Status != 0 {
		fmt.Fprintf(b, ", status %d", s.Status)
	}
	if s.Attempts > 1 {
		fmt.Fprintf(b, ", %d attempts", s.Attempts)
	}
	b.WriteString(")\n")
	below := func(text string) {
		fmt.Fprintf(b, "%s  %s\n", indent, strings.ReplaceAll(text, "\n", "\n"+indent+"  "))
	}
	if s.Log != "" {
		below(s.Log)
	}
	if s.Error != nil {
		below(s.Error.Code + ": " + s.Error.Message)
	}
	if s.Document != nil {
		below(s.Document.text())
	}
	if len(s.Set) > 0 {
		below("set " + (&documentView{Data: s.Set}).text())
	}
}
