package scaffold

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/profile"
)

const schemaLine = "# yaml-language-server: $schema=./schema.json\n"

// builder writes the components of a project.
type builder struct {
	d          *document
	as, name   string
	operations []*operation
	taken      map[string]bool   // names of processes
	profiles   map[string]string // names by text
	notes      []string
	refs       map[string]bool // that were checked, or noted
	primary    string          // security scheme of most operations; "": none
	budget     int             // schemas that the example in the making may still read

	connections, profileTexts, processes, tests []string
}

func (b *builder) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// unique returns a name that no other process has.
func (b *builder) unique(name string) string {
	free := name
	for n := 2; b.taken[free]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	b.taken[free] = true
	return free
}

var (
	upperAfterLower = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	notName         = regexp.MustCompile(`[^a-z0-9]+`)
)

// slug returns a text as the name of a component.
func slug(text, otherwise string) string {
	s := strings.Trim(notName.ReplaceAllString(strings.ToLower(upperAfterLower.ReplaceAllString(text, "$1-$2")), "-"), "-")
	if len(s) > 60 {
		s = strings.Trim(s[:60], "-")
	}
	if s == "" || s[0] < 'a' {
		s = strings.Trim(otherwise+"-"+s, "-")
	}
	return s
}

// variable returns a text as a name that expressions read.
func variable(text string) string { return strings.ReplaceAll(slug(text, "p"), "-", "_") }

// constant returns a text as the name of a value of the environment.
func constant(text string) string { return strings.ToUpper(strings.ReplaceAll(text, "-", "_")) }

// quoted returns a text in quotes, with its spaces joined.
func quoted(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return flow(text)
}

// flow returns a value as JSON, which is YAML too.
func flow(v any) string {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return `""`
	}
	return strings.TrimSpace(out.String())
}

// addProfile returns the name of the profile of a schema, "" if it is none that
// can be used.
func (b *builder) addProfile(schema any, name string) string {
	b.checkRefs(schema)
	p := b.profile(schema)
	if len(p) == 0 {
		return ""
	}
	if ref, ok := p["$ref"].(string); ok {
		name = slug(lastOf(ref), "document")
	}
	if _, err := profile.Compile([]byte(flow(p)), name); err != nil {
		b.note("the schema of %s was not taken over: %v", name, err)
		return ""
	}
	key := flow(p)
	if known, ok := b.profiles[key]; ok {
		return known
	}
	for _, other := range b.profiles {
		if other == name {
			name += "-2"
		}
	}
	b.profiles[key] = name
	text, err := yaml.Marshal(map[string]any{"schema": p})
	if err != nil {
		return ""
	}
	b.profileTexts = append(b.profileTexts, "profile: "+name+"\n"+string(text))
	return name
}

// valid returns the example of a schema if it matches the schema.
func (b *builder) valid(schema any) (text string, ok bool) {
	v := b.exampleFor(schema)
	s, err := profile.Compile([]byte(flow(b.profile(schema))), "example")
	if err != nil || len(s.Validate(flow(v))) > 0 || strings.Contains(flow(v), "${") {
		return "", false
	}
	return flow(v), true
}

// files returns the files of the project.
func (b *builder) files() []File {
	join := func(list []string) string { return schemaLine + strings.Join(list, "---\n") }
	own := b.name
	if slices.Contains([]string{"connections", "auth", "profiles", "tests"}, own) {
		own += "-api"
	}
	files := []File{{own + ".yaml", join(b.processes)}}
	if len(b.connections) > 0 {
		name := "connections.yaml"
		if b.as == AsListener {
			name = "auth.yaml"
		}
		files = append(files, File{name, join(b.connections)})
	}
	if len(b.profileTexts) > 0 {
		files = append(files, File{"profiles.yaml", join(b.profileTexts)})
	}
	if len(b.tests) > 0 {
		files = append(files, File{"tests.yaml", join(b.tests)})
	}
	return files
}

// calls writes a connection, and a process for each operation that calls it.
func (b *builder) calls() {
	address, _ := b.d.base()
	b.chooseSecurity(callable)
	for _, scheme := range b.schemesUsed() {
		name := b.name + b.suffix(scheme)
		text := "connection: " + name + "\nconnector: http\nurl: ${env." + constant(b.name) + "_URL}"
		if address != "" {
			text += "   # " + strings.Join(strings.Fields(address), " ")
		}
		b.connections = append(b.connections, text+"\n"+b.credentials(name, scheme))
	}
	for _, o := range b.operations {
		b.call(o)
	}
}

func description(o *operation) string {
	text := o.Summary
	if text == "" {
		text = o.Description
	}
	if text == "" {
		text = strings.ToUpper(o.method) + " " + o.path
	}
	return "description: " + quoted(text) + "\n"
}

// call writes a process that calls an operation. It reads the parameters as
// properties.
func (b *builder) call(o *operation) {
	path, expected := o.path, o.path
	var query, headers, props []string
	names := map[string]bool{}
	for _, p := range o.Parameters {
		name := variable(p.Name)
		if names[name] {
			name += "_" + p.In
		}
		for base, n := name, 2; names[name]; n++ {
			name = fmt.Sprintf("%s_%d", base, n)
		}
		names[name] = true
		value := "${props." + name + "}"
		if !p.Required && p.In != "path" {
			value = "${props." + name + " ?? omit}"
		}
		example := exampleParameter(p, b)
		switch p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", value)
			expected = strings.ReplaceAll(expected, "{"+p.Name+"}", url.PathEscape(example))
		case "query":
			query = append(query, flow(p.Name)+": \""+value+"\"")
		case "header":
			headers = append(headers, flow(p.Name)+": \""+value+"\"")
		default:
			b.note("%s: the parameter %s in %s was not taken over", o.process, p.Name, p.In)
			continue
		}
		if p.Required || p.In == "path" {
			props = append(props, name+": "+flow(example))
		}
	}
	with := "{ path: " + flow(path)
	if len(query) > 0 {
		with += ", query: { " + strings.Join(query, ", ") + " }"
	}
	if len(headers) > 0 {
		with += ", headers: { " + strings.Join(headers, ", ") + " }"
	}
	with += b.bodyFormat(o)
	text := "process: " + o.process + "\n" + description(o) + "steps:\n"
	if o.body != nil {
		if name := b.addProfile(o.body, o.process+"-body"); name != "" {
			text += "  - validate: " + name + "\n"
		}
	}
	text += "  - call: " + b.connectionOf(o) + "." + o.method + "\n    with: " + with + " }\n"
	b.processes = append(b.processes, text)
	b.testCall(o, expected, props)
}

// formats are the formats of calls by media type.
var formats = map[string]string{
	"application/xml": "xml", "text/xml": "xml", mediaForm: "form", "multipart/form-data": "multipart", "text/plain": "text",
}

// bodyFormat returns the settings of a call that sends another body than JSON.
func (b *builder) bodyFormat(o *operation) string {
	format := formats[o.media]
	switch {
	case o.media == "" || o.media == "application/json":
		return ""
	case format != "":
		text := ", format: " + format
		if o.media == "text/xml" {
			text += ", content_type: text/xml"
		}
		return text
	case strings.HasSuffix(o.media, "+xml"):
		format = "xml"
	case strings.HasPrefix(o.media, "text/"):
		format = "text"
	default:
		format = "binary"
	}
	if strings.Contains(o.media, "*") {
		return ", format: " + format
	}
	return ", format: " + format + ", content_type: " + flow(o.media)
}

func (b *builder) testCall(o *operation, path string, props []string) {
	test := "test: " + o.process + " calls the API\ntarget: " + o.process + "\n"
	if len(props) > 0 {
		test += "props: { " + strings.Join(props, ", ") + " }\n"
	}
	switch {
	case o.body != nil:
		input, ok := b.valid(o.body)
		if !ok {
			b.note("%s: the schema has no simple example, so the process has no test", o.process)
			return
		}
		test += "input: " + input + "\n"
	case o.media == "":
	case formats[o.media] == "text" || strings.HasPrefix(o.media, "text/") && formats[o.media] == "":
		test += "input: some text\n"
	default:
		b.note("%s: the body is no JSON, so the process has no test", o.process)
		return
	}
	reply := "{ status: 204 }"
	if o.status != 204 {
		if example, ok := b.valid(o.reply); ok && o.reply != nil {
			reply = "{ reply: " + example + " }"
		} else {
			reply = "{}"
		}
	}
	test += "mocks: { " + b.connectionOf(o) + "." + o.method + ": " + reply + " }\n"
	test += "expect:\n  calls: [ { " + b.connectionOf(o) + "." + o.method + ": { with: { path: " + flow(path) + " } } } ]\n"
	b.tests = append(b.tests, test)
}

func exampleParameter(p parameter, b *builder) string {
	v := p.Example
	if v == nil {
		v = b.exampleFor(p.Schema)
	}
	switch v := v.(type) {
	case string:
		return v
	case int, float64, bool:
		return fmt.Sprint(v)
	}
	return "1"
}

// reserved are the paths of the atom.
var reserved = []string{"/executions", "/callbacks", "/healthz", "/readyz", "/openapi.json"}

// listeners writes a process for each operation that offers it.
func (b *builder) listeners() {
	b.chooseSecurity(checkable)
	for _, scheme := range b.schemesUsed() {
		if scheme != "" || scheme == b.primary {
			b.connections = append(b.connections, b.callers(scheme))
		}
	}
	_, base := b.d.base()
	for _, o := range b.operations {
		b.listener(o, base)
	}
}

// inputs are the formats of request bodies by media type.
var inputs = map[string]string{
	"application/json": "json", "application/xml": "xml", "text/xml": "xml", "application/x-www-form-urlencoded": "form",
	"multipart/form-data": "multipart", "text/plain": "text", "": "none",
}

func (b *builder) listener(o *operation, base string) {
	path, request := base+o.path, base+o.path
	for _, p := range o.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", "{"+variable(p.Name)+"}")
			request = strings.ReplaceAll(request, "{"+p.Name+"}", url.PathEscape(exampleParameter(p, b)))
		}
	}
	auth := "callers" + b.suffix(o.scheme)
	if o.scheme == "" {
		auth = "callers"
	}
	if o.public {
		b.note("%s: the document lets everybody call it; the listener requires the authentication %s", o.process, auth)
	}
	for _, r := range reserved {
		if path == r || strings.HasPrefix(path, r+"/") {
			b.note("%s: the path %s is reserved for the atom; the listener has /api%s", o.process, path, path)
			path, request = "/api"+path, "/api"+request
		}
	}
	input, ok := inputs[o.media]
	if !ok {
		input = "binary"
	}
	text := "process: " + o.process + "\n" + description(o) +
		"listen: { path: " + flow(path) + ", method: " + strings.ToUpper(o.method) + ", input: " + input + ", output: json, auth: " + auth + " }\n"
	if o.body != nil {
		if name := b.addProfile(o.body, o.process+"-body"); name != "" {
			text += "profile: " + name + "\n"
		}
	}
	reply := "{}"
	if example, ok := b.valid(o.reply); ok && o.reply != nil {
		reply = example
	}
	text += "steps:\n  # TODO: replace the example by the steps that make the reply.\n  - reply: " + reply + "\n"
	if o.status != 200 {
		text += fmt.Sprintf("    status: %d\n", o.status)
	}
	b.processes = append(b.processes, text)
	b.testListener(o, request, input, reply)
}

func (b *builder) testListener(o *operation, request, input, reply string) {
	test := "test: " + o.process + " replies\ntarget: " + o.process + "\nrequest: { path: " + flow(request) + " }\n"
	switch {
	case o.body != nil:
		example, ok := b.valid(o.body)
		if !ok {
			b.note("%s: the schema has no simple example, so the process has no test", o.process)
			return
		}
		test += "input: " + example + "\n"
	case !slices.Contains([]string{"none", "json"}, input):
		b.note("%s: the body is no JSON, so the process has no test", o.process)
		return
	}
	b.tests = append(b.tests, test+fmt.Sprintf("expect: { reply_status: %d, reply: %s }\n", o.status, reply))
}
