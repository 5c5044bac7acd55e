package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/document"
	"valence/processes"
	"valence/processes/testrun"
)

// The kinds of changes.
const (
	Calls     = "calls"
	Documents = "documents"
	Decisions = "decisions"
	Reply     = "reply"
	Status    = "status"
	HTTP      = "reply_status" // of the reply
)

// change is one difference between an execution and its replay.
type change struct {
	kind     string
	was, now any
}

// observed is one run of a process, then or now.
type observed struct {
	status, reply string
	replyStatus   int // 0: without a reply, or not recorded
	steps         []step
	id            string
}

// step is one step that ran.
type step struct {
	key, kind, name, operation, document string
}

// before returns the recorded run.
func before(v *atom.ExecutionView) *observed {
	o := &observed{status: v.Status, id: v.Execution, reply: viewText(v.Reply), replyStatus: v.ReplyStatus}
	if v.Error != nil {
		o.status += ": " + v.Error.Code
	}
	for _, s := range v.Steps {
		if s.Outcome == "ok" || s.Outcome == "failed" {
			o.steps = append(o.steps, step{s.Path, s.Kind, s.Name, s.Operation, viewText(s.Document)})
		}
	}
	return o
}

func viewText(v *atom.DocumentView) string {
	if v == nil {
		return ""
	}
	if doc, _ := documentOf(v); doc != nil {
		return string(doc.Body())
	}
	return cmp.Or(v.Text, v.Base64)
}

// after returns the run of the new version.
func after(out *testrun.Outcome) *observed {
	o := &observed{status: out.Status, reply: bodyText(out.Reply), replyStatus: out.ReplyStatus}
	if len(out.IDs) > 0 {
		o.id = out.IDs[0]
	}
	var fail struct{ Code string }
	if json.Unmarshal(out.Error, &fail) == nil && fail.Code != "" {
		o.status += ": " + fail.Code
	}
	for _, t := range out.Trace {
		s := step{key: t.Key, kind: t.Step.Kind, name: t.Step.Name, document: bodyText(t.Doc)}
		if caller, ok := t.Step.Settings.(processes.ExternalCaller); ok {
			if of := caller.ExternalCall().Operation; of.Operation != nil {
				s.operation = of.Connection + "." + of.Operation.Name
			}
		}
		o.steps = append(o.steps, s)
	}
	return o
}

func bodyText(d *document.Document) string {
	if d == nil {
		return ""
	}
	return string(d.Body())
}

// compare returns the changes of a run, at most one of each kind.
func compare(was, now *observed, then *atom.ExecutionView) []change {
	var found []change
	generated := testrun.NewGenerated(received(then)...)
	texts := func(a, b string) (string, string) {
		return generated.Texts(generalized(a, was.id, then), generalized(b, now.id, then))
	}
	differ := func(kind string, a, b any) { found = append(found, change{kind, a, b}) }
	if was.status != now.status {
		differ(Status, was.status, now.status)
	}
	if a, b := texts(was.reply, now.reply); a != b {
		differ(Reply, a, b)
	}
	if a, b := was.replyStatus, now.replyStatus; a != 0 && b != 0 && a != b {
		differ(HTTP, a, b)
	}
	was.sort()
	now.sort()
	if a, b := was.calls(), now.calls(); !slices.Equal(a, b) {
		differ(Calls, a, b)
	}
	if a, b, at := firstDifference(was.decisions(), now.decisions(), func(a, b string) (string, string) { return a, b }); at != "" {
		differ(Decisions, at+": "+cmp.Or(a, "not reached"), at+": "+cmp.Or(b, "not reached"))
	}
	if a, b, at := firstDifference(was.documents(), now.documents(), texts); at != "" {
		differ(Documents, at+": "+cmp.Or(a, none), at+": "+cmp.Or(b, none))
	}
	return found
}

// firstDifference returns the first entry that differs, with its name.
func firstDifference(was, now map[string]string, texts func(a, b string) (string, string)) (before, after, at string) {
	names := slices.Sorted(maps.Keys(was))
	for name := range now {
		if _, ok := was[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if x, y := texts(was[name], now[name]); x != y {
			return x, y, name
		}
	}
	return "", "", ""
}

func (o *observed) sort() {
	slices.SortStableFunc(o.steps, func(a, b step) int { return slices.CompareFunc(parts(a.key), parts(b.key), comparePart) })
}

// parts splits the key of a step.
func parts(key string) []string {
	return strings.FieldsFunc(key, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

func comparePart(a, b string) int {
	x, errA := strconv.Atoi(a)
	y, errB := strconv.Atoi(b)
	if errA == nil && errB == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

// calls returns the operations that were called, in the order of the steps.
func (o *observed) calls() []string {
	list := []string{}
	for _, s := range o.steps {
		if s.operation != "" && s.kind == "call" {
			list = append(list, s.operation)
		}
	}
	return list
}

// documents returns the documents of the steps that make one themselves.
func (o *observed) documents() map[string]string {
	found, count := map[string]string{}, map[string]int{}
	for _, s := range o.steps {
		if s.document != "" && s.operation == "" && s.kind != "process" && !strings.Contains(s.kind, " ") {
			found[label(s, count)] = s.document
		}
	}
	return found
}

// label names a step so that other versions have the same name for it: its name,
// or its place among the steps of its kind.
func label(s step, count map[string]int) string {
	name := cmp.Or(s.name, s.kind)
	count[name]++
	return fmt.Sprintf("%s %d", name, count[name])
}

// none stands for a document that a step did not make.
const none = "none"

// noList is the decision of a step that ran none of its lists.
const noList = "nothing"

// decisions returns the lists of steps that ran, by the step that chose them.
func (o *observed) decisions() map[string]string {
	labels, count, found := map[string]string{}, map[string]int{}, map[string]string{}
	for _, s := range o.steps {
		if s.kind == "if" || s.kind == "switch" || s.kind == "try" {
			labels[s.key] = label(s, count)
			found[labels[s.key]] = noList
		}
	}
	for _, s := range o.steps {
		path, rest, _ := strings.Cut(s.key, "[")
		if rest != "" {
			rest = "[" + rest
		}
		for cut := path; ; {
			i := strings.LastIndexByte(cut, '.')
			if i < 0 {
				break
			}
			cut = cut[:i]
			if at, ok := labels[cut+rest]; ok {
				list, _, _ := strings.Cut(path[i+1:], ".")
				switch {
				case found[at] == noList:
					found[at] = list
				case !slices.Contains(strings.Split(found[at], "+"), list):
					found[at] += "+" + list
				}
				break
			}
		}
	}
	return found
}

// received returns the texts that both runs received: the message, the state and
// the answers of calls.
func received(then *atom.ExecutionView) []string {
	list := []string{viewText(then.Input), string(then.Request), string(then.Props)}
	for _, s := range then.Steps {
		if s.Operation != "" || strings.HasPrefix(s.Kind, "state ") {
			list = append(list, viewText(s.Document))
		}
		if s.Operation != "" && s.Error != nil {
			list = append(list, s.Error.Body, string(s.Error.Detail))
		}
	}
	return list
}

// instant matches the times that now() returns.
var instant = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// generalized returns a text without the values that each run makes anew: its id,
// and times between its acceptance and its end.
func generalized(text, id string, then *atom.ExecutionView) string {
	text = canonical(text)
	if id != "" {
		text = strings.ReplaceAll(text, id, "(execution)")
	}
	end := then.ReceivedAt.Add(time.Hour)
	if then.EndedAt != nil {
		end = then.EndedAt.Add(time.Second)
	}
	return instant.ReplaceAllStringFunc(text, func(s string) string {
		if at, err := time.Parse(time.RFC3339, s); err != nil || at.Before(then.ReceivedAt.Add(-time.Second)) || at.After(end) {
			return s
		}
		return "(now)"
	})
}

// canonical returns JSON with its members sorted: history does not preserve their
// order. Other texts are returned unchanged.
func canonical(text string) string {
	v, ok := decode(text)
	if !ok {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(b)
}

// decode returns the value of a JSON text, with exact numbers.
func decode(text string) (v any, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v) == nil && !d.More()
}
