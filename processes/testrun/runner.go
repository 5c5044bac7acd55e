package testrun

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"valence/internal/fault"
	"valence/processes"
)

// The statuses of a Result.
const (
	Passed = "passed"
	Failed = "failed"
)

// Result is the result of one run.
type Result struct {
	Name     string    `json:"name"`
	Case     string    `json:"case"`
	Status   string    `json:"status"`
	Crashes  int       `json:"crashes,omitempty"` // runs with a crash
	Failures []Failure `json:"failures"`
	More     int       `json:"more,omitempty"` // failures that are not listed

	Run     *Run     `json:"-"`
	Outcome *Outcome `json:"-"` // nil if the run could not start
}

// RunAll runs tests, several at a time, and returns their results in the same
// order.
func RunAll(ctx context.Context, engine Engine, p *processes.Project, files []processes.File, runs []*Run) []*Result {
	byName := map[string]processes.File{}
	for _, f := range files {
		byName[f.Name] = f
	}
	results := make([]*Result, len(runs))
	parallel(len(runs), func(i int) { results[i] = runOne(ctx, engine, p, byName, runs[i]) })
	return results
}

// parallel calls f with 0 to n-1, several at a time.
func parallel(n int, f func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

func runOne(ctx context.Context, engine Engine, p *processes.Project, files map[string]processes.File, r *Run) *Result {
	result := &Result{Name: r.Test.Name, Case: r.Case, Status: Passed, Failures: []Failure{}, Run: r}
	out, err := runScenario(ctx, engine, p.Processes[r.Test.Target], r)
	if err != nil {
		f := Failure{Field: "run", Want: "a run", Got: err.Error(), File: r.Test.Pos.File, Line: r.Test.Pos.Line}
		var wrong *fault.Problem
		if errors.As(err, &wrong) {
			f.File, f.Line, f.Got, f.Note = wrong.Pos.File, wrong.Pos.Line, wrong.Msg, "try: "+wrong.Hint
		}
		result.Failures = append(result.Failures, f)
	} else {
		result.Outcome = out
		c := &checker{files: files, run: r, out: out}
		result.Failures, result.More = append(result.Failures, c.check()...), c.more
	}
	if len(result.Failures) > 0 {
		result.Status = Failed
	}
	return result
}

// runScenario runs a scenario. A panic is a bug of the runtime; it fails this
// test only.
func runScenario(ctx context.Context, engine Engine, target *processes.Process, r *Run) (out *Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the runtime panicked: %v", p)
		}
	}()
	s, err := r.Scenario(target)
	if err != nil {
		return nil, err
	}
	return engine.Run(ctx, s)
}
