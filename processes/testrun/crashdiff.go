package testrun

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"valence/internal/document"
	"valence/processes"
)

// comparison compares a run with a crash with the one without.
type comparison struct {
	test      *crashTest
	event     Event // at which the atom crashed
	base, out side
	generated *Generated
	found     []Failure
}

// side is one of the two runs. Its texts do not contain the ids that every run
// makes anew.
type side struct {
	*Outcome
	calls map[Occurrence]*MadeCall
	ids   *strings.Replacer
}

func newSide(o *Outcome) side {
	s := side{Outcome: o, calls: map[Occurrence]*MadeCall{}}
	for _, c := range o.Calls {
		s.calls[c.Of] = c
	}
	var names []string
	for i, id := range o.IDs {
		names = append(names, id, fmt.Sprintf("execution-%d", i))
	}
	s.ids = strings.NewReplacer(names...)
	return s
}

// text returns a text without the ids of executions.
func (s side) text(b []byte) string { return s.ids.Replace(string(b)) }

func (s side) document(d *document.Document) string {
	if d == nil {
		return ""
	}
	return string(d.Body())
}

func (s side) call(c *MadeCall) string {
	var b bytes.Buffer
	b.WriteString(c.Operation + " ")
	if c.With != nil {
		b.Write(document.AppendJSON(nil, c.With))
	}
	b.WriteString(s.document(c.Body))
	return b.String()
}

// texts returns a text of each run; they are equal if nothing changed but the
// values that every run makes anew.
func (c *comparison) texts(base, out string) (a, b string) {
	return c.generated.Texts(c.base.text([]byte(base)), c.out.text([]byte(out)))
}

// compare returns the effects of the crash.
func (c *comparison) compare() []Failure {
	wrote := false
	for _, made := range c.out.Calls {
		if made.Reads {
			continue
		}
		wrote = true
		if before := c.base.calls[made.Of]; before != nil && made.Attempts > before.Attempts {
			c.repeated(made)
		}
	}
	if c.out.Status != Lost || wrote { // otherwise the caller, who got no answer, sends again
		c.lost()
	}
	if c.out.Status != Lost {
		c.changed()
	}
	return c.found
}

func (c *comparison) add(s *processes.Step, f Failure) {
	f.File, f.Line = s.Pos.File, s.Pos.Line
	f.Note += "; or accept it: `# accept: " + f.Field + " because …`"
	c.found = append(c.found, f)
}

// repeated reports a call that a system received again, unless that is safe.
func (c *comparison) repeated(made *MadeCall) {
	caller, ok := made.Step.Settings.(processes.ExternalCaller)
	if !ok {
		return
	}
	call := caller.ExternalCall()
	p := c.test.project
	if p.IdempotencyOf(made.Step, call) != processes.NotIdempotent || c.test.accepts.repeats(call.Operation.Connection) {
		return
	}
	declared, hint := p.RepeatAdvice(made.Step, call)
	if strings.HasPrefix(declared, "is ") {
		declared = "this call " + declared
	}
	c.add(made.Step, Failure{Field: string(processes.CodeRepeatableCall), Want: made.Operation + " reaches the system once",
		Got: "again: the atom crashed " + place(c.event), Note: declared + "; try: " + hint})
}

// lost reports the calls that are not made any more.
func (c *comparison) lost() {
	for _, before := range c.base.Calls {
		if before.Reads || c.out.calls[before.Of] != nil || c.test.accepts.comments.Accepts(before.Step.Pos, processes.CodeLostCall) {
			continue
		}
		f := Failure{Field: string(processes.CodeLostCall), Want: before.Operation + " is made", Got: "not made: the atom crashed " + place(c.event)}
		if c.out.Status == Lost {
			f.Note = fmt.Sprintf("the process runs in memory for its caller, and does not continue; try: put the `reply:` before line %d, so that the steps after it continue after a crash, or hand this call off with `mode: handoff` before", c.firstWrite())
		} else {
			f.Note = "try: " + c.answerAdvice()
		}
		c.add(before.Step, f)
	}
}

// firstWrite returns the line of the first call that changes something.
func (c *comparison) firstWrite() int {
	i := slices.IndexFunc(c.base.Calls, func(m *MadeCall) bool { return !m.Reads })
	return c.base.Calls[i].Step.Pos.Line
}

// answerAdvice returns the remedy if a repeated call got another answer.
func (c *comparison) answerAdvice() string {
	const decide = "decide by the input, or check that the newer answer leads to an end that is as good"
	caller, ok := c.event.Step.Settings.(processes.ExternalCaller)
	if !ok || c.event.Kind != AfterCall {
		return decide
	}
	if o := caller.ExternalCall().Operation.Operation; o == nil || o.Safe {
		return decide
	}
	return "`accept:` the status that a repeated call gets, or look for its result before the call"
}

// changed reports the results that differ, in one finding.
func (c *comparison) changed() {
	want, got := map[string]any{}, map[string]any{}
	step := c.event.Step
	differ := func(name string, a, b any) { want[name], got[name] = a, b }
	if s := c.changedDocument(differ); s != nil {
		step = s
	}
	if s := c.changedCalls(differ); s != nil {
		step = s
	}
	if c.base.Status != c.out.Status {
		differ("status", c.base.Status, c.out.Status)
		if text := failureText(c.out.Error); text != "" {
			got["error"] = text
		}
	}
	if a, b := viewOf(c.base.Error).Code, viewOf(c.out.Error).Code; a != b {
		differ("error", a, failureText(c.out.Error))
	}
	if a, b := c.texts(c.base.document(c.base.Reply), c.out.document(c.out.Reply)); a != b && !c.out.CallerGone {
		differ("reply", a, b)
	}
	if a, b := c.base.ReplyStatus, c.out.ReplyStatus; a != b && !c.out.CallerGone {
		differ("reply_status", a, b)
	}
	if a, b := ends(c.base.HandedOff), ends(c.out.HandedOff); !maps.Equal(a, b) {
		differ("hand-offs", a, b)
	}
	if len(got) == 0 || c.test.accepts.comments.Accepts(step.Pos, processes.CodeChangedResult) {
		return
	}
	c.add(step, Failure{Field: string(processes.CodeChangedResult), Want: want, Got: got,
		Note: "the atom crashed " + place(c.event) + "; try: " + c.answerAdvice()})
}

// differ reports whether texts of the two runs differ.
func (c *comparison) differ(base, out string) bool {
	a, b := c.texts(base, out)
	return a != b
}

// received returns the texts that the runs received: the message, and the answers
// of calls.
func (c *comparison) received() []string {
	r := c.test.result.Run
	list := []string{string(r.Props), string(r.State)}
	if r.Input != nil {
		list = append(list, string(r.Input.Content))
	}
	if q := r.Request; q != nil {
		list = append(list, q.Path)
		for _, kv := range slices.Concat(q.Params, q.Query, q.Headers) {
			list = append(list, kv.Value)
		}
	}
	for _, m := range r.Mocks {
		for _, a := range m.Answers {
			if a.Reply != nil {
				list = append(list, string(a.Reply.Content))
			}
		}
	}
	for _, sig := range r.Signals {
		if sig.Body != nil {
			list = append(list, string(sig.Body.Content))
		}
	}
	return list
}

// ends counts executions by their process and status.
func ends(list []HandedOff) map[string]int {
	n := map[string]int{}
	for _, h := range list {
		n[h.Process+" "+h.Status]++
	}
	return n
}

// changedCalls reports the first call with another request, or that is new, and
// returns its step.
func (c *comparison) changedCalls(differ func(string, any, any)) *processes.Step {
	for _, made := range c.out.Calls {
		before := c.base.calls[made.Of]
		switch {
		case made.Reads:
		case before == nil:
			differ("calls", nil, summary(made))
			return made.Step
		case c.differ(c.base.call(before), c.out.call(made)):
			differ("calls", summary(before), summary(made))
			return made.Step
		}
	}
	return nil
}

// changedDocument reports the first document that a step made differently, and
// returns the step. The answers of calls are not results of the process.
func (c *comparison) changedDocument(differ func(string, any, any)) *processes.Step {
	made := map[Occurrence]MadeDocument{}
	for _, d := range c.out.Documents {
		made[d.Of] = d
	}
	var first *MadeDocument
	for i, d := range c.base.Documents {
		other, ok := made[d.Of]
		if _, calls := d.Step.Settings.(processes.ExternalCaller); calls || !ok || !c.differ(c.base.document(d.Doc), c.out.document(other.Doc)) {
			continue
		}
		if first == nil || cmp.Less(d.Step.Pos.Line, first.Step.Pos.Line) {
			first = &c.base.Documents[i]
		}
	}
	if first == nil {
		return nil
	}
	a, b := c.texts(c.base.document(first.Doc), c.out.document(made[first.Of].Doc))
	differ("document of "+first.Step.Label(), a, b)
	return first.Step
}
