package importer

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// process is a process of the project in the making.
type process struct {
	name, description string
	comments          []string
	keys              []*yaml.Node // trigger and delivery: names and values in turn
	trigger           origin
	steps             []*yaml.Node
}

func (p *process) add(key string, value *yaml.Node) { p.keys = append(p.keys, text(key), value) }

// component is a connection or an auth.
type component struct {
	name string
	node *yaml.Node
}

// reader holds the project in the making.
type reader struct {
	file, kind  string
	processes   []*process
	connections []component
	auths       []component
	report      *Report
	origins     map[*yaml.Node]origin // of steps
	names       map[string]bool       // of processes
	known       map[string]string     // names of connections by their settings
	guard       bool                  // whether the process for missing parts is needed
}

// origin is the part of the source that a step stands for.
type origin struct{ place, part string }

func newReader(file, kind string) *reader {
	return &reader{
		file: file, kind: kind, origins: map[*yaml.Node]origin{}, known: map[string]string{},
		names:  map[string]bool{missing: true, "connections": true, "auth": true, "schema": true},
		report: &Report{Kind: kind, Source: file, Parts: []Part{}, Values: []Value{}},
	}
}

// place returns the position of a node.
func (r *reader) place(n *yaml.Node) string {
	if n == nil {
		return r.file
	}
	return fmt.Sprintf("%s:%d:%d", r.file, n.Line, n.Column)
}

// process adds a process with a name that no other process has.
func (r *reader) process(name string) *process {
	p := &process{name: r.unique(slug(name, "process"))}
	r.processes = append(r.processes, p)
	return p
}

func (r *reader) unique(name string) string {
	free := name
	for n := 2; r.names[free]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	r.names[free] = true
	return free
}

// missing is the name of the process that stands for missing parts.
const missing = "not-imported"

// step returns a step, of which the report says that it was taken over.
func (r *reader) step(at *yaml.Node, part string, comments []string, keysAndValues ...any) *yaml.Node {
	return r.stepAt(r.place(at), part, comments, keysAndValues...)
}

func (r *reader) stepAt(place, part string, comments []string, keysAndValues ...any) *yaml.Node {
	n := mapping(keysAndValues...)
	comment(n, comments...)
	r.origins[n] = origin{place, part}
	r.report.add(Part{Place: place, Part: part, Status: TakenOver, As: "step " + keysAndValues[0].(string)})
	return n
}

// helper returns a step that stands for no part of the source.
func (r *reader) helper(at *yaml.Node, part string, keysAndValues ...any) *yaml.Node {
	n := mapping(keysAndValues...)
	r.origins[n] = origin{r.place(at), part}
	return n
}

// todo returns a step that fails, in place of a part without a counterpart.
func (r *reader) todo(at *yaml.Node, part, why string) *yaml.Node {
	return r.todoAt(r.place(at), part, why)
}

func (r *reader) todoAt(place, part, why string) *yaml.Node {
	r.report.add(Part{Place: place, Part: part, Status: Todo, Why: why})
	return r.failing(place, part, why)
}

func (r *reader) failing(place, part, why string) *yaml.Node {
	r.guard = true
	n := mapping("process", missing, "props", mapping("part", literal(shorten(part+" of "+place, 200))))
	comment(n, "TODO: "+place+": "+part+": "+why)
	return n
}

// left reports a part that was left out, and returns the comment about it.
func (r *reader) left(at *yaml.Node, part, why string) string {
	return r.leftAt(r.place(at), part, why)
}

func (r *reader) leftAt(place, part, why string) string {
	r.report.add(Part{Place: place, Part: part, Status: LeftOut, Why: why})
	return "TODO: " + place + ": " + part + ": " + why
}

// took reports a part that was taken over as something else than a step.
func (r *reader) took(at *yaml.Node, part, as string) {
	r.report.add(Part{Place: r.place(at), Part: part, Status: TakenOver, As: as})
}

// connection returns the name of the connection with these settings.
func (r *reader) connection(name, connector string, settings *yaml.Node) string {
	key := connector + " " + encode(settings)
	if known, ok := r.known[key]; ok {
		return known
	}
	base := slug(name, connector)
	free := base
	for n := 2; r.taken(free); n++ {
		free = fmt.Sprintf("%s-%d", base, n)
	}
	r.known[key] = free
	n := mapping("connection", free, "connector", connector)
	n.Content = append(n.Content, settings.Content...)
	n.HeadComment = settings.HeadComment
	r.connections = append(r.connections, component{free, n})
	return free
}

func (r *reader) taken(connection string) bool {
	for _, c := range r.connections {
		if c.name == connection {
			return true
		}
	}
	return false
}

// callers returns the name of the auth of listeners whose callers are unknown: an
// API key.
func (r *reader) callers() string {
	return r.auth("callers", mapping("scheme", "api_key", "header", "X-Api-Key", "key", r.secret("CALLERS_KEY", "the key with which callers authenticate")))
}

func (r *reader) auth(name string, settings *yaml.Node) string {
	key := "auth " + encode(settings)
	if known, ok := r.known[key]; ok {
		return known
	}
	free := slug(name, "auth")
	for n := 2; ; n++ {
		used := false
		for _, c := range r.auths {
			used = used || c.name == free
		}
		if !used {
			break
		}
		free = fmt.Sprintf("%s-%d", slug(name, "auth"), n)
	}
	r.known[key] = free
	n := mapping("auth", free)
	n.Content = append(n.Content, settings.Content...)
	r.auths = append(r.auths, component{free, n})
	return free
}

// secret returns the expression that reads a secret, and lists it in the report.
func (r *reader) secret(name, about string) string {
	name = constant(name)
	r.report.value(Value{"secret", name, about, ""})
	return "${secret." + name + "}"
}

// env returns the expression that reads a value of the environment.
func (r *reader) env(name, about, suggestion string) string {
	name = constant(name)
	r.report.value(Value{"env", name, about, suggestion})
	return "env." + name
}

// text returns a scalar that is text.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
	n.SetString(strings.ToValidUTF8(s, "�"))
	return n
}

// literal returns text in which nothing is an expression.
func literal(s string) *yaml.Node { return text(escape(s)) }

func escape(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func number(n int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(n)}
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

// mapping returns a map. Values are text, numbers, booleans, nodes, or lists of
// nodes; nil is left out.
func mapping(keysAndValues ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		set(n, keysAndValues[i].(string), keysAndValues[i+1])
	}
	return n
}

func set(n *yaml.Node, key string, value any) {
	if v := node(value); v != nil {
		n.Content = append(n.Content, text(key), v)
	}
}

func node(value any) *yaml.Node {
	switch v := value.(type) {
	case string:
		return text(v)
	case template:
		return text(v.String())
	case int:
		return number(v)
	case bool:
		return boolean(v)
	case *yaml.Node:
		return v
	case []*yaml.Node:
		return &yaml.Node{Kind: yaml.SequenceNode, Content: v}
	}
	return nil
}

// comment adds comments above a node.
func comment(n *yaml.Node, comments ...string) {
	for _, c := range comments {
		line := "# " + printable(shorten(c, 240))
		if n.HeadComment != "" {
			line = n.HeadComment + "\n" + line
		}
		n.HeadComment = line
	}
}

// printable returns text on one line.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

func shorten(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

var (
	upperAfterLower = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	notName         = regexp.MustCompile(`[^a-z0-9]+`)
	identifier      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretName      = regexp.MustCompile(`(?i)(passw|secret|token|api[-_]?key|apikey|access[-_]?key|credential|authorization|private[-_]?key|^pwd$|^pass$|^key$|signature)`)
)

func isSecretName(name string) bool { return secretName.MatchString(name) }

// slug returns a text as the name of a component.
func slug(name, otherwise string) string {
	s := strings.Trim(notName.ReplaceAllString(strings.ToLower(upperAfterLower.ReplaceAllString(name, "$1-$2")), "-"), "-")
	if len(s) > 50 {
		s = strings.Trim(s[:50], "-")
	}
	if s == "" || s[0] < 'a' {
		s = strings.Trim(otherwise+"-"+s, "-")
	}
	return s
}

// variable returns a text as a name that expressions read.
func variable(name string) string { return strings.ReplaceAll(slug(name, "v"), "-", "_") }

// constant returns a text as the name of a value of the environment.
func constant(name string) string {
	s := strings.Trim(strings.ToUpper(notName.ReplaceAllStringFunc(strings.ToLower(name), func(string) string { return "_" })), "_")
	if s == "" || s[0] < 'A' {
		s = "V_" + s
	}
	return shorten(s, 60)
}

// encode returns a node as YAML.
func encode(n *yaml.Node) string {
	var out strings.Builder
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return ""
	}
	return out.String()
}

// piece is literal text, or an expression.
type piece struct {
	text string
	expr bool
}

// template is text with expressions.
type template []piece

// String returns the template as it is written in a project.
func (t template) String() string {
	var out strings.Builder
	for _, p := range t {
		if p.expr {
			out.WriteString("${" + p.text + "}")
		} else {
			out.WriteString(escape(p.text))
		}
	}
	return out.String()
}

// fixed reports whether a template reads the environment only.
func (t template) fixed() bool {
	for _, p := range t {
		if p.expr && !strings.HasPrefix(p.text, "env.") && !strings.HasPrefix(p.text, "secret.") {
			return false
		}
	}
	return true
}

// empty reports whether a template has no text.
func (t template) empty() bool { return len(t) == 0 || len(t) == 1 && t[0].text == "" }

// expression returns the template as one expression.
func (t template) expression() string {
	if len(t) == 1 && t[0].expr {
		return t[0].text
	}
	var parts []string
	for _, p := range t {
		if p.expr {
			parts = append(parts, "string("+p.text+")")
		} else if p.text != "" {
			parts = append(parts, quote(p.text))
		}
	}
	if len(parts) == 0 {
		return `""`
	}
	return strings.Join(parts, " + ")
}

// hostName returns the host of a URL as the base of a name.
func hostName(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	host := u.Hostname()
	for _, prefix := range []string{"www.", "api."} {
		host = strings.TrimPrefix(host, prefix)
	}
	for _, r := range host {
		if unicode.IsLetter(r) {
			return host
		}
	}
	return ""
}

// atLeastOne returns a list of steps that is not empty.
func (r *reader) atLeastOne(at *yaml.Node, part string, steps []*yaml.Node) []*yaml.Node {
	if len(steps) > 0 {
		return steps
	}
	return []*yaml.Node{r.helper(at, part, "log", "nothing to do")}
}
