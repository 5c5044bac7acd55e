package testrun

import (
	"fmt"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// calls compares the calls of the run with the expected ones. Calls that only
// read are skipped unless they are expected.
func (c *checker) calls(want *processes.Expectation) {
	pairs := align(want.Calls, c.out.Calls)
	for _, p := range pairs {
		field := fmt.Sprintf("calls[%d]", p.index)
		switch {
		case p.want == nil:
			c.add(p.got.Step.Pos, Failure{Field: field, Want: nil, Got: summary(p.got), Note: "the run made a call that is not expected"})
		case p.got == nil:
			c.add(p.want.Pos, Failure{Field: field, Want: c.summaryOf(p.want), Got: nil, Note: "the run did not make this call"})
		default:
			c.call(field, want.Exact || p.want.Exact, p)
		}
	}
}

// call compares one call with the expected one.
func (c *checker) call(field string, exact bool, p pair) {
	if f := p.want.Body; f != nil {
		var got any
		if p.got.Body != nil {
			got = p.got.Body.Value()
		}
		c.differ(field+".body", compare(c.value(f), got, exact), func(path []string) fault.Pos { return c.fieldOf(p.got.BodyFrom, bodyKey(p.got), path) })
	}
	if f := p.want.With; f != nil {
		with := p.got.With
		if with == nil {
			with = &document.Object{}
		}
		c.differ(field+".with", compare(c.value(f), with, exact), func(path []string) fault.Pos { return c.fieldOf(p.got.Step, "with", path) })
	}
}

// bodyKey returns the key that holds the body in the step that made it.
func bodyKey(m *MadeCall) string {
	if m.BodyFrom == m.Step {
		return "body"
	}
	return m.BodyFrom.Kind
}

// summary describes a call that was made.
func summary(m *MadeCall) any {
	out := map[string]any{}
	if m.With != nil {
		out["with"] = plain(m.With)
	}
	if m.Body != nil {
		out["body"] = plain(m.Body.Value())
	}
	return map[string]any{m.Operation: out}
}

func (c *checker) summaryOf(w *processes.ExpectedCall) any {
	out := map[string]any{}
	if w.With != nil {
		out["with"] = c.expected(w.With)
	}
	if w.Body != nil {
		out["body"] = c.expected(w.Body)
	}
	return map[string]any{w.Of: out}
}

// pair is an expected call with the one that was made; one of them may be nil.
type pair struct {
	index int // in the expected calls
	want  *processes.ExpectedCall
	got   *MadeCall
}

// matches reports whether an expected call names a call.
func matches(w *processes.ExpectedCall, m *MadeCall) bool {
	return w.Of == m.Operation || w.Of == m.Step.Name && m.Step.Name != ""
}

// align pairs the expected calls with those that were made so that as few as
// possible are missing or not expected. Calls that only read may be left out.
func align(want []*processes.ExpectedCall, got []*MadeCall) []pair {
	cost := make([][]int, len(want)+1)
	for i := range cost {
		cost[i] = make([]int, len(got)+1)
	}
	extra := func(m *MadeCall) int {
		if m.Reads {
			return 0
		}
		return 1
	}
	for i := len(want); i >= 0; i-- {
		for j := len(got); j >= 0; j-- {
			switch {
			case i == len(want) && j == len(got):
			case i == len(want):
				cost[i][j] = cost[i][j+1] + extra(got[j])
			case j == len(got):
				cost[i][j] = cost[i+1][j] + 1
			default:
				cost[i][j] = min(cost[i][j+1]+extra(got[j]), cost[i+1][j]+1)
				if matches(want[i], got[j]) {
					cost[i][j] = min(cost[i][j], cost[i+1][j+1])
				}
			}
		}
	}
	var pairs []pair
	for i, j := 0, 0; i < len(want) || j < len(got); {
		switch {
		case i < len(want) && j < len(got) && matches(want[i], got[j]) && cost[i][j] == cost[i+1][j+1]:
			pairs = append(pairs, pair{i, want[i], got[j]})
			i, j = i+1, j+1
		case j < len(got) && cost[i][j] == cost[i][j+1]+extra(got[j]):
			if !got[j].Reads {
				pairs = append(pairs, pair{i, nil, got[j]})
			}
			j++
		default:
			pairs = append(pairs, pair{i, want[i], nil})
			i++
		}
	}
	return pairs
}
