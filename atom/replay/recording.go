package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/mask"
	"valence/processes"
	"valence/processes/testrun"
)

// Statuses returns the statuses of executions that can be replayed: those that
// ended by themselves.
func Statuses() []string {
	return []string{string(store.Completed), string(store.CompletedWithWarnings), string(store.Failed), string(store.Rejected)}
}

// Version is the new version of a process. It may be used by many goroutines.
type Version struct {
	process *processes.Process
	engine  testrun.Engine
	env     map[string]string
	reads   map[string]bool // request, response, props and readHeaders, if its files name them
	missing string          // why no execution can be replayed; ""
}

// New returns the new version of a process. files are those of its project, and
// env the values that its expressions read.
func New(files []processes.File, process *processes.Process, engine testrun.Engine, env map[string]string) *Version {
	v := &Version{process: process, engine: engine, env: env, reads: map[string]bool{}}
	for _, f := range files {
		for _, name := range []string{"request", "response", "props", readHeaders} {
			if regexp.MustCompile(`\b` + name + `\b`).Match(f.Content) {
				v.reads[name] = true
			}
		}
	}
	process.Steps.Each(func(s *processes.Step) {
		repeats, ok := s.Settings.(processes.Repeater)
		switch {
		case s.Kind == "changes":
			v.missing = "the process compares with the records of its last run, which the history does not have"
		case s.Kind == "wait":
			v.missing = "the process waits for signals, which the history does not have"
		case ok && repeats.Repeats().Pages:
			v.missing = "the process reads pages, which the history does not have"
		}
	})
	return v
}

// readHeaders matches an expression that reads the headers of an answer.
const readHeaders = `response\b[^}]*\bheaders`

// unable is the reason why an execution cannot be replayed.
type unable string

// maxKept bounds the memory of a replay: it runs on an atom that works.
const maxKept = 64 << 20

// redactedText replaces values that are not stored.
const redactedText = `"[redacted]"`

// scenario returns the run of an execution, or why it cannot be replayed.
func (v *Version) scenario(then *atom.ExecutionView, answers *answers) (*testrun.Scenario, unable) {
	s := &testrun.Scenario{Process: v.process.Name, Input: document.Empty, Env: v.env, Answer: answers.answer, Start: then.ReceivedAt, Alone: true, MaxKept: maxKept}
	switch {
	case v.missing != "":
		return nil, unable(v.missing)
	case then.StepsDropped > 0:
		return nil, "it has more steps than its record"
	case then.DocumentsDropped:
		return nil, "its documents are no longer stored"
	case then.Original != "":
		return nil, "it runs a failed execution again"
	case v.process.State:
		i := slices.IndexFunc(then.Steps, func(s atom.StepView) bool { return s.Document != nil && strings.HasPrefix(s.Kind, "state ") })
		if i < 0 {
			return nil, "the state that it read is not stored"
		}
		doc, _ := documentOf(then.Steps[i].Document)
		s.State, _ = document.Decode(doc.Value()).(*document.Object)
	}
	lacks := map[string]bool{"request": !then.Durable && len(then.Request) == 0, "props": !then.Durable && len(then.Props) == 0, "response": !then.Durable}
	for _, name := range []string{"request", "props", "response"} {
		if v.reads[name] && lacks[name] {
			return nil, unable("it ran in memory, and its record has no `" + name + "`, which the project reads")
		}
	}
	if then.Input != nil {
		doc, ok := documentOf(then.Input)
		if !ok {
			return nil, unable("its input, " + then.Input.MediaType + ", is not stored with its data view")
		}
		s.Input = doc
	}
	if len(then.Props) > 0 {
		s.Props, _ = document.Decode(document.Parse(string(then.Props))).(*document.Object)
	}
	s.Request = requestOf(then.Request)
	if name := answers.maskedHeader(); name != "" && v.reads[readHeaders] {
		return nil, unable("the header " + name + " of an answer is a credential, which its record does not show, and the project reads headers")
	}
	return s, answers.unable()
}

// documentOf returns a document that is stored in full.
func documentOf(v *atom.DocumentView) (*document.Document, bool) {
	data, isJSON := v.Data.(json.RawMessage)
	if !isJSON && v.Data != nil {
		text, err := json.Marshal(v.Data)
		if err != nil {
			return nil, false
		}
		data, isJSON = text, true
	}
	switch {
	case isJSON:
		return document.FromJSON(data), !strings.Contains(string(data), redactedText)
	case v.Base64 == "" && strings.HasPrefix(v.MediaType, "text/plain"):
		return document.FromText(v.Text), true
	}
	return nil, false
}

// requestOf returns the stored request.
func requestOf(text json.RawMessage) *testrun.Request {
	var stored struct {
		Method, Path, User string
		Params             map[string]string
		Query, Headers     map[string]any
	}
	if len(text) == 0 || json.Unmarshal(text, &stored) != nil {
		return nil
	}
	r := &testrun.Request{Method: stored.Method, Path: stored.Path, User: stored.User, Query: url.Values{}, Header: http.Header{}}
	for name, value := range stored.Params {
		r.Params = append(r.Params, processes.NamedText{Name: name, Value: value})
	}
	each := func(from map[string]any, add func(name, value string)) {
		for name, value := range from {
			list, ok := value.([]any)
			if !ok {
				list = []any{value}
			}
			for _, one := range list {
				add(name, fmt.Sprint(one))
			}
		}
	}
	each(stored.Query, r.Query.Add)
	each(stored.Headers, r.Header.Add)
	return r
}

// answers are the recorded answers of an execution's calls.
type answers struct {
	list    []*recorded
	durable bool
	missing []string // operations that were called and have no recorded answer
}

// recorded is one answer.
type recorded struct {
	step *atom.StepView
	used bool
}

func newAnswers(then *atom.ExecutionView) *answers {
	a := &answers{durable: then.Durable}
	for i := range then.Steps {
		if s := &then.Steps[i]; s.Operation != "" && s.Kind == "call" && (s.Outcome == "ok" || s.Outcome == "failed") {
			a.list = append(a.list, &recorded{step: s})
		}
	}
	return a
}

// maskedHeader returns the name of a header whose value the record does not show
// in full, or "".
func (a *answers) maskedHeader() string {
	for _, r := range a.list {
		for _, name := range slices.Sorted(maps.Keys(r.step.Headers)) {
			if slices.ContainsFunc(r.step.Headers[name], func(v string) bool { return strings.Contains(v, mask.Text) }) {
				return name
			}
		}
	}
	return ""
}

// unable returns why the answers are not complete.
func (a *answers) unable() unable {
	for _, r := range a.list {
		if d := r.step.Document; d != nil && r.step.Outcome == "ok" {
			if _, ok := documentOf(d); !ok {
				return unable("the answer of " + r.step.Operation + ", " + cmp.Or(d.MediaType, "without a type") + ", is redacted or not stored with its data view")
			}
		}
	}
	return ""
}

// answer answers a call: as the same occurrence, or as the next of its operation.
func (a *answers) answer(c *testrun.Call) testrun.Answer {
	var next *recorded
	for _, r := range a.list {
		if r.used && r.step.Path == c.Key && r.step.Operation == c.Operation && r.retryable() {
			return r.answer(c, a.durable)
		}
		if r.used || r.step.Operation != c.Operation {
			continue
		}
		if r.step.Path == c.Key {
			next = r
			break
		}
		if next == nil {
			next = r
		}
	}
	if next == nil {
		a.missing = append(a.missing, c.Operation)
		return testrun.Answer{Missing: true}
	}
	next.used = true
	return next.answer(c, a.durable)
}

// retryable reports whether it is a failure that another attempt gets too. The
// history has only the last attempt.
func (r *recorded) retryable() bool {
	e := r.step.Error
	return r.step.Outcome == "failed" && e != nil && e.Retryable != nil && *e.Retryable
}

// answer returns the answer to an attempt. An execution in memory recorded the time
// of all attempts with their pauses, which the replay spends between them.
func (r *recorded) answer(c *testrun.Call, durable bool) testrun.Answer {
	s := r.step
	out := testrun.Answer{Status: s.Status, Header: s.Headers, After: time.Duration(s.TookMS * float64(time.Millisecond))}
	if s.Outcome == "failed" && s.Error != nil {
		e := s.Error
		out.Fail = &processes.MockFailure{Code: e.Code, Message: strings.TrimPrefix(e.Message, c.Operation+": "), Status: e.Status, Retryable: r.retryable()}
		out.Body, out.Detail = []byte(e.Body), e.Detail
		if out.Fail.Retryable && !durable {
			out.After = 0
		}
		return out
	}
	if s.Document != nil {
		out.Doc, _ = documentOf(s.Document)
	}
	return out
}

// Result is the comparison of an execution with its replay.
type Result struct {
	unable      unable
	changes     []change
	notCompared []string // parts that the record lacks
}

// Replay runs an execution through the new version.
func (v *Version) Replay(ctx context.Context, then *atom.ExecutionView) Result {
	recorded := newAnswers(then)
	s, why := v.scenario(then, recorded)
	if why != "" {
		return Result{unable: why}
	}
	out, err := v.engine.Run(ctx, s)
	switch {
	case errors.Is(err, testrun.ErrTooLarge):
		return Result{unable: "its replay made more than 64 MiB of steps and documents"}
	case err != nil:
		return Result{unable: unable("the run failed: " + err.Error())}
	}
	if len(recorded.missing) > 0 {
		return Result{changes: []change{{kind: Calls, now: "calls " + recorded.missing[0] + " once more than then: the answer is not known, so the rest is not compared"}}}
	}
	return Result{changes: compare(before(then), after(out), then), notCompared: lacking(then)}
}

// lacking returns the parts that a record of an older version does not have.
func lacking(then *atom.ExecutionView) (list []string) {
	if then.Reply != nil && then.ReplyStatus == 0 {
		list = append(list, "the status of the reply, which the record does not have")
	}
	if slices.ContainsFunc(then.Steps, func(s atom.StepView) bool {
		return s.Operation != "" && s.Kind == "call" && s.Outcome == "failed" && s.Error != nil && s.Error.Retryable == nil
	}) {
		list = append(list, "another attempt of a failed call: the record does not have whether it could succeed, nor the detail of the failure")
	}
	return list
}
