package testrun

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"valence/internal/fault"
	"valence/processes"
)

// Coverage is how often the steps and branches of a project's processes ran in
// its tests. A branch is a list of steps of a step, such as `then:`.
type Coverage struct {
	Processes []*ProcessCoverage // by file and line
}

// ProcessCoverage is the coverage of one process.
type ProcessCoverage struct {
	Name     string
	Pos      fault.Pos
	Steps    []Covered
	Branches []Covered
}

// Covered is a step or a branch with the number of its runs.
type Covered struct {
	Step     *processes.Step // of a branch: the step that has it
	StepRuns int
	Branch   string // its key and name; "" for a step
	Runs     int

	block processes.Block // of the branch
}

// NewCoverage returns the coverage of a project by the runs of results.
func NewCoverage(p *processes.Project, results []*Result) *Coverage {
	ran := map[fault.Pos]int{}
	for _, r := range results {
		if r.Outcome == nil {
			continue
		}
		for pos, n := range r.Outcome.Steps {
			ran[pos] += n
		}
	}
	c := &Coverage{}
	for _, process := range p.Processes {
		pc := &ProcessCoverage{Name: process.Name, Pos: process.Pos}
		pc.add(process.Steps, ran)
		c.Processes = append(c.Processes, pc)
	}
	slices.SortFunc(c.Processes, func(a, b *ProcessCoverage) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
	return c
}

// add adds a block, and returns how often its most frequent step ran.
func (c *ProcessCoverage) add(block processes.Block, ran map[fault.Pos]int) (most int) {
	for _, s := range block {
		runs := ran[s.Pos]
		c.Steps = append(c.Steps, Covered{Step: s, StepRuns: runs, Runs: runs})
		for _, l := range s.Lists {
			at := len(c.Branches)
			c.Branches = append(c.Branches, Covered{Step: s, StepRuns: runs, Branch: strings.TrimSpace(l.Key + ": " + l.Name), block: l.Steps})
			c.Branches[at].Runs = c.add(l.Steps, ran)
		}
		most = max(most, runs)
	}
	return most
}

// Count returns how many of a list ran.
func Count(list []Covered) (n int) {
	for _, c := range list {
		if c.Runs > 0 {
			n++
		}
	}
	return n
}

// Missed returns the steps and branches that did not run, by position. Those
// inside a missed step or branch are left out.
func (c *ProcessCoverage) Missed() (list []Covered) {
	inner := map[*processes.Step]bool{}
	for _, b := range c.Branches {
		if b.Runs == 0 {
			if b.StepRuns > 0 {
				list = append(list, b)
			}
			hide(b.block, inner)
		}
	}
	for _, s := range c.Steps {
		if s.Runs == 0 && !inner[s.Step] {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b Covered) int {
		return cmp.Or(cmp.Compare(a.Step.Pos.Line, b.Step.Pos.Line), cmp.Compare(a.Step.Pos.Col, b.Step.Pos.Col))
	})
	return list
}

// String returns the position and the name.
func (c Covered) String() string {
	if c.Branch != "" {
		return fmt.Sprintf("%s: `%s` of %s", c.Step.Pos, c.Branch, c.Step.Label())
	}
	return fmt.Sprintf("%s: %s", c.Step.Pos, c.Step.Label())
}

// hide adds the steps of a block and of its branches.
func hide(block processes.Block, hidden map[*processes.Step]bool) {
	for _, s := range block {
		hidden[s] = true
		for _, l := range s.Lists {
			hide(l.Steps, hidden)
		}
	}
}

// WriteLCOV writes the coverage in the format of lcov. The count of a line is
// that of its most frequent step.
func (c *Coverage) WriteLCOV(w io.Writer) error {
	b := bufio.NewWriter(w)
	for i := 0; i < len(c.Processes); {
		file, lines := c.Processes[i].Pos.File, map[int]int{}
		var branches []Covered
		for ; i < len(c.Processes) && c.Processes[i].Pos.File == file; i++ {
			for _, s := range c.Processes[i].Steps {
				lines[s.Step.Pos.Line] = max(lines[s.Step.Pos.Line], s.Runs)
			}
			branches = append(branches, c.Processes[i].Branches...)
		}
		hit := 0
		fmt.Fprintf(b, "TN:\nSF:%s\n", file)
		for _, line := range slices.Sorted(maps.Keys(lines)) {
			fmt.Fprintf(b, "DA:%d,%d\n", line, lines[line])
			if lines[line] > 0 {
				hit++
			}
		}
		fmt.Fprintf(b, "LF:%d\nLH:%d\n", len(lines), hit)
		for n, branch := range branches {
			taken := "-" // its step did not run
			if branch.StepRuns > 0 || branch.Runs > 0 {
				taken = fmt.Sprint(branch.Runs)
			}
			fmt.Fprintf(b, "BRDA:%d,0,%d,%s\n", branch.Step.Pos.Line, n, taken)
		}
		fmt.Fprintf(b, "BRF:%d\nBRH:%d\nend_of_record\n", len(branches), Count(branches))
	}
	return b.Flush()
}
