package processes

import (
	"sort"
	"strings"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// place says which names an expression may read where it stands.
type place struct {
	what   string // "a filter", for messages
	roots  []string
	secret bool
}

// The places of expressions.
var (
	inSteps      = &place{what: "a step", roots: []string{"doc", "raw", "input", "request", "response", "props", "vars", "steps", "state", "env", "execution"}}
	inWith       = &place{what: "`with:`", roots: inSteps.roots, secret: true}
	inIntake     = &place{what: "the intake of a process", roots: []string{"doc", "raw", "input", "request", "props", "state", "env"}}
	inConnection = &place{what: "a connection or an auth", roots: []string{"env", "secret"}, secret: true}
)

var rootTypes = map[string]expression.Type{
	"index": expression.TypeNumber, "error": expression.TypeObject, "env": expression.TypeObject, "secret": expression.TypeObject,
	"state": expression.TypeObject, "vars": expression.TypeObject, "steps": expression.TypeObject, "props": expression.TypeObject, "execution": expression.TypeObject,
}

// special are the names that mean something in some places only.
var special = []string{"doc", "raw", "input", "request", "response", "props", "vars", "steps", "item", "index", "error", "state", "env", "secret", "execution"}

// parts are what some names hold.
var parts = map[string][]string{
	"request":   {"method", "path", "params", "query", "headers", "user", "correlation_id"},
	"response":  {"status", "headers"},
	"execution": {"id", "process", "started_at"},
	"error":     {"code", "message", "status", "body", "step", "retryable", "cause"},
}

// scope is what is known where a list of steps stands. It is never changed.
type scope struct {
	up      *scope
	result  string // of a named step; "" for the other kinds of scope
	at      fault.Pos
	element bool // item and index are known
	caught  bool // error is known
	as      string
	bound   bool   // some name is bound by `as:`, here or further up
	apart   *apart // the element or path whose variables are its own; nil outside
	loops   *rounds
}

// rounds is a loop around a step: what is inside happens any number of times.
type rounds struct {
	up   *rounds
	what string // for_each, repeat
	line int
}

// apart is an element of a loop or a path of a branch: variables that are set
// inside are lost behind it.
type apart struct {
	up   *apart
	what string // for_each, branch
	line int
}

func (s *scope) child() *scope {
	c := &scope{up: s}
	if s != nil {
		c.element, c.caught, c.apart, c.bound, c.loops = s.element, s.caught, s.apart, s.bound, s.loops
	}
	return c
}

// named finds the step whose result is called name.
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

// bindings are the names that `as:` gives.
func (s *scope) bindings() (names []string) {
	for ; s != nil && s.bound; s = s.up {
		if s.as != "" {
			names = append(names, s.as)
		}
	}
	return names
}

// types gives what an expression may read: roots, and what `as:` binds.
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

// use is one reading or setting of a variable.
type use struct {
	name  string
	at    fault.Pos
	apart *apart
}

// check looks at what an expression reads.
func (c *compiler) check(refs []expression.Ref) {
	for i := range refs {
		r := &refs[i]
		if len(r.Path) == 0 {
			if r.Call == "callback" {
				c.callback(r)
			}
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
	switch root {
	case "env", "secret":
		c.checkValue(r, root, second)
	case "state":
		c.b.proc.State = true
		c.b.stateReads = append(c.b.stateReads, use{name: second, at: r.Pos})
	case "vars":
		c.b.reads = append(c.b.reads, use{second, r.Pos, c.scope.apartOf()})
	case "steps":
		if second != "" && c.scope.named(second) == nil {
			c.b.unknownResults = append(c.b.unknownResults, result{second, r.Pos, c.scope})
		}
	default:
		c.checkPart(r, root)
	}
}

func (s *scope) apartOf() *apart {
	if s == nil {
		return nil
	}
	return s.apart
}

// known reports whether a special name means something here, or says why not.
func (c *compiler) known(root string, r *expression.Ref) bool {
	is := false
	for _, s := range special {
		is = is || s == root
	}
	if !is {
		return true // bound by `as:` or by the template; others were unknown when it was compiled
	}
	switch root {
	case "secret":
		if !c.place.secret && r.Call != "hmac" {
			c.problem(r.Pos, CodeSecretNotHere, "`secret` cannot be read in "+c.place.what+": the value could reach a document, the journal or a log",
				"read it in a connection, an auth, a call's `with:`, or as an argument of hmac()")
			return false
		}
		return true
	case "item", "index":
		if c.place == inSteps || c.place == inWith {
			if (c.scope == nil || !c.scope.element) && (root != "item" || c.kind == nil || !c.kind.Items) {
				c.problem(r.Pos, CodeNameNotHere, "`"+root+"` is known only inside `for_each` and `$each`", "read `doc` here")
				return false
			}
			return true
		}
	case "error":
		if c.place == inSteps || c.place == inWith {
			if c.scope == nil || !c.scope.caught {
				c.problem(r.Pos, CodeNameNotHere, "`error` is known only inside `catch`", "move the step into the `catch:` of a `try:`")
				return false
			}
			return true
		}
	}
	for _, name := range c.place.roots {
		if name == root {
			return true
		}
	}
	c.problem(r.Pos, CodeNameNotHere, "`"+root+"` means nothing in "+c.place.what, "known here: "+strings.Join(c.place.roots, ", "))
	return false
}

func (c *compiler) checkValue(r *expression.Ref, root, name string) {
	if name == "" {
		c.problem(r.Pos, CodeDynamicName, "which value of `"+root+"` is read must be written out", "write `"+root+".NAME`")
		return
	}
	if !isVariable(name) {
		c.problem(r.Pos, spec.CodeBadName, "`"+cut(name)+"` cannot be the name of a value of the environment", "use letters, digits and `_`, such as `SHOP_URL`")
		return
	}
	c.b.needs = append(c.b.needs, Need{Kind: root, Name: name, Pos: r.Pos})
}

// isVariable reports whether s can name a variable of a machine.
func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// checkPart looks at request.x, response.x, execution.x and error.x.
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
	if !contains(known, name) {
		c.problem(r.Pos, CodeUnknownRead, "`"+root+"` has no `"+cut(name)+"`", suggestion(name, known))
		return
	}
	if root == "request" && name == "params" && len(r.Path) > 2 && c.b.captures != nil && !contains(c.b.captures, r.Path[2]) {
		hint := "the path captures nothing: write `{" + cut(r.Path[2]) + "}` in it"
		if len(c.b.captures) > 0 {
			hint = suggestion(r.Path[2], c.b.captures)
		}
		c.problem(r.Pos, CodeUnknownRead, "the listener's path captures no `"+cut(r.Path[2])+"`", hint)
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// suggestion is a hint for a name that is not among those known.
func suggestion(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "did you mean `" + near + "`?"
	}
	if len(known) > 20 {
		known = append(known[:20:20], "…")
	}
	return "known here: " + strings.Join(known, ", ")
}

// nearest is spec.Suggest over names in an order of their own, so that the
// same files always give the same hint.
func nearest(name string, known []string) string {
	if len(known) > 64 {
		return spec.Suggest(name, spec.Likely(name, known, 64))
	}
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	return spec.Suggest(name, sorted)
}
