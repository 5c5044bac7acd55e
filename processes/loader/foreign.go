package loader

import (
	"slices"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// foreignStep describes the step that replaces steps of other systems.
type foreignStep struct {
	kind  string
	hint  string
	same  bool // only the key differs
	names []string
}

var foreignSteps = []foreignStep{
	{"repeat", "write `repeat: { max: 100, until: \"${vars.done}\", steps: […] }`: it ends when the condition is true", false,
		[]string{"while", "until", "loop", "do", "do_while", "doWhile"}},
	{"for_each", "write `for_each: ${doc.items}` with `steps:`; they read the element as `item`", true,
		[]string{"foreach", "forEach", "for", "each", "split", "iterate"}},
	{"reply", "write `reply: ${doc}` to answer the caller, or `stop:` to end without an answer", true,
		[]string{"return", "respond", "response", "send_response", "respondToWebhook"}},
	{"sleep", "write `sleep: 10s`", true,
		[]string{"delay", "pause", "wait_for", "timer"}},
	{"branch", "write `branch: { one: [ … ], two: [ … ] }`, with one name and list of steps per path; the paths run at the same time", true,
		[]string{"parallel", "multicast", "fork", "concurrent", "scatter", "all"}},
	{"switch", "write `switch: ${doc.type}` with `cases:`", false,
		[]string{"choice", "match", "case", "router", "route"}},
	{"call", "write `call: connection.operation`, such as `call: shop.get` with `with: { path: /orders }`", false,
		[]string{"http", "request", "fetch", "get", "post", "put", "patch", "delete", "http_request", "httpRequest", "invoke", "rest"}},
	{"map", "write `map:` with the fields of the new document", false,
		[]string{"transform", "mapping", "template", "setBody", "set_body", "bloblang", "code", "script"}},
	{"set", "write `set: { name: \"${doc.value}\" }`", true,
		[]string{"assign", "let", "var", "variable", "variables", "setVariable", "set_variable", "setProperty", "set_property"}},
	{"log", "write `log: some text`", true,
		[]string{"print", "echo", "debug", "console", "info", "trace"}},
	{"throw", "write `throw: the message`", true,
		[]string{"raise", "fail", "error", "abort", "exception", "reject"}},
	{"stop", "write `stop:`", true,
		[]string{"end", "exit", "break", "terminate", "finish", "noop"}},
	{"try", "write `try:` with the steps that may fail, and `catch:` at the same level", false,
		[]string{"catch", "doTry", "rescue", "on_error", "onException"}},
	{"process", "write `process: name` to run another process", true,
		[]string{"subprocess", "sub_process", "execute", "executeWorkflow", "run", "flow", "include"}},
	{"if", "write `if: ${doc.total > 100}` with `then:`", false,
		[]string{"when", "unless", "elif", "elseif", "else_if", "condition"}},
	{"validate", "write `validate: profile`", false,
		[]string{"check", "assert", "schema", "json_schema"}},
}

// foreignStepOf returns the step that replaces a step of another system, or nil.
func foreignStepOf(name string) *foreignStep {
	for i := range foreignSteps {
		if slices.Contains(foreignSteps[i].names, name) {
			return &foreignSteps[i]
		}
	}
	return nil
}

// correct adds the correction of the key to a problem, if the value fits the step
// that replaces it.
func (s *foreignStep) correct(p *fault.Problem, key string, value *yaml.Node) {
	if s.same && (s.kind != "branch" || spec.ShapeOf(value) == spec.MapShape) {
		p.Correct(key+":", s.kind+":")
	}
}
