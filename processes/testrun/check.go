package testrun

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
)

// Failure is one expectation that is not met.
type Failure struct {
	Field string `json:"field"`
	Want  any    `json:"want"`
	Got   any    `json:"got"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
	Note  string `json:"note,omitempty"` // the cause, or the remedy
}

// maxFailures bounds the failures that a run reports one by one.
const maxFailures = 50

// checker compares the outcome of a run with the expectations of its test.
type checker struct {
	files  map[string]processes.File
	run    *Run
	out    *Outcome
	found  []Failure
	more   int                          // failures that are only counted
	parsed map[string]*loader.Positions // by file
}

func (c *checker) add(at fault.Pos, f Failure) {
	if len(c.found) == maxFailures {
		c.more++
		return
	}
	f.File, f.Line = at.File, at.Line
	c.found = append(c.found, f)
}

// check returns the failures of a run.
func (c *checker) check() []Failure {
	want := c.run.Expect
	if want == nil {
		want = &processes.Expectation{Pos: c.run.Test.Pos}
	}
	for _, call := range c.out.Unanswered {
		c.unanswered(call)
	}
	for _, err := range c.out.Broken {
		c.broken(err)
	}
	if len(c.found) > 0 {
		return c.found // everything else may be a consequence
	}
	c.status(want)
	if want.Took != nil && !want.Took.Admits(c.out.Took) {
		c.add(want.Pos, Failure{Field: "took", Want: want.Took.Operator + " " + spec.FormatDuration(want.Took.Duration), Got: duration(c.out.Took)})
	}
	if want.CallsSet {
		c.calls(want)
	}
	c.reply(want)
	if want.Error != nil {
		c.error(want)
	}
	if want.LogSet {
		c.log(want)
	}
	for _, i := range c.out.Unused {
		s := c.run.Signals[i]
		c.add(s.Pos, Failure{Field: "signals[" + strconv.Itoa(i) + "]", Want: "a wait " + s.Wait, Got: nil, Note: "no execution waited for " + s.Wait + " at the time of the signal"})
	}
	return c.found
}

// unanswered reports a call without a mock, with the mock to add.
func (c *checker) unanswered(call *Call) {
	name, body := call.Operation, any(nil)
	if call.Body != nil {
		body = plain(call.Body.Value())
	}
	got := map[string]any{"with": plain(call.With), "body": body}
	note := "try: add under `mocks:` its answer: " + name + ": { reply: {} }"
	if find(c.run.Mocks, name) != nil || call.Step.Name != "" && find(c.run.Mocks, call.Step.Name) != nil {
		note = "no `when:` of the mock is true; try: add a last answer without `when:`: - { reply: {} }"
	}
	c.add(call.Step.Pos, Failure{Field: "mocks." + name, Want: "a mock for the call", Got: got, Note: note})
}

// broken reports a mock whose expressions or file failed.
func (c *checker) broken(err error) {
	at, text := c.run.Test.Pos, err.Error()
	if f := fault.AsFailure(err); f.Pos.Line > 0 {
		at = f.Pos
	}
	c.add(at, Failure{Field: "mocks", Want: "an answer", Got: text})
}

// succeeded are the statuses of a run that has not failed.
var succeeded = []string{"completed", "completed_with_warnings", "filtered", "echo"}

func (c *checker) status(want *processes.Expectation) {
	got := c.out.Status
	at, note := c.failedAt(), ""
	if at.Line == 0 {
		at = want.Pos
	}
	if c.out.Error != nil && want.Status != got {
		note = failureText(c.out.Error)
	}
	switch {
	case want.Status == "" && want.Error == nil && !slices.Contains(succeeded, got):
		c.add(at, Failure{Field: "status", Want: "completed", Got: got, Note: note})
	case want.Status != "" && want.Status != got:
		c.add(at, Failure{Field: "status", Want: want.Status, Got: got, Note: note})
	}
	for _, h := range c.out.HandedOff {
		if !slices.Contains(succeeded, h.Status) && want.Status != h.Status {
			c.add(want.Pos, Failure{Field: "status of " + h.Process, Want: "completed", Got: h.Status, Note: failureText(h.Error)})
		}
	}
}

// errorView is the part of a failure that messages show.
type errorView struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Step     string `json:"step"`
	Position string `json:"position"`
}

func viewOf(text []byte) (v errorView) {
	if len(text) > 0 {
		_ = json.Unmarshal(text, &v) // written by the engine
	}
	return v
}

func failureText(text []byte) string {
	v := viewOf(text)
	if v.Code == "" {
		return ""
	}
	return v.Code + ": " + v.Message
}

// failedAt returns the position of the step that failed.
func (c *checker) failedAt() fault.Pos { return parsePos(viewOf(c.out.Error).Position) }

// parsePos reads FILE:LINE:COL; the zero position if it is not one.
func parsePos(text string) fault.Pos {
	parts := strings.Split(text, ":")
	if len(parts) < 3 {
		return fault.Pos{}
	}
	line, err := strconv.Atoi(parts[len(parts)-2])
	if err != nil {
		return fault.Pos{}
	}
	col, _ := strconv.Atoi(parts[len(parts)-1])
	return fault.Pos{File: strings.Join(parts[:len(parts)-2], ":"), Line: line, Col: col}
}

func (c *checker) reply(want *processes.Expectation) {
	at := want.Pos
	if step := c.out.ReplyFrom; step != nil {
		at = step.Pos
	}
	if want.ReplyStatus != 0 && want.ReplyStatus != c.out.ReplyStatus {
		c.add(at, Failure{Field: "reply_status", Want: want.ReplyStatus, Got: c.out.ReplyStatus})
	}
	if want.Reply == nil {
		return
	}
	if c.out.Reply == nil {
		c.add(want.Pos, Failure{Field: "reply", Want: c.expected(want.Reply), Got: nil})
		return
	}
	first := len(c.found)
	defer func() { c.explainReply(want.Reply, first) }()
	c.differ("reply", compare(c.value(want.Reply), c.out.Reply.Value(), want.Exact), func(path []string) fault.Pos {
		if step := c.out.ReplyFrom; step != nil {
			return c.fieldOf(step, "reply", path)
		}
		return at
	})
}

// explainReply adds a note to the differences since first if the expectation
// describes a response in place of its document.
func (c *checker) explainReply(f *processes.Fixture, first int) {
	want, ok := document.Decode(c.value(f)).(*document.Object)
	if !ok || len(c.found) == first || want.Len() == 0 {
		return
	}
	got, _ := document.Decode(c.out.Reply.Value()).(*document.Object)
	for i := range want.Len() {
		key, _ := want.At(i)
		if key != "body" && key != "status" && key != "headers" {
			return
		}
		if got != nil {
			if _, has := got.Get(key); has {
				return
			}
		}
	}
	c.found[first].Note = "`reply:` is the document itself; try: write its fields below `reply:` without `body:`, and the status as `reply_status:`"
}

// value returns the value of an expected fixture. A broken file is a failure.
func (c *checker) value(f *processes.Fixture) any {
	doc, err := fixtureDocument(f, convert.Received{})
	if err != nil {
		c.add(f.Pos, Failure{Field: "expect", Want: "a document", Got: err.Error()})
		return nil
	}
	return doc.Value()
}

func (c *checker) expected(f *processes.Fixture) any { return plain(c.value(f)) }

// differ adds the differences in a document. at returns the position of a field.
func (c *checker) differ(root string, list []difference, at func(path []string) fault.Pos) {
	for i, d := range list {
		if len(c.found) == maxFailures {
			c.more += len(list) - i
			return
		}
		c.add(at(d.path), Failure{Field: fieldName(root, d.path), Want: plain(d.want), Got: plain(d.got)})
	}
}

// fieldOf returns the position of a field in the value of a step's key.
func (c *checker) fieldOf(step *processes.Step, key string, path []string) fault.Pos {
	return c.positions(step.Pos.File).Field(step.Pos, append([]string{key}, path...)...)
}

func (c *checker) error(want *processes.Expectation) {
	at := cmp.Or(c.failedAt(), want.Pos)
	if c.out.Error == nil {
		c.add(at, Failure{Field: "error", Want: c.expected(want.Error), Got: nil})
		return
	}
	c.differ("error", compare(c.value(want.Error), document.Parse(string(c.out.Error)), false), func([]string) fault.Pos { return at })
}

func (c *checker) log(want *processes.Expectation) {
	rest := c.out.Log
	for i, line := range want.Log {
		at := slices.Index(rest, line)
		if at < 0 {
			c.add(want.Pos, Failure{Field: fmt.Sprintf("log[%d]", i), Want: line, Got: c.out.Log})
			return
		}
		rest = rest[at+1:]
	}
}

// positions returns the positions in a file, which is parsed once.
func (c *checker) positions(file string) *loader.Positions {
	p := c.parsed[file]
	if p == nil {
		if c.parsed == nil {
			c.parsed = map[string]*loader.Positions{}
		}
		p = loader.NewPositions(c.files[file])
		c.parsed[file] = p
	}
	return p
}

// plain returns a value as encoding/json writes it, with its numbers unchanged.
func plain(v any) any {
	if o, ok := v.(*document.Object); ok && o == nil || v == nil {
		return nil
	}
	return json.RawMessage(document.AppendJSON(nil, v))
}
