package tests

import (
	"fmt"
	"io"

	"github.com/alecthomas/kong"

	"valence/internal/cli/terminal"
	"valence/processes/testrun"
)

// coverageFlag is the format of the coverage: "", table or lcov. Without a value
// the flag means table.
type coverageFlag string

var _ kong.BoolMapperValue = (*coverageFlag)(nil)

// The formats of the coverage.
const (
	coverageTable coverageFlag = "table"
	coverageLCOV  coverageFlag = "lcov"
)

// IsBool reports that the flag needs no value.
func (*coverageFlag) IsBool() bool { return true }

// Decode reads the flag.
func (f *coverageFlag) Decode(ctx *kong.DecodeContext) error {
	*f = coverageTable
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	switch v := coverageFlag(ctx.Scan.Pop().String()); v {
	case coverageTable, coverageLCOV:
		*f = v
		return nil
	default:
		return fmt.Errorf("must be table or lcov but got %q", string(v))
	}
}

// printCoverage prints a table of the processes, and the steps and branches that
// did not run.
func printCoverage(w io.Writer, c *testrun.Coverage) error {
	table := terminal.Table{Head: []string{"process", "steps", "branches"}}
	var steps, branches []testrun.Covered
	var missed []testrun.Covered
	for _, p := range c.Processes {
		table.Add(p.Name, share(p.Steps), share(p.Branches))
		steps, branches = append(steps, p.Steps...), append(branches, p.Branches...)
		missed = append(missed, p.Missed()...)
	}
	table.Add("total", share(steps), share(branches))
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := table.Print(w); err != nil {
		return err
	}
	if len(missed) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w, "\nnot run:"); err != nil {
		return err
	}
	for _, m := range missed {
		if _, err := fmt.Fprintf(w, "  %s\n", m); err != nil {
			return err
		}
	}
	return nil
}

// share returns how much of a list ran.
func share(list []testrun.Covered) string {
	if len(list) == 0 {
		return "–"
	}
	n := testrun.Count(list)
	return fmt.Sprintf("%d/%d (%d%%)", n, len(list), 100*n/len(list))
}
