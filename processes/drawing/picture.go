// Package drawing draws processes: their steps with the asynchronous boundary,
// the durable parts and the calls that can repeat. Everything is computed from
// the plan and its explanation, so the same project has the same picture.
package drawing

import (
	"fmt"
	"slices"
	"strings"

	"valence/internal/spec"
	"valence/processes"
	"valence/processes/explain"
)

// picture is the drawing of one process, before its layout.
type picture struct {
	name        string
	description string
	trigger     string
	how         []string // details of the trigger
	boundary    string   // between the trigger and the steps; empty if there is none
	steps       []*step
}

// mark says how a step behaves after a crash.
type mark int

const (
	inRequest mark = iota // lost with the request
	durable               // resumed
)

// step is one step of a picture.
type step struct {
	kind     string
	subject  string // of the kind: an operation, a condition, a name
	detail   string
	position string
	tags     []tag
	mark     mark
	ends     bool // the path does not continue after it
	flow     processes.Flow
	lists    []list
	boundary string // after it; empty if there is none
}

// list is one list of steps of a step.
type list struct {
	key   string // such as then
	label string
	steps []*step
}

// tag is a short remark on a step.
type tag struct{ class, text string }

// The classes of tags.
const (
	tagRisk  = "risk"  // a repeat may have its effect twice
	tagSafe  = "safe"  // a repeat has no further effect
	tagApart = "apart" // a separate execution
	tagPause = "pause" // the execution is suspended
)

const boundaryText = "asynchronous boundary"

// drawer builds the picture of one process.
type drawer struct {
	project *processes.Project
	process *processes.Process
	calls   map[string]explain.Call // by position
}

// pictureOf returns the picture of a process.
func pictureOf(project *processes.Project, p *processes.Process) *picture {
	x := explain.Process(project, p)
	d := &drawer{project: project, process: p, calls: map[string]explain.Call{}}
	for _, c := range x.Calls {
		d.calls[c.Position] = c
	}
	m := inRequest
	out := &picture{name: p.Name, description: p.Description}
	out.trigger, out.how = d.trigger()
	if explain.DurableFromStart(p) {
		m = durable
	}
	out.boundary = d.boundary()
	out.steps = d.block(p.Steps, m)
	return out
}

// boundary returns the text of the boundary before the first step, or "".
func (d *drawer) boundary() string {
	switch p := d.process; {
	case p.Pattern == processes.FireAndForget && p.Schedule != nil:
		return boundaryText + ": the run is on disk"
	case p.Pattern == processes.FireAndForget && p.Subscribe != nil:
		return boundaryText + ": on disk, the source is acknowledged"
	case p.Pattern == processes.FireAndForget:
		return boundaryText + ": on disk, the sender has its response"
	case explain.AlwaysDeferred(p.Listen):
		return boundaryText + ": on disk, the reply follows later"
	case p.Listen != nil && p.Listen.Later():
		return boundaryText + ", if the caller asks for a later reply"
	}
	return ""
}

// trigger returns the trigger in one line, and details.
func (d *drawer) trigger() (string, []string) {
	p := d.process
	var how []string
	var first string
	switch {
	case p.Listen != nil:
		l := p.Listen
		first = strings.Join(l.Methods, ", ") + " " + l.Path
		reply := "reply: " + l.Output
		if l.Output == "" {
			reply = "response: a receipt"
		}
		how = append(how, "body: "+l.Input+" · "+reply+" · auth: "+l.Auth)
	case p.Schedule != nil:
		first = "schedule " + p.Schedule.Cron.String()
		how = append(how, fmt.Sprintf("time zone %s · overlap: %s · misfire: %s", p.Schedule.Cron.Zone(), p.Schedule.Overlap, p.Schedule.Misfire))
	case p.Subscribe != nil:
		first = "subscribe " + p.Subscribe.Connection
		how = append(how, "connector: "+p.Subscribe.Connector.Name)
	default:
		first = "no trigger"
		how = append(how, "started by a process, the command line or a request")
	}
	if checks := d.checks(); checks != "" {
		how = append(how, checks)
	}
	return first, how
}

// checks names the checks before acceptance.
func (d *drawer) checks() string {
	var names []string
	v := &d.process.Delivery
	if v.Profile != nil {
		names = append(names, "profile "+v.Profile.Name)
	}
	for _, c := range []struct {
		name string
		set  bool
	}{{"filter", v.Filter != nil}, {"dedupe", v.Dedupe != nil}, {"echo guard", v.EchoGuard != nil}, {"coalesce", v.Coalesce != nil}, {"sequence", v.Sequence != nil}} {
		if c.set {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, " · ")
}

// block returns the steps of a list.
func (d *drawer) block(b processes.Block, m mark) []*step {
	out := make([]*step, 0, len(b))
	for i, s := range b {
		v := d.step(s, m)
		if s.Kind == "reply" && s.When == nil && i < len(b)-1 && d.process.Pattern == processes.EarlyReply {
			m = durable
			v.boundary, v.ends = boundaryText+": the caller has its reply", false
		}
		out = append(out, v)
	}
	return out
}

func (d *drawer) step(s *processes.Step, m mark) *step {
	kind := d.project.Kinds[s.Kind]
	v := &step{kind: s.Kind, position: s.Pos.String(), mark: m, flow: kind.Flow, ends: kind.Flow == processes.Throw || kind.Flow == processes.Stop || kind.Flow == processes.Reply}
	v.subject = spec.Written(kind.Fields, s.Kind, s.Settings)
	if s.When != nil {
		v.ends = false
		v.detail = "when " + s.When.Source()
	}
	var about []string
	if s.Name != "" {
		about = append(about, "name "+s.Name)
	}
	if s.Into != "" {
		about = append(about, "into "+s.Into)
	}
	if v.detail == "" {
		v.detail = strings.Join(about, " · ")
	}
	if c, ok := d.calls[v.position]; ok {
		d.call(v, c)
	}
	if x, ok := s.Settings.(processes.Suspender); ok {
		d.suspension(v, x.Suspends())
	}
	if r, ok := s.Settings.(processes.Repeater); ok && r.Repeats().Max > 0 {
		v.subject = strings.TrimSpace(fmt.Sprintf("at most %d times", r.Repeats().Max))
	}
	for _, l := range s.Lists {
		v.lists = append(v.lists, list{key: l.Key, label: labelOf(l), steps: d.block(l.Steps, m)})
	}
	return v
}

func labelOf(l processes.List) string {
	if l.Name != "" {
		return l.Name
	}
	return l.Key
}

// call describes a call or the start of a process.
func (d *drawer) call(v *step, c explain.Call) {
	if v.kind != "process" {
		v.subject = c.What
	}
	if c.Durable {
		v.mark = durable
	}
	switch {
	case c.Handoff:
		v.tags = append(v.tags, tag{tagApart, "hand-off: a separate execution"})
	case v.kind == "process":
	case !c.Changes:
		v.tags = append(v.tags, tag{tagSafe, "only reads"})
	case c.Idempotent == string(processes.ByNature):
		v.tags = append(v.tags, tag{tagSafe, "a repeat changes nothing"})
	case !c.Durable && c.Attempts == 1:
		v.tags = append(v.tags, tag{tagSafe, "made once"})
	case c.Idempotent == string(processes.ByKey):
		v.tags = append(v.tags, tag{tagSafe, "can repeat, with its key"})
	default:
		v.tags = append(v.tags, tag{tagRisk, "can repeat"})
	}
	if c.Attempts > 1 {
		v.tags = append(v.tags, tag{"", fmt.Sprintf("%d attempts", c.Attempts)})
	}
}

// suspension describes a wait or a sleep.
func (d *drawer) suspension(v *step, s processes.Suspension) {
	text := "suspended"
	if s.Timeout > 0 {
		text += ", at most " + explain.Duration(s.Timeout)
	}
	v.tags = append(v.tags, tag{tagPause, text})
}

// has reports whether any step of the picture satisfies f.
func (p *picture) has(f func(*step) bool) bool { return anyStep(p.steps, f) }

func anyStep(steps []*step, f func(*step) bool) bool {
	return slices.ContainsFunc(steps, func(s *step) bool {
		return f(s) || slices.ContainsFunc(s.lists, func(l list) bool { return anyStep(l.steps, f) })
	})
}
