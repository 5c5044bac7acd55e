package analysis

import (
	"fmt"
	"strings"

	"valence/internal/fault"
	"valence/internal/soap"
	"valence/internal/spec"
	"valence/processes"
)

// Replies returns the problems of the reply flow of one process: unreachable
// steps, paths without a reply, and replies that are misplaced or have no caller.
func Replies(project *processes.Project, p *processes.Process) fault.Problems {
	if p.Listen != nil && p.Listen.Input == "soap" {
		if p.Listen.Service == nil {
			return nil // its problems are reported, and its operations are not known
		}
		return operations(project, p)
	}
	return append(noEnvelope(p), follow(project, p, nil, p.Listen != nil && p.Listen.Output != "")...)
}

// follow returns the problems of the paths that an operation can take; with nil,
// those of all paths.
func follow(project *processes.Project, p *processes.Process, op *soap.Operation, output bool) fault.Problems {
	f := &replyFlow{kinds: project.Kinds, proc: p, operation: op, output: output, missing: map[fault.Pos]bool{}}
	for _, t := range f.block(p.Steps, []*decision{{}}, surroundings{last: true}) {
		f.missingReply(t, fault.Pos{}, "reaches the end of the steps")
	}
	return f.problems
}

// replyFlow follows every path through a process. A path is represented by its
// latest decision.
type replyFlow struct {
	kinds  map[string]*processes.StepKind
	proc   *processes.Process
	output bool // the caller expects a reply
	// operation is the operation of a SOAP service whose paths are followed; nil
	// without one, and to follow the paths of all operations.
	operation *soap.Operation
	missing   map[fault.Pos]bool
	problems  fault.Problems
}

// decision is one decision of a path, such as the branch of an `if`.
type decision struct {
	previous *decision
	text     string
	at       fault.Pos
}

// maxPaths bounds the number of paths that are followed. Further paths are
// dropped.
const maxPaths = 8

// surroundings describes the steps that enclose a list of steps.
type surroundings struct {
	forbidden string // the kind of step that allows no reply; empty if a reply is allowed
	try       bool   // inside a try
	last      bool   // this step and all steps around it are the last of their lists
	element   bool   // `stop` ends an element or a path, not the process
	replied   bool   // some path to this step has already replied
	done      bool   // every path to this step has already replied
}

func (f *replyFlow) problem(at fault.Pos, code fault.Code, msg, hint string) {
	f.problems = append(f.problems, &fault.Problem{Pos: at, Code: code, Msg: msg, Hint: hint})
}

// missingReply reports a path that ends without a reply.
func (f *replyFlow) missingReply(d *decision, at fault.Pos, how string) {
	if !f.output {
		return
	}
	var decisions []string
	for ; d != nil; d = d.previous {
		if d.text != "" {
			decisions = append([]string{d.text}, decisions...)
			if at.Line == 0 {
				at = d.at
			}
		}
	}
	if at.Line == 0 {
		at = f.proc.Listen.Pos
		if n := len(f.proc.Steps); n > 0 {
			at = f.proc.Steps[n-1].Pos
		}
	}
	if f.missing[at] {
		return
	}
	f.missing[at] = true
	path := "this path"
	if len(decisions) > 0 {
		path = "the path on which " + strings.Join(decisions, ", then ")
	}
	if f.operation != nil {
		f.problem(at, processes.CodeMissingReply, "the caller of "+f.operation.Name+" gets no reply: "+path+" "+how, "add a `reply:` to this path, or a `throw:`: the operation has an output")
		return
	}
	f.problem(at, processes.CodeMissingReply, "the caller gets no reply: "+path+" "+how, "add a `reply:` to this path, or remove `output:` from the listener to acknowledge at once")
}

// block follows the paths in through a list of steps. It returns those that
// continue after the list and have not replied.
func (f *replyFlow) block(b processes.Block, in []*decision, w surroundings) []*decision {
	open, background := in, false
	for i, s := range b {
		if len(open) == 0 && !background {
			f.problem(s.Pos, processes.CodeUnreachable, "this step can never run: every path has ended before it", "remove it, or move it up")
			break
		}
		at := w
		at.last = w.last && i == len(b)-1
		at.replied = w.replied || background
		runs, decided := f.when(s)
		if decided && !runs {
			continue
		}
		if f.kinds[s.Kind].Flow == processes.Reply {
			if f.reply(s, at); at.forbidden != "" {
				continue // already reported; it does not count as a reply
			}
			background = true
			if decided {
				open = nil
			}
			continue
		}
		if len(open) > 0 {
			open = f.step(s, open, at)
			continue
		}
		at.done = true
		background = len(f.step(s, []*decision{{}}, at)) > 0
	}
	return open
}

func (f *replyFlow) reply(s *processes.Step, w surroundings) {
	switch {
	case w.replied:
		f.problem(s.Pos, processes.CodeSecondReply, "this path has already replied", "remove this `reply:`; to choose between replies, put them into `then:` and `else:` of an `if:`")
	case w.forbidden != "":
		f.problem(s.Pos, processes.CodeReplyPlace, "`reply` is not allowed in `"+w.forbidden+"`", "reply after the `"+w.forbidden+"`, using its result")
	case w.try && !w.last:
		f.problem(s.Pos, processes.CodeReplyPlace, "a `reply` in a `try` must be the last step", "move it to the end of the `try`, or after it")
	case f.operation != nil && !f.output:
		f.problem(s.Pos, processes.CodeReplyNowhere, "no caller waits for this reply: the operation "+f.operation.Name+" has no output", "remove it, or run it only for operations with an output: `when: ${request.operation != \""+f.operation.Name+"\"}`")
	case f.proc.Listen != nil && !f.output:
		f.problem(s.Pos, processes.CodeReplyNowhere, "no caller waits for this reply: the listener has no `output:`", "remove it, or add `output: json` to `listen:`")
	case f.proc.Subscribe != nil && f.proc.Subscribe.CannotReply():
		f.problem(s.Pos, processes.CodeReplyNowhere, "no caller waits for this reply: the messages of the connector "+f.proc.Subscribe.Connector.Name+" have no address for replies",
			"remove it, or send the response with a `call:`")
	case f.proc.Schedule != nil:
		f.problem(s.Pos, processes.CodeReplyNowhere, "no caller waits for this reply: a schedule starts the process", "remove it, or send the result with a `call:`")
	}
}

// step follows the paths in through one step.
func (f *replyFlow) step(s *processes.Step, in []*decision, w surroundings) []*decision {
	out, ended := f.executed(s, in, w)
	_, decided := f.when(s)
	if !decided && ended {
		return merge(out, decide(in, "`when:`", s.Pos, "is false"))
	}
	if !decided {
		return in
	}
	return out
}

// executed follows the paths in through a step that is not skipped. It returns
// the paths that continue after it, and reports whether any path ended in it.
func (f *replyFlow) executed(s *processes.Step, in []*decision, w surroundings) (out []*decision, ended bool) {
	kind := f.kinds[s.Kind]
	switch kind.Flow {
	case processes.Throw:
		return nil, true
	case processes.Stop:
		if !w.element && !w.done {
			for _, d := range in {
				f.missingReply(d, s.Pos, "ends in this `"+s.Kind+"`")
			}
		}
		return nil, true
	case processes.Loop:
		w.forbidden = s.Kind
		if kind.IteratesElements() {
			w.element = true
			f.lists(s, in, w)
			return in, false
		}
		out = in
		for _, l := range s.Lists {
			out = f.block(l.Steps, out, w)
		}
		return out, len(out) == 0 && len(in) > 0 || !same(out, in)
	case processes.Parallel:
		w.forbidden, w.element = s.Kind, true
		f.lists(s, in, w)
		return in, false
	case processes.Choice:
		return f.choice(s, kind, in, w)
	case processes.Wait:
		return f.wait(s, in, w)
	case processes.Attempt:
		return f.attempt(s, in, w)
	}
	return in, false
}

func (f *replyFlow) lists(s *processes.Step, in []*decision, w surroundings) {
	for _, l := range s.Lists {
		f.block(l.Steps, in, w)
	}
}

// fallbackOf returns the key of the list that a choice runs if no other is
// selected.
func fallbackOf(kind *processes.StepKind) (fallback string) {
	for _, field := range kind.Fields {
		if field.Info().Kind == spec.KindSteps {
			fallback = field.Info().Key
		}
	}
	return fallback
}

func (f *replyFlow) choice(s *processes.Step, kind *processes.StepKind, in []*decision, w surroundings) ([]*decision, bool) {
	fallback := fallbackOf(kind)
	var out []*decision
	ended, exhaustive := false, false
	lists, decided := f.chosen(s, fallback)
	switch {
	case !decided:
		lists = s.Lists
	case len(lists) == 0:
		return in, false
	default:
		exhaustive = true
	}
	for _, l := range lists {
		exhaustive = exhaustive || l.Key == fallback
		entry := decide(in, "`"+s.Kind+"`", s.Pos, chosen(l, fallback))
		after := f.block(l.Steps, entry, w)
		ended = ended || !same(after, entry)
		out = merge(out, after)
	}
	if !exhaustive {
		out = merge(out, decide(in, "`"+s.Kind+"`", s.Pos, chosen(processes.List{Key: fallback}, fallback)))
	}
	if !ended {
		return in, false
	}
	return out, true
}

// wait follows the paths after a wait: those resumed by a signal, and those
// that time out.
func (f *replyFlow) wait(s *processes.Step, in []*decision, w surroundings) ([]*decision, bool) {
	out, ended := in, false
	for _, l := range s.Lists {
		entry := decide(in, "`"+s.Kind+"`", s.Pos, "times out")
		after := f.block(l.Steps, entry, w)
		if !same(after, entry) {
			out, ended = merge(out, after), true
		}
	}
	return out, ended
}

// chosen describes the decision that leads into a list of a choice.
func chosen(l processes.List, fallback string) string {
	switch {
	case l.Name != "":
		return "is `" + spec.Clip(l.Name) + "`"
	case l.Key == "then":
		return "is true"
	case l.Key == "else":
		return "is false"
	case l.Key == fallback:
		return "is anything else"
	}
	return "selects `" + l.Key + ":`"
}

func (f *replyFlow) attempt(s *processes.Step, in []*decision, w surroundings) ([]*decision, bool) {
	inner := w
	inner.try = true
	if !w.try {
		inner.last = true
	}
	var out []*decision
	ended := false
	for _, l := range s.Lists {
		switch l.Key {
		case "catch":
			entry := decide(in, "`"+s.Kind+"`", s.Pos, "fails")
			after := f.block(l.Steps, entry, w)
			ended = ended || !same(after, entry)
			out = merge(out, after)
		case "finally":
			last := w
			last.forbidden = "finally"
			if len(out) == 0 { // it runs even if every path has replied or thrown
				f.checkPlacement(l.Steps, last)
			} else if after := f.block(l.Steps, out, last); !same(after, out) {
				out, ended = after, true
			}
		default:
			after := f.block(l.Steps, in, inner)
			ended = ended || !same(after, in)
			out = merge(out, after)
		}
	}
	if !ended {
		return in, false
	}
	return out, true
}

// checkPlacement checks the replies in a list that runs after its paths have
// ended. It reports no missing replies.
func (f *replyFlow) checkPlacement(b processes.Block, w surroundings) {
	inner := &replyFlow{kinds: f.kinds, proc: f.proc, missing: map[fault.Pos]bool{}}
	inner.block(b, []*decision{{}}, w)
	f.problems = append(f.problems, inner.problems...)
}

// decide returns the paths in, each extended by one decision.
func decide(in []*decision, subject string, at fault.Pos, how string) []*decision {
	out := make([]*decision, len(in))
	text := fmt.Sprintf("%s (line %d) %s", subject, at.Line, how)
	for i, d := range in {
		out[i] = &decision{previous: d, text: text, at: at}
	}
	return out
}

func merge(a, b []*decision) []*decision {
	out := append(append([]*decision(nil), a...), b...)
	if len(out) > maxPaths {
		out = out[:maxPaths]
	}
	return out
}

func same(a, b []*decision) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
