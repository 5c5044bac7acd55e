package testrun

import (
	"maps"
	"strings"

	"valence/processes"
)

// Run is one run of a test: of the test itself, or of one of its cases.
type Run struct {
	Test *processes.Test
	Case string // "" for a test without cases
	processes.TestSetup
	Expect *processes.Expectation // nil: the execution must not fail
}

// Name returns the name of the test, with its case.
func (r *Run) Name() string {
	if r.Case == "" {
		return r.Test.Name
	}
	return r.Test.Name + " / " + r.Case
}

// Plan returns the runs of a project whose name or process contains filter, in
// the order of the files.
func Plan(p *processes.Project, filter string) []*Run {
	filter = strings.ToLower(filter)
	var runs []*Run
	add := func(r *Run) {
		if strings.Contains(strings.ToLower(r.Name()), filter) || strings.Contains(r.Test.Target, filter) {
			runs = append(runs, r)
		}
	}
	for _, t := range p.Tests {
		if len(t.Cases) == 0 {
			add(&Run{Test: t, TestSetup: t.TestSetup, Expect: t.Expect})
		}
		for _, c := range t.Cases {
			r := &Run{Test: t, Case: c.Name, TestSetup: merge(t.TestSetup, c.TestSetup), Expect: t.Expect}
			if c.Expect != nil {
				r.Expect = c.Expect
			}
			add(r)
		}
	}
	return runs
}

// merge returns the setup of a test with the replacements of a case.
func merge(t, c processes.TestSetup) processes.TestSetup {
	if c.Input != nil {
		t.Input = c.Input
	}
	if c.Request != nil {
		t.Request = c.Request
	}
	if c.Props != nil {
		t.Props = c.Props
	}
	if c.State != nil {
		t.State = c.State
	}
	if c.Signals != nil {
		t.Signals = c.Signals
	}
	t.Env, t.Secrets = replaced(t.Env, c.Env), replaced(t.Secrets, c.Secrets)
	mocks := append([]*processes.Mock(nil), c.Mocks...)
	for _, m := range t.Mocks {
		if find(c.Mocks, m.Of) == nil {
			mocks = append(mocks, m)
		}
	}
	t.Mocks = mocks
	return t
}

func replaced(t, c map[string]string) map[string]string {
	all := maps.Clone(t)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, c)
	return all
}

func find(mocks []*processes.Mock, of string) *processes.Mock {
	for _, m := range mocks {
		if m.Of == of {
			return m
		}
	}
	return nil
}
