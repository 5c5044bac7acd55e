package processes

import (
	"fmt"
	"strings"

	"valence/internal/fault"
	"valence/internal/spec"
)

// trail is how one path through a process came to where it is: its decisions,
// the latest first.
type trail struct {
	up   *trail
	text string
	at   fault.Pos
}

// maxTrails bounds how many paths are told apart; those beyond it are taken
// for the last one.
const maxTrails = 8

// reach follows every path through a process: which steps can be reached, and
// whether the caller is answered.
type reach struct {
	b       *building
	answers bool // the listener has output
	missing map[fault.Pos]bool
}

// where is what encloses a list of steps.
type where struct {
	forbidden string // the kind that no reply may stand in; "" if one may
	try       bool   // inside of a try, where a reply must be
	last      bool   // the last step all the way up to it
	element   bool   // stop ends an element or a path, not the process
	replied   bool   // a path that comes here has already replied
	done      bool   // every path that comes here has
}

// replies checks reachability and replies of the process.
func (b *building) replies() {
	r := &reach{b: b, answers: b.proc.Listen != nil && b.proc.Listen.Output != "", missing: map[fault.Pos]bool{}}
	start := []*trail{{}}
	for _, t := range r.block(b.proc.Steps, start, where{last: true}) {
		r.miss(t, fault.Pos{}, "reaches the end of the steps")
	}
}

// miss reports a path that ends without a reply.
func (r *reach) miss(t *trail, at fault.Pos, how string) {
	if !r.answers {
		return
	}
	var decisions []string
	for ; t != nil; t = t.up {
		if t.text != "" {
			decisions = append([]string{t.text}, decisions...)
			if at.Line == 0 {
				at = t.at
			}
		}
	}
	if at.Line == 0 {
		at = r.b.proc.Listen.Pos
		if n := len(r.b.proc.Steps); n > 0 {
			at = r.b.proc.Steps[n-1].Pos
		}
	}
	if r.missing[at] {
		return
	}
	r.missing[at] = true
	path := "this path"
	if len(decisions) > 0 {
		path = "the path where " + strings.Join(decisions, ", then ")
	}
	r.b.problem(at, CodeMissingReply, "the caller gets no reply: "+path+" "+how, "add a `reply:` there, or drop `output:` from the listener to acknowledge at once")
}

// block follows the paths in through a list, and gives those that go on
// behind it without having replied.
func (r *reach) block(b Block, in []*trail, w where) []*trail {
	open, background := in, false
	for i, s := range b {
		if len(open) == 0 && !background {
			r.b.problem(s.Pos, CodeUnreachable, "this step can never run: every path has ended before it", "remove it, or move it up")
			break
		}
		at := w
		at.last = w.last && i == len(b)-1
		at.replied = w.replied || background
		if r.b.l.kinds[s.Kind].Flow == Reply {
			if r.reply(s, at); at.forbidden != "" {
				continue // reported; it counts as no reply
			}
			background = true
			if s.When == nil {
				open = nil
			}
			continue
		}
		if len(open) > 0 {
			open = r.step(s, open, at)
			continue
		}
		at.done = true
		background = len(r.step(s, []*trail{{}}, at)) > 0
	}
	return open
}

func (r *reach) reply(s *Step, w where) {
	switch {
	case w.replied:
		r.b.problem(s.Pos, CodeSecondReply, "this path has already replied", "remove this `reply:`; for one answer or another, put each into `then:` and `else:` of an `if:`")
	case w.forbidden != "":
		r.b.problem(s.Pos, CodeReplyPlace, "a reply cannot stand in `"+w.forbidden+"`", "reply behind it, with what it made")
	case w.try && !w.last:
		r.b.problem(s.Pos, CodeReplyPlace, "in a `try` a reply must be the last step", "move it to the end, or behind the `try`")
	case r.b.proc.Listen != nil && !r.answers:
		r.b.problem(s.Pos, CodeReplyNowhere, "nobody waits for this reply: the listener has no `output:`", "remove it, or add `output: json` to `listen:`")
	case r.b.proc.Subscribe != nil:
		r.b.problem(s.Pos, CodeReplyNowhere, "nobody waits for this reply: nothing that a subscription of this version delivers can be answered", "remove it, or answer with a `call:`")
	case r.b.proc.Schedule != nil:
		r.b.problem(s.Pos, CodeReplyNowhere, "nobody waits for this reply: the process is started by the clock", "remove it, or answer somebody with a `call:`")
	}
}

// step follows the paths in through one step.
func (r *reach) step(s *Step, in []*trail, w where) []*trail {
	out, ended := r.through(s, in, w)
	if s.When != nil && ended {
		return merge(out, decide(in, "`when:`", s.Pos, "is false"))
	}
	if s.When != nil {
		return in
	}
	return out
}

// through gives the paths behind a step that runs, and whether any ended in it.
func (r *reach) through(s *Step, in []*trail, w where) (out []*trail, ended bool) {
	kind := r.b.l.kinds[s.Kind]
	switch kind.Flow {
	case Throw:
		return nil, true
	case Stop:
		if !w.element && !w.done {
			for _, t := range in {
				r.miss(t, s.Pos, "ends in this `"+s.Kind+"`")
			}
		}
		return nil, true
	case Loop:
		w.forbidden = s.Kind
		if kind.elements() {
			w.element = true
			r.lists(s, in, w)
			return in, false
		}
		out = in
		for _, l := range s.Lists {
			out = r.block(l.Steps, out, w)
		}
		return out, len(out) == 0 && len(in) > 0 || !same(out, in)
	case Parallel:
		w.forbidden, w.element = s.Kind, true
		r.lists(s, in, w)
		return in, false
	case Choice:
		return r.choice(s, kind, in, w)
	case Wait:
		return r.wait(s, in, w)
	case Attempt:
		return r.attempt(s, in, w)
	}
	return in, false
}

func (r *reach) lists(s *Step, in []*trail, w where) {
	for _, l := range s.Lists {
		r.block(l.Steps, in, w)
	}
}

func (r *reach) choice(s *Step, kind *StepKind, in []*trail, w where) ([]*trail, bool) {
	fallback := ""
	for _, f := range kind.Fields {
		if f.Info().Kind == spec.KindSteps {
			fallback = f.Info().Key
		}
	}
	var out []*trail
	ended, exhaustive := false, false
	for _, l := range s.Lists {
		exhaustive = exhaustive || l.Key == fallback
		entry := decide(in, "`"+s.Kind+"`", s.Pos, taken(l, fallback))
		behind := r.block(l.Steps, entry, w)
		ended = ended || !same(behind, entry)
		out = merge(out, behind)
	}
	if !exhaustive {
		out = merge(out, decide(in, "`"+s.Kind+"`", s.Pos, taken(List{Key: fallback}, fallback)))
	}
	if !ended {
		return in, false
	}
	return out, true
}

// wait follows the paths behind a wait: those that are woken, and those whose
// time is over.
func (r *reach) wait(s *Step, in []*trail, w where) ([]*trail, bool) {
	out, ended := in, false
	for _, l := range s.Lists {
		entry := decide(in, "`"+s.Kind+"`", s.Pos, "is over its `timeout:`")
		behind := r.block(l.Steps, entry, w)
		if !same(behind, entry) {
			out, ended = merge(out, behind), true
		}
	}
	return out, ended
}

// taken says which way a choice goes.
func taken(l List, fallback string) string {
	switch {
	case l.Name != "":
		return "is `" + cut(l.Name) + "`"
	case l.Key == "then":
		return "is true"
	case l.Key == "else":
		return "is false"
	case l.Key == fallback:
		return "is anything else"
	}
	return "takes `" + l.Key + ":`"
}

func (r *reach) attempt(s *Step, in []*trail, w where) ([]*trail, bool) {
	inner := w
	inner.try = true
	if !w.try {
		inner.last = true
	}
	var out []*trail
	ended := false
	for _, l := range s.Lists {
		switch l.Key {
		case "catch":
			entry := decide(in, "`"+s.Kind+"`", s.Pos, "fails")
			behind := r.block(l.Steps, entry, w)
			ended = ended || !same(behind, entry)
			out = merge(out, behind)
		case "finally":
			last := w
			last.forbidden = "finally"
			if len(out) == 0 { // what replied or threw still runs it
				r.quietly(l.Steps, last)
			} else if behind := r.block(l.Steps, out, last); !same(behind, out) {
				out, ended = behind, true
			}
		default:
			behind := r.block(l.Steps, in, inner)
			ended = ended || !same(behind, in)
			out = merge(out, behind)
		}
	}
	if !ended {
		return in, false
	}
	return out, true
}

// quietly checks the placement of replies in a list that runs after its
// paths have ended.
func (r *reach) quietly(b Block, w where) {
	in := &reach{b: r.b, missing: map[fault.Pos]bool{}}
	in.block(b, []*trail{{}}, w)
}

// decide gives the paths in with one more decision.
func decide(in []*trail, what string, at fault.Pos, how string) []*trail {
	out := make([]*trail, len(in))
	text := fmt.Sprintf("%s (line %d) %s", what, at.Line, how)
	for i, t := range in {
		out[i] = &trail{up: t, text: text, at: at}
	}
	return out
}

func merge(a, b []*trail) []*trail {
	out := append(append([]*trail(nil), a...), b...)
	if len(out) > maxTrails {
		out = out[:maxTrails]
	}
	return out
}

func same(a, b []*trail) bool {
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
