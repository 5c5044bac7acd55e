package testrun

import (
	"context"
	"fmt"
	"slices"

	"valence/processes"
	"valence/processes/loader"
)

// KillAt runs each test once without a crash, and then again for each step, with
// a crash there and a restart. The failures of a result are the calls that reach
// a system twice without an idempotency key that it recognizes, the calls that
// are lost, and the results that change. Results that fail without a crash have
// the failures of the test instead.
func KillAt(ctx context.Context, engine Engine, p *processes.Project, files []processes.File, runs []*Run) []*Result {
	byName := map[string]processes.File{}
	for _, f := range files {
		byName[f.Name] = f
	}
	accepts := acceptances{loader.FindAcceptances(files), p}
	tests := make([]*crashTest, len(runs))
	parallel(len(runs), func(i int) {
		tests[i] = &crashTest{project: p, accepts: accepts}
		tests[i].begin(ctx, engine, byName, runs[i])
	})
	type crash struct {
		test  *crashTest
		point int
	}
	var crashes []crash
	for _, t := range tests {
		for i := range t.points {
			crashes = append(crashes, crash{t, i})
		}
	}
	parallel(len(crashes), func(i int) { crashes[i].test.crash(ctx, engine, crashes[i].point) })
	results := make([]*Result, len(runs))
	for i, t := range tests {
		results[i] = t.end()
	}
	return results
}

// crashTest is the crash test of one run.
type crashTest struct {
	project *processes.Project
	accepts acceptances
	result  *Result
	base    *Outcome // without a crash
	spare   map[*processes.MockAnswer]bool
	points  []int // events to crash at, counted from 1
	found   [][]Failure
}

// begin runs the test without a crash, and selects the points of the others.
func (t *crashTest) begin(ctx context.Context, engine Engine, files map[string]processes.File, r *Run) {
	answers := newMocks(r.Mocks)
	t.result = runOne(ctx, onDisk{engine, answers, 0}, t.project, files, r)
	if t.base = t.result.Outcome; t.base == nil || t.result.Status == Failed {
		return
	}
	t.spare, t.points = answers.unused(), points(t.base.Events)
	t.found, t.result.Crashes = make([][]Failure, len(t.points)), len(t.points)
}

// points selects the events to crash at: for each step and kind of event the
// first and the last one.
func points(events []Event) []int {
	type ends struct{ first, last int }
	at := map[Event]*ends{}
	for i, e := range events {
		if at[e] == nil {
			at[e] = &ends{first: i + 1}
		}
		at[e].last = i + 1
	}
	var list []int
	for _, e := range at {
		list = append(list, e.first, e.last)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// crash runs the test with a crash at a point.
func (t *crashTest) crash(ctx context.Context, engine Engine, i int) {
	r, event := t.result.Run, t.base.Events[t.points[i]-1]
	answers := newMocks(r.Mocks)
	answers.spare = t.spare
	out, err := runScenario(ctx, onDisk{engine, answers, t.points[i]}, t.project.Processes[r.Test.Target], r)
	if err != nil {
		t.found[i] = []Failure{{Field: "run", Want: "a run with a crash " + place(event), Got: err.Error(), File: r.Test.Pos.File, Line: r.Test.Pos.Line}}
		return
	}
	if n := t.points[i]; len(out.Events) != n || place(out.Events[n-1]) != place(event) {
		t.found[i] = []Failure{{Field: "run", Want: "a crash " + place(event), Got: "the run took another way, so nothing crashed there", File: r.Test.Pos.File, Line: r.Test.Pos.Line}}
		return
	}
	c := &comparison{test: t, event: event, base: newSide(t.base), out: newSide(out)}
	c.generated = NewGenerated(c.received()...)
	t.found[i] = c.compare()
}

// end returns the result with the findings of all crashes, each once.
func (t *crashTest) end() *Result {
	type finding struct {
		field, file string
		line        int
	}
	seen := map[finding]bool{}
	for _, list := range t.found {
		for _, f := range list {
			key := finding{f.Field, f.File, f.Line}
			if !seen[key] {
				seen[key] = true
				t.result.Failures = append(t.result.Failures, f)
			}
		}
	}
	if len(t.result.Failures) > 0 {
		t.result.Status = Failed
	}
	return t.result
}

// onDisk is an engine that crashes at an event.
type onDisk struct {
	Engine
	answers *mocks
	at      int
}

// Run implements Engine.
func (d onDisk) Run(ctx context.Context, s *Scenario) (*Outcome, error) {
	s.Answer, s.Crash = d.answers.answer, &Crash{At: d.at, Again: d.answers.again}
	return d.Engine.Run(ctx, s)
}

// place describes the place of a crash.
func place(e Event) string {
	text := fmt.Sprintf("%s in line %d", e.Kind, e.Step.Pos.Line)
	if e.Kind == AfterCall {
		text += ", before it was stored"
	}
	return text
}

// acceptances are the findings that comments of the project accept.
type acceptances struct {
	comments *loader.Acceptances
	project  *processes.Project
}

// repeats reports whether calls of a connection are accepted to repeat: the
// warning of lint, which names the first of them, covers all.
func (a acceptances) repeats(connection string) (accepted bool) {
	for _, p := range a.project.Processes {
		p.Steps.Each(func(s *processes.Step) {
			caller, ok := s.Settings.(processes.ExternalCaller)
			if ok && caller.ExternalCall().Operation.Connection == connection && a.comments.Accepts(s.Pos, processes.CodeRepeatableCall) {
				accepted = true
			}
		})
	}
	return accepted
}
