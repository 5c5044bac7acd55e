package processes

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// building is one process while it is compiled.
type building struct {
	comp     *component
	proc     *Process
	l        *loader
	captures []string // of the listener's path; nil without a listener
	problems fault.Problems
	needs    []Need
	profiles []string // used by it

	steps          int
	reads, writes  []use
	stateReads     []use
	stateSets      map[string]bool
	unknownResults []result
	names          map[string]fault.Pos
	content        digest // of the process alone
	hashed         bool
	waits          []waiting
	calledBack     []calledBack
	resumes        []resumed
	patient        bool      // the listener's timeout is written
	workers        bool      // `workers:` is written
	beginsBy       fault.Pos // `expires.request`, where it is written
}

func (b *building) problem(at fault.Pos, code fault.Code, msg, hint string) {
	b.problems = append(b.problems, &fault.Problem{Pos: at, Code: code, Msg: msg, Hint: hint})
}

// compiler compiles what stands in one place: it is a value, and a nested
// place has its own.
type compiler struct {
	b      *building
	place  *place
	scope  *scope
	step   *Step // nil outside of steps
	kind   *StepKind
	node   *yaml.Node // of the step
	called *Operation
}

func (c *compiler) problem(at fault.Pos, code fault.Code, msg, hint string) {
	c.b.problem(at, code, msg, hint)
}

func (c *compiler) pos(n *yaml.Node) fault.Pos { return c.b.comp.pos(n) }

// valueAt finds the value of a key of a mapping, nil if it has none.
func valueAt(n *yaml.Node, keys ...string) *yaml.Node {
next:
	for _, key := range keys {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				n = n.Content[i+1]
				continue next
			}
		}
		return nil
	}
	return n
}

// Compile makes what a declaration asks for.
func (c *compiler) Compile(d *spec.Decoder, f *spec.Info, n *yaml.Node) any {
	switch f.Kind {
	case spec.KindExpr:
		if e := c.expr(f, n); e != nil {
			return e
		}
	case spec.KindExprs:
		if t := c.tracks(d, f, n); t != nil {
			return t
		}
	case spec.KindTemplate:
		if t := c.template(d, f, n); t != nil {
			return t
		}
	case spec.KindWith:
		if t := c.with(d, n); t != nil {
			return t
		}
	case spec.KindSteps:
		if b := c.list(d, f, n); b != nil {
			return b
		}
	case spec.KindPaths:
		if p := c.paths(d, f, n); p != nil {
			return p
		}
	case spec.KindOperation:
		if o, ok := c.operation(d, f, n); ok {
			c.called = &o
			return o
		}
	case spec.KindRetry:
		if r := retry(d, n); r != nil {
			return r
		}
	case spec.KindAccept:
		if a := accept(d, f, n); a != nil {
			return a
		}
	case spec.KindRef:
		if c.ref(d, f, n) {
			return n.Value
		}
	}
	return nil
}

func (c *compiler) ref(d *spec.Decoder, f *spec.Info, n *yaml.Node) bool {
	if _, ok := c.b.l.named[f.Of][n.Value]; !ok {
		c.b.l.unknown(d, n, f.Of, n.Value)
		return false
	}
	switch f.Of {
	case "profile":
		c.b.profiles = append(c.b.profiles, n.Value)
	case "process":
		if c.step != nil {
			mode := valueAt(c.node, "mode")
			c.b.proc.Calls = append(c.b.proc.Calls, ProcessCall{Process: n.Value, Handoff: mode != nil && mode.Value == "handoff", Pos: c.pos(n)})
		}
	}
	return true
}

// list compiles the steps below a key.
func (c *compiler) list(d *spec.Decoder, f *spec.Info, n *yaml.Node) Block {
	keys := append(append([]string(nil), d.Within()...), f.Key)
	if len(keys) > 1 && keys[len(keys)-1] == "steps" {
		keys = keys[:len(keys)-1] // catch: [...] and catch: { steps: [...] } are the same list
	}
	key := keys[len(keys)-1]
	block := c.block(d, "`"+f.Key+":`", n, c.under(strings.Join(keys, ".")), c.below(key))
	if block != nil && c.step != nil {
		c.step.Lists = append(c.step.Lists, List{Key: key, Steps: block})
	}
	return block
}

// under is the path of what stands below the current step.
func (c *compiler) under(key string) string {
	if c.step == nil {
		return ""
	}
	return c.step.Path + "." + key + "."
}

// below is the scope inside of the current step's list.
func (c *compiler) below(key string) *scope {
	if c.step == nil {
		return c.scope
	}
	s := c.scope.child()
	if c.kind.Flow == Loop {
		s.loops = &rounds{up: c.scope.loopsOf(), what: c.kind.Kind, line: c.step.Pos.Line}
	}
	switch {
	case c.kind.Flow == Attempt && key == "catch":
		s.caught = true
	case c.kind.elements():
		s.element = true
		s.apart = &apart{up: c.scope.apartOf(), what: c.kind.Kind, line: c.step.Pos.Line}
		if as := valueAt(c.node, "as"); as != nil && spec.IsName(as.Value) {
			s.as, s.bound = as.Value, true
		}
	case c.kind.Flow == Parallel:
		s.apart = &apart{up: c.scope.apartOf(), what: c.kind.Kind, line: c.step.Pos.Line}
	}
	return s
}

// elements reports whether a kind runs its list per element: a loop whose own
// key takes a list.
func (k *StepKind) elements() bool {
	if k.Flow != Loop {
		return false
	}
	for _, f := range k.Fields {
		i := f.Info()
		if i.Key == k.Kind && i.Kind == spec.KindObject { // a list, or what else there is to go through
			for _, below := range i.Fields {
				if b := below.Info(); b.Key == i.Short {
					i = b
				}
			}
		}
		if f.Info().Key == k.Kind {
			return i.Kind == spec.KindExpr && i.Want == spec.List
		}
	}
	return false
}

func (c *compiler) paths(d *spec.Decoder, f *spec.Info, n *yaml.Node) []Path {
	if spec.ShapeOf(n) != spec.MapShape || len(n.Content) == 0 {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be a mapping of names to lists of steps, not "+spec.DescribeNode(n), "write `name:` lines below it, each with its steps")
		return nil
	}
	paths := make([]Path, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !f.AnyNames && !spec.IsName(k.Value) {
			d.BadName(k, k.Value)
			continue
		}
		key := k.Value
		if !plainKey(key) {
			key = "#" + strconv.Itoa(i/2)
		}
		p := Path{Name: k.Value, Pos: c.pos(k)}
		p.Steps = c.block(d, "`"+cut(k.Value)+":`", n.Content[i+1], c.under(f.Key+"."+key), c.below(f.Key))
		if p.Steps == nil {
			continue
		}
		c.step.Lists = append(c.step.Lists, List{Key: f.Key, Name: p.Name, Steps: p.Steps})
		paths = append(paths, p)
	}
	return paths
}

// plainKey reports whether a name can stand in a structural path as it is.
func plainKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) <= 40
}

// block compiles a list of steps. It gives nil if n is no list.
func (c *compiler) block(d *spec.Decoder, what string, n *yaml.Node, prefix string, s *scope) Block {
	if spec.ShapeOf(n) != spec.ListShape {
		hint := "begin each step with `- `"
		if spec.ShapeOf(n) == spec.NullShape {
			hint = "add a step below it, or write [] for none"
		}
		d.Problem(n, spec.CodeWrongType, what+" must be a list of steps, not "+spec.DescribeNode(n), hint)
		return nil
	}
	if c.b.steps += len(n.Content); c.b.steps > MaxSteps {
		if c.b.steps-len(n.Content) <= MaxSteps {
			d.Problem(n, CodeTooLarge, "the process has more than "+strconv.Itoa(MaxSteps)+" steps", "make processes of its parts, and call them with `process:`")
		}
		return nil
	}
	block := make(Block, 0, len(n.Content))
	for i, e := range n.Content {
		step := c.compileStep(d, e, prefix+strconv.Itoa(i), s)
		if step == nil {
			continue
		}
		block = append(block, step)
		if step.Name == "" {
			continue
		}
		if first := s.named(step.Name); first != nil {
			d.Problem(valueAt(e, "name"), CodeDuplicateName, "there is a step `"+step.Name+"` above, in line "+strconv.Itoa(first.at.Line), "rename one of them")
		}
		next := s.child()
		next.result, next.at = step.Name, step.Pos
		s = next
		if _, ok := c.b.names[step.Name]; !ok {
			c.b.names[step.Name] = step.Pos
		}
	}
	return block
}
