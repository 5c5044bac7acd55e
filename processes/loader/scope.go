package loader

import (
	"slices"
	"strings"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// exprContext describes which names an expression may read.
type exprContext struct {
	what   string // for messages, such as "a step"
	roots  []string
	secret bool
}

// The contexts of expressions.
var (
	inSteps      = &exprContext{what: "a step", roots: []string{"doc", "raw", "input", "request", "response", "props", "vars", "steps", "state", "env", "execution"}}
	inWith       = &exprContext{what: "`with:`", roots: inSteps.roots, secret: true}
	inProcess    = &exprContext{what: "the settings of a process", roots: []string{"doc", "raw", "input", "request", "props", "state", "env"}}
	inConnection = &exprContext{what: "a connection or an auth", roots: []string{"env", "secret"}, secret: true}
)

var rootTypes = map[string]expression.Type{
	"index": expression.TypeNumber, "error": expression.TypeObject, "env": expression.TypeObject, "secret": expression.TypeObject,
	"state": expression.TypeObject, "vars": expression.TypeObject, "steps": expression.TypeObject, "props": expression.TypeObject, "execution": expression.TypeObject,
}

// special lists the names that are available only in some contexts.
var special = []string{"doc", "raw", "input", "request", "response", "props", "vars", "steps", "item", "index", "error", "state", "env", "secret", "execution"}

// parts lists the fields of some names.
var parts = map[string][]string{
	"request":   {"method", "path", "params", "query", "headers", "user", "correlation_id", "operation"},
	"response":  {"status", "headers"},
	"execution": {"id", "process", "started_at"},
	"error":     {"code", "message", "status", "body", "detail", "step", "retryable", "cause"},
}

// scope holds the names known to a list of steps. It is immutable.
type scope struct {
	up      *scope
	result  string // name of a step whose result is known; "" for other scopes
	at      fault.Pos
	element bool // item and index are available
	caught  bool // error is available
	as      string
	bound   bool      // `as:` binds a name, in this scope or an outer one
	vars    *varScope // the innermost element or path with its own variables; nil outside
	loops   *loopScope
}

// loopScope is a loop around a step.
type loopScope struct {
	up   *loopScope
	what string // for_each, repeat
	line int
}

// varScope is an element of a loop or a path of a branch. Variables that are set
// inside are lost after it.
type varScope struct {
	up   *varScope
	what string // for_each, branch
	line int
}

func (s *scope) child() *scope {
	c := &scope{up: s}
	if s != nil {
		c.element, c.caught, c.vars, c.bound, c.loops = s.element, s.caught, s.vars, s.bound, s.loops
	}
	return c
}

// named returns the scope of the step with a name, or nil.
func (s *scope) named(name string) *scope {
	for ; s != nil; s = s.up {
		if s.result == name {
			return s
		}
	}
	return nil
}

func (s *scope) results() (names []string) {
	for ; s != nil; s = s.up {
		if s.result != "" {
			names = append(names, s.result)
		}
	}
	return names
}

// bindings returns the names bound by `as:`.
func (s *scope) bindings() (names []string) {
	for ; s != nil && s.bound; s = s.up {
		if s.as != "" {
			names = append(names, s.as)
		}
	}
	return names
}

// types returns the types of roots and of the names bound by `as:`.
func (s *scope) types(roots []string) map[string]expression.Type {
	m := make(map[string]expression.Type, len(roots)+2)
	for _, r := range roots {
		m[r] = rootTypes[r]
	}
	for _, as := range s.bindings() {
		m[as] = expression.TypeUnknown
	}
	return m
}

// varUse is one read or write of a variable.
type varUse struct {
	name string
	at   fault.Pos
	vars *varScope
}

// check checks the names that an expression reads.
func (c *compiler) check(refs []expression.Ref) {
	for i := range refs {
		r := &refs[i]
		if len(r.Path) == 0 {
			if r.Call == "callback" {
				c.callback(r)
			}
			c.b.use(r)
			continue
		}
		c.checkName(r)
	}
}

func (c *compiler) checkName(r *expression.Ref) {
	root := r.Path[0]
	if known := c.known(root, r); !known {
		return
	}
	second := ""
	if len(r.Path) > 1 {
		second = r.Path[1]
	}
	if root == "request" && second != "" && !r.Optional && c.b.noRequest != "" {
		hint := "read `execution`, `state` or `env` instead; write `request?." + cut(second) + "` if other processes call this one"
		if c.b.noRequest == "the subscription" {
			hint = "read `doc` and `props`, which hold the message, instead"
		}
		c.problem(r.Pos, processes.CodeNameNotHere, "`request` is nil here: "+c.b.noRequest+" starts the process without an HTTP request", hint)
		return
	}
	switch root {
	case "env", "secret":
		c.checkValue(r, root, second)
	case "state":
		c.b.proc.State = true
		c.b.stateReads = append(c.b.stateReads, varUse{name: second, at: r.Pos})
	case "vars":
		c.b.reads = append(c.b.reads, varUse{second, r.Pos, c.scope.varScopeOf()})
	case "steps":
		if second != "" && c.scope.named(second) == nil {
			c.b.unknownResults = append(c.b.unknownResults, resultRead{second, r.Pos, c.scope})
		}
	default:
		c.checkPart(r, root)
	}
}

func (s *scope) varScopeOf() *varScope {
	if s == nil {
		return nil
	}
	return s.vars
}

// known reports whether a name is available in the context, and otherwise
// reports a problem.
func (c *compiler) known(root string, r *expression.Ref) bool {
	is := false
	for _, s := range special {
		is = is || s == root
	}
	if !is {
		return true // bound by `as:` or by the template; compiling has rejected others
	}
	switch root {
	case "secret":
		if !c.context.secret && r.Call != "hmac" {
			c.problem(r.Pos, processes.CodeSecretNotHere, "`secret` cannot be read in "+c.context.what+": its value could reach a document, the journal or a log",
				"read it in a connection, an auth, `with:` of a call, or as an argument of hmac()")
			return false
		}
		return true
	case "item", "index":
		if c.context == inSteps || c.context == inWith {
			if (c.scope == nil || !c.scope.element) && (root != "item" || c.kind == nil || !c.kind.Items) {
				c.problem(r.Pos, processes.CodeNameNotHere, "`"+root+"` is available only in `for_each` and `$each`", "use `doc` here")
				return false
			}
			return true
		}
	case "error":
		if c.context == inSteps || c.context == inWith {
			if c.scope == nil || !c.scope.caught {
				c.problem(r.Pos, processes.CodeNameNotHere, "`error` is available only in `catch`", "move the step into the `catch:` of a `try:`")
				return false
			}
			return true
		}
	}
	for _, name := range c.context.roots {
		if name == root {
			return true
		}
	}
	c.problem(r.Pos, processes.CodeNameNotHere, "`"+root+"` is not available in "+c.context.what, "use one of: "+strings.Join(c.context.roots, ", "))
	return false
}

func (c *compiler) checkValue(r *expression.Ref, root, name string) {
	if name == "" {
		c.problem(r.Pos, processes.CodeDynamicName, "the name of a value of `"+root+"` cannot be computed", "write `"+root+".NAME`")
		return
	}
	if !isVariable(name) {
		c.problem(r.Pos, spec.CodeBadName, "`"+cut(name)+"` is not a valid name of an environment value", "use letters, digits and `_`, such as `SHOP_URL`")
		return
	}
	c.b.needs = append(c.b.needs, processes.Need{Kind: root, Name: name, Pos: r.Pos})
}

// isVariable reports whether s is a valid name of an environment value.
func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// dotted returns a key with its dot, or "".
func dotted(key string) string {
	if key == "" {
		return ""
	}
	return "." + key
}

// checkPart checks the fields of request, response, execution and error.
func (c *compiler) checkPart(r *expression.Ref, root string) {
	known, ok := parts[root]
	if !ok || len(r.Path) < 2 {
		return
	}
	at := 1
	for root == "error" && at+1 < len(r.Path) && r.Path[at] == "cause" {
		at++
	}
	name := r.Path[at]
	if !slices.Contains(known, name) {
		c.problem(r.Pos, processes.CodeUnknownRead, "`"+root+"` has no field `"+cut(name)+"`", spec.Suggestion(name, known)).Correct("."+name, dotted(spec.Nearest(name, known)))
		return
	}
	if root == "request" && (name == "query" || name == "headers") && len(r.Path) > 2 {
		read := processes.RequestRead{In: name, Name: r.Path[2]}
		if !slices.Contains(c.b.proc.Reads, read) {
			c.b.proc.Reads = append(c.b.proc.Reads, read)
		}
	}
	if root == "request" && name == "params" && len(r.Path) > 2 && c.b.captures != nil && !slices.Contains(c.b.captures, r.Path[2]) {
		hint := "add `{" + cut(r.Path[2]) + "}` to the path"
		if len(c.b.captures) > 0 {
			hint = spec.Suggestion(r.Path[2], c.b.captures)
		}
		c.problem(r.Pos, processes.CodeUnknownRead, "the path of the listener has no capture `"+cut(r.Path[2])+"`", hint).Correct("."+r.Path[2], dotted(spec.Nearest(r.Path[2], c.b.captures)))
	}
}
