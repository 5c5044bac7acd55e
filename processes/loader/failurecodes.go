package loader

import (
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// codeUse is a code in a `catch`.
type codeUse struct {
	code string
	at   fault.Pos
}

// failureCodes records the codes that a step throws or catches.
func (c *compiler) failureCodes() {
	switch c.kind.Flow {
	case processes.Throw:
		if n := valueAt(c.node, "code"); n != nil {
			c.b.thrown = append(c.b.thrown, n.Value)
		}
	case processes.Attempt:
		n := valueAt(c.node, "catch", "codes")
		if n == nil {
			return
		}
		list := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			list = n.Content
		}
		for _, e := range list {
			if e.Kind == yaml.ScalarNode {
				c.b.caught = append(c.b.caught, codeUse{e.Value, c.pos(e)})
			}
		}
	}
}

// caughtCodes checks the codes of every `catch`: those of the runtime and of the
// connectors, and those that a process of the project throws.
func (l *loader) caughtCodes() {
	known, systems := fault.Codes(), l.systemCodes()
	for _, b := range l.processes {
		known = append(known, b.thrown...)
	}
	known = append(known, systems...)
	for _, b := range l.processes {
		for _, u := range b.caught {
			switch {
			case fault.NeverCaught(u.code):
				l.report(nil, u.at, processes.CodeUnknownCode, "`"+u.code+"` is never caught: it ends the execution", "use `finally:` for what must happen in every case")
			case slices.Contains(systems, general(u.code)):
			case !isFailureCode(u.code) && !slices.Contains(known, u.code):
				l.report(nil, u.at, processes.CodeUnknownCode, "no failure has the code `"+cut(u.code)+"`", codeHint(u.code, known)).
					Correct(u.code, spec.Nearest(u.code, known))
			}
		}
	}
}

// sqlState matches the codes of databases, such as 23505 and 40P01.
var sqlState = regexp.MustCompile(`^[0-9A-Z]{5}$`)

// general returns the general form of a code such as Client.Limit, which refines
// Client (SOAP 1.1, 4.4.1): `Client.`; of any other code the code itself.
func general(code string) string {
	if i := strings.IndexByte(code, '.'); i > 0 {
		return code[:i+1]
	}
	return code
}

// isFailureCode reports whether a code, status or class of statuses is one that
// a failure without a `throw:` can have.
func isFailureCode(code string) bool {
	_, status := statuses(code)
	return status || sqlState.MatchString(code) || slices.Contains(fault.Codes(), code)
}

func codeHint(code string, known []string) string {
	if near := spec.Nearest(code, known); near != "" {
		return "did you mean `" + near + "`?"
	}
	return "use a code such as timeout, connect or unavailable, a status such as 429, or a class such as 5xx"
}

// readsError matches an expression that reads the failure.
var readsError = regexp.MustCompile(`\$\{[^}]*\berror\b`)

// hiddenErrors warns of a `catch` that matches every failure and shows none.
func (c *compiler) hiddenErrors() {
	n := valueAt(c.node, "catch")
	if c.kind.Flow != processes.Attempt || n == nil || valueAt(n, "codes") != nil || shows(n) {
		return
	}
	msg := "this `catch` hides every error, also those that nobody expects: the execution ends only with a warning"
	if handled := valueAt(n, "handled"); handled != nil && handled.Value == "true" {
		msg = "this `catch` hides every error, also those that nobody expects: the execution ends as if nothing had failed"
	}
	codes := "list the expected `codes:`, such as `codes: [404, unavailable]`"
	if spec.ShapeOf(n) == spec.ListShape {
		codes = "list the expected codes: write `codes: [404, unavailable]` below `catch:`, and move its steps below `steps:`"
	}
	c.b.hiding = append(c.b.hiding, &fault.Problem{Pos: c.pos(keyAt(c.node, "catch")), Severity: fault.Warning, Code: processes.CodeHiddenErrors, Msg: msg,
		Hint: codes + ", or log `${error.message}`; or accept it: `# accept: " + string(processes.CodeHiddenErrors) + " because …`"})
}

// shows reports whether the steps of a `catch` read the failure, throw, or hand
// it to another process.
func shows(n *yaml.Node) bool {
	for i, e := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && (e.Value == "throw" || e.Value == "process" || e.Value == "emit") {
			return true
		}
		if e.Kind == yaml.ScalarNode && readsError.MatchString(e.Value) || shows(e) {
			return true
		}
	}
	return false
}
