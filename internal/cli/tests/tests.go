// Package tests has the command that runs the tests of a project.
package tests

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"valence/atom/sandbox"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/processes"
	"valence/processes/testrun"
)

// Command runs the tests of a project.
type Command struct {
	Paths    []string     `arg:"" optional:"" files:"" help:"Folders and files of the project; default: the current folder."`
	Filter   string       `placeholder:"TEXT" help:"Only tests whose name, case or process contains this text."`
	Format   string       `enum:"text,json,junit" default:"text" help:"Output format: text, json or junit."`
	Coverage coverageFlag `help:"Also print which steps and branches ran. With --coverage=lcov, print this in the format of lcov, and the results to stderr."`
	KillAt   string       `placeholder:"every-step" enum:",every-step" default:"" help:"Run each test once per step, with a crash of the atom at this step and a restart."`
	Watch    bool         `help:"Run the tests again when files of the project change, until the command is interrupted."`

	recordFlags `embed:"" group:"With --record:"`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Each test component runs its process in a real engine, in which mocks answer the
calls and time is virtual. Nothing is sent, and no value or secret of this
machine is read. The exit code is 1 if a test fails.

With --watch, the command reads the files of the project twice a second. When
they change, it runs the tests again. It ends with exit code 0 when it is
interrupted, for example with Ctrl-C.

With --kill-at=every-step, each test runs on the store of an atom, without a crash
and then once per step with a crash there: before a call, after its answer and
before that is stored, and after other steps. The atom then starts again on its
data. The report lists the calls that reach a system twice although their
connection does not declare that this is safe, calls that are lost, and results
that change. "# accept: CODE because ..." accepts one.

With --record, the process runs once, in this command: its connections make real
calls with the values and secrets of this machine, and change the other systems. The
test and its fixtures are written next to the other tests, and the test then runs with
its mocks. Secrets and values become placeholders, and values that change with each
run, such as times and UUIDs, are not expected. Pauses are skipped, and another
attempt of a call waits 10 seconds at most. No file is overwritten.

Examples:

    valence test
    valence test orders/ --filter order-sync
    valence test orders/ --format junit > tests.xml
    valence test orders/ --watch
    valence test orders/ --kill-at=every-step
    valence test orders/ --record 'an order is invoiced' --process order-sync --document '{"id": 4711}'
    valence test orders/ --coverage
    valence test orders/ --coverage=lcov > tests.lcov
`
}

// Run runs the tests.
func (c *Command) Run(s *terminal.Streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.checkRecord(); err != nil {
		return err
	}
	if c.Record != "" {
		return c.record(ctx, s)
	}
	if c.Coverage != "" && c.Format != "text" {
		return clierror.Usage("valence test without --format, or without --coverage", "--coverage prints no --format %s", c.Format)
	}
	if c.KillAt != "" && (c.Coverage != "" || c.Watch) {
		return clierror.Usage("valence test --kill-at=every-step", "--kill-at has neither --coverage nor --watch")
	}
	if c.Watch {
		if c.Format != "text" || c.Coverage == coverageLCOV {
			return clierror.Usage("valence test --watch, with --coverage or without", "--watch prints only text and tables")
		}
		return c.watch(ctx, s)
	}
	return c.runOnce(ctx, s)
}

// runOnce reads the project and runs its tests.
func (c *Command) runOnce(ctx context.Context, s *terminal.Streams) error {
	p, err := project.LoadValid(c.Paths, s.Err)
	if err != nil {
		return err
	}
	runs := testrun.Plan(p.Project, c.Filter)
	if len(runs) == 0 && c.Filter != "" {
		return clierror.Invalid("valence test without --filter, to run all tests", "no test matches %q", c.Filter)
	}
	start := time.Now()
	test := testrun.RunAll
	if c.KillAt != "" {
		test = testrun.KillAt
	}
	results := test(ctx, sandbox.New(p.Project), p.Project, p.Files, runs)
	if err := ctx.Err(); err != nil {
		return clierror.Failed("run the command again", "the tests were interrupted")
	}
	if err := c.print(s, p.Project, results, time.Since(start)); err != nil {
		return err
	}
	if testrun.Failures(results) > 0 {
		return clierror.Reported{Code: clierror.ExitInvalid}
	}
	return nil
}

// print prints the results and their coverage.
func (c *Command) print(s *terminal.Streams, p *processes.Project, results []*testrun.Result, took time.Duration) error {
	switch {
	case c.Format == "json":
		return terminal.EncodeJSON(s.Out, testrun.Report{Tests: results})
	case c.Format == "junit":
		return testrun.WriteJUnit(s.Out, results)
	case c.Coverage == coverageLCOV:
		if err := printResults(s.Err, results, took); err != nil {
			return err
		}
		return testrun.NewCoverage(p, results).WriteLCOV(s.Out)
	}
	if err := printResults(s.Out, results, took); err != nil || c.Coverage == "" {
		return err
	}
	return printCoverage(s.Out, testrun.NewCoverage(p, results))
}

func printResults(w io.Writer, results []*testrun.Result, took time.Duration) error {
	if err := testrun.WriteText(w, results, true); err != nil {
		return err
	}
	failed, crashes, ran := testrun.Failures(results), 0, terminal.Count(len(results), "test", "tests")
	for _, r := range results {
		crashes += r.Crashes
	}
	if crashes > 0 {
		ran += ", " + terminal.Count(crashes, "crash", "crashes")
	}
	_, err := fmt.Fprintf(w, "%s: %d passed, %d failed (%s)\n", ran, len(results)-failed, failed, took.Round(time.Millisecond))
	return err
}
