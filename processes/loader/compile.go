package loader

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// processBuilder compiles one process.
type processBuilder struct {
	comp     *component
	proc     *processes.Process
	l        *loader
	captures []string // of the listener's path; nil without a listener
	// noRequest names the trigger that starts the process without a request.
	noRequest string
	problems  fault.Problems
	hiding    fault.Problems // warnings of a `catch`, reported unless there are errors

	steps        int
	unknownSteps bool // some steps could not be understood, so their replies are not known
	names        map[string]fault.Pos
	content      digest // hash of the process alone
	hashed       bool

	references
	variableUses
	waitUses
}

// references are the things outside of a process that it refers to.
type references struct {
	needs    []processes.Need
	profiles []string
	thrown   []string // codes of `throw:`
	caught   []codeUse
	uses     []string // digests of functions and tables
}

// variableUses are the reads and writes that are checked once all steps of a
// process are known.
type variableUses struct {
	reads, writes  []varUse
	stateReads     []varUse
	stateSets      map[string]bool
	unknownResults []resultRead
}

// waitUses are the waits of a process and the steps that end them.
type waitUses struct {
	waits         []waitDecl
	callbackCalls []callbackCall
	requestExpiry fault.Pos // position of `expires.request`, if set
}

func (b *processBuilder) problem(at fault.Pos, code fault.Code, msg, hint string) *fault.Problem {
	p := &fault.Problem{Pos: at, Code: code, Msg: msg, Hint: hint}
	b.problems = append(b.problems, p)
	return p
}

// compiler compiles the values in one context. Nested contexts have a compiler
// of their own.
type compiler struct {
	b       *processBuilder
	context *exprContext
	scope   *scope
	step    *processes.Step // nil outside of steps
	kind    *processes.StepKind
	node    *yaml.Node // of the step
	called  *processes.Operation
}

func (c *compiler) problem(at fault.Pos, code fault.Code, msg, hint string) *fault.Problem {
	return c.b.problem(at, code, msg, hint)
}

func (c *compiler) pos(n *yaml.Node) fault.Pos { return c.b.comp.pos(n) }

// valueAt returns the value below nested keys, or nil if there is none.
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

// Compile compiles the value of a field. It returns nil after an error.
func (c *compiler) Compile(d *spec.Decoder, f *spec.Info, n *yaml.Node) any {
	switch f.Kind {
	case spec.KindExpr:
		if e := c.expr(d, f, n); e != nil {
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
			c.b.proc.Calls = append(c.b.proc.Calls, processes.ProcessCall{Process: n.Value, Handoff: mode != nil && mode.Value == "handoff", Pos: c.pos(n)})
		}
	}
	return true
}

// list compiles the steps below a key.
func (c *compiler) list(d *spec.Decoder, f *spec.Info, n *yaml.Node) processes.Block {
	keys := append(append([]string(nil), d.Within()...), f.Key)
	if len(keys) > 1 && keys[len(keys)-1] == "steps" {
		keys = keys[:len(keys)-1] // catch: [...] and catch: { steps: [...] } are the same list
	}
	key := keys[len(keys)-1]
	block := c.block(d, "`"+f.Key+":`", n, c.under(strings.Join(keys, ".")), c.below(key))
	if block != nil && c.step != nil {
		c.step.Lists = append(c.step.Lists, processes.List{Key: key, Steps: block})
	}
	return block
}

// under returns the path prefix of steps below the current step.
func (c *compiler) under(key string) string {
	if c.step == nil {
		return ""
	}
	return c.step.Path + "." + key + "."
}

// below returns the scope of a list of the current step.
func (c *compiler) below(key string) *scope {
	if c.step == nil {
		return c.scope
	}
	s := c.scope.child()
	if c.kind.Flow == processes.Loop {
		s.loops = &loopScope{up: c.scope.loopsOf(), what: c.kind.Kind, line: c.step.Pos.Line}
	}
	switch {
	case c.kind.Flow == processes.Attempt && key == "catch":
		s.caught = true
	case c.kind.IteratesElements():
		s.element = true
		s.vars = &varScope{up: c.scope.varScopeOf(), what: c.kind.Kind, line: c.step.Pos.Line}
		if as := valueAt(c.node, "as"); as != nil && spec.IsName(as.Value) {
			s.as, s.bound = as.Value, true
		}
	case c.kind.Flow == processes.Parallel:
		s.vars = &varScope{up: c.scope.varScopeOf(), what: c.kind.Kind, line: c.step.Pos.Line}
	}
	return s
}

func (c *compiler) paths(d *spec.Decoder, f *spec.Info, n *yaml.Node) []processes.Path {
	if spec.ShapeOf(n) != spec.MapShape || len(n.Content) == 0 {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be a map of lists of steps, not "+spec.DescribeNode(n), "write indented `name:` lines below it, each with its steps")
		return nil
	}
	paths := make([]processes.Path, 0, len(n.Content)/2)
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
		p := processes.Path{Name: k.Value, Pos: c.pos(k)}
		p.Steps = c.block(d, "`"+cut(k.Value)+":`", n.Content[i+1], c.under(f.Key+"."+key), c.below(f.Key))
		if p.Steps == nil {
			continue
		}
		c.step.Lists = append(c.step.Lists, processes.List{Key: f.Key, Name: p.Name, Steps: p.Steps})
		paths = append(paths, p)
	}
	return paths
}

// plainKey reports whether a name needs no escaping in a structural path.
func plainKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) <= 40
}

// block compiles a list of steps. It returns nil if n is not a list.
func (c *compiler) block(d *spec.Decoder, what string, n *yaml.Node, prefix string, s *scope) processes.Block {
	if spec.ShapeOf(n) != spec.ListShape {
		hint := "start each step with `- `"
		if spec.ShapeOf(n) == spec.NullShape {
			hint = "add steps below it, or write [] for an empty list"
		}
		d.Problem(n, spec.CodeWrongType, what+" must be a list of steps, not "+spec.DescribeNode(n), hint)
		return nil
	}
	if c.b.steps += len(n.Content); c.b.steps > MaxSteps {
		if c.b.steps-len(n.Content) <= MaxSteps {
			d.Problem(n, processes.CodeTooLarge, "the process has more than "+strconv.Itoa(MaxSteps)+" steps", "move some of them to other processes, and call those with `process:`")
		}
		return nil
	}
	block := make(processes.Block, 0, len(n.Content))
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
			d.Problem(valueAt(e, "name"), processes.CodeDuplicateName, "the name `"+step.Name+"` is already used by the step in line "+strconv.Itoa(first.at.Line), "rename one of them")
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
