// Package scaffold writes projects from descriptions of other systems.
package scaffold

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// File is a file of a project.
type File struct{ Name, Text string }

// The kinds of projects that OpenAPI writes.
const (
	AsConnection = "connection" // processes that call the API
	AsListener   = "listener"   // processes that offer the API
)

// document is the part of an OpenAPI document that a project needs.
type document struct {
	OpenAPI    string `yaml:"openapi"`
	Swagger    string `yaml:"swagger"`
	Info       struct{ Title string }
	Servers    []struct{ URL string }
	Security   []map[string][]string
	Paths      yaml.Node
	Components struct {
		Schemas         map[string]any
		Parameters      map[string]parameter
		RequestBodies   map[string]content       `yaml:"requestBodies"`
		Responses       map[string]content       `yaml:"responses"`
		SecuritySchemes map[string]securityEntry `yaml:"securitySchemes"`
		PathItems       yaml.Node                `yaml:"pathItems"`
	}
}

type securityEntry struct {
	Type, Scheme, In, Name string
	Flows                  struct {
		ClientCredentials *struct {
			TokenURL string `yaml:"tokenUrl"`
		} `yaml:"clientCredentials"`
	}
}

type parameter struct {
	Ref      string `yaml:"$ref"`
	Name, In string
	Required bool
	Schema   any
	Example  any
}

// content is a request body or a response.
type content struct {
	Ref     string `yaml:"$ref"`
	Content map[string]struct{ Schema any }
}

type operation struct {
	ID          string `yaml:"operationId"`
	Summary     string
	Description string
	Parameters  []parameter
	RequestBody *content `yaml:"requestBody"`
	Responses   yaml.Node
	Security    *[]map[string][]string

	method, path, process string
	body                  any // schema of the JSON body; nil: none
	media                 string
	status                int    // of success
	reply                 any    // schema of the JSON response; nil: none
	scheme                string // of its security; "": none
	public                bool   // the document demands no security
}

// errSwagger reports a document of another version.
var errSwagger = errors.New("the document is Swagger 2.0; convert it to OpenAPI 3, for instance with swagger2openapi")

// OpenAPI returns the files of a project for an OpenAPI document: processes that
// call its operations, or processes that offer them. notes are the parts that
// were not taken over.
func OpenAPI(text []byte, as string) (files []File, notes []string, err error) {
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, nil, fmt.Errorf("the file is not an OpenAPI document: %w", err)
	}
	switch {
	case d.Swagger != "":
		return nil, nil, errSwagger
	case !strings.HasPrefix(d.OpenAPI, "3."):
		return nil, nil, errors.New("the file is not an OpenAPI document: it has no `openapi: 3.…`")
	}
	b := &builder{d: &d, as: as, name: slug(d.Info.Title, "api"), taken: map[string]bool{}, profiles: map[string]string{}, refs: map[string]bool{}}
	if err := b.readOperations(); err != nil {
		return nil, nil, err
	}
	if len(b.operations) == 0 {
		return nil, nil, errors.New(strings.Join(append([]string{"the document has no operations that processes can have"}, b.notes...), "; "))
	}
	if as == AsListener {
		b.listeners()
	} else {
		b.calls()
	}
	return b.files(), b.notes, nil
}

// capture matches a parameter in a path.
var capture = regexp.MustCompile(`\{([^{}]+)\}`)

// methods are the methods of operations, with the operation of the connector.
var methods = []string{"get", "post", "put", "patch", "delete"}

func (b *builder) readOperations() error {
	for i := 0; i+1 < len(b.d.Paths.Content); i += 2 {
		path, item := b.d.Paths.Content[i].Value, b.d.Paths.Content[i+1]
		if item = b.pathItem(item); item == nil {
			continue
		}
		var common []parameter
		for j := 0; j+1 < len(item.Content); j += 2 {
			if item.Content[j].Value == "parameters" {
				if err := item.Content[j+1].Decode(&common); err != nil {
					return fmt.Errorf("line %d: %w", item.Content[j].Line, err)
				}
			}
		}
		for j := 0; j+1 < len(item.Content); j += 2 {
			method := item.Content[j].Value
			if !slices.Contains(methods, method) {
				if method == "head" || method == "options" || method == "trace" {
					b.note("%s %s: the method has no process", strings.ToUpper(method), path)
				}
				continue
			}
			o := &operation{}
			if err := item.Content[j+1].Decode(o); err != nil {
				return fmt.Errorf("line %d: %w", item.Content[j].Line, err)
			}
			b.add(o, method, path, common)
		}
	}
	return nil
}

// pathProblem returns why no process can call or offer a path, or "".
func pathProblem(path string) string {
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		plain := capture.ReplaceAllString(segment, "")
		switch {
		case segment == "." || segment == "..":
			return "it has the segment " + segment
		case plain != "" && plain != segment, strings.Count(segment, "{") > 1:
			return "a parameter is a part of a segment"
		case strings.ContainsAny(plain, "?#$\\ {}"):
			return "it contains characters that a path does not have"
		}
	}
	return ""
}

// add completes an operation. One that no process can have is noted.
func (b *builder) add(o *operation, method, path string, common []parameter) {
	if why := pathProblem(path); why != "" {
		b.note("%s %s: %s", strings.ToUpper(method), path, why)
		return
	}
	o.method, o.path = method, path
	name := o.ID
	if name == "" {
		name = method + " " + strings.ReplaceAll(strings.ReplaceAll(path, "{", "by "), "}", "")
	}
	o.process = b.unique(slug(name, "operation"))
	own := o.Parameters
	o.Parameters = nil
	for _, p := range append(own, common...) {
		if p.Ref != "" {
			p, _ = local(b, p.Ref, "parameters", b.d.Components.Parameters)
		}
		known := slices.ContainsFunc(o.Parameters, func(q parameter) bool { return q.Name == p.Name && q.In == p.In })
		if p.Name != "" && !known {
			o.Parameters = append(o.Parameters, p)
		}
	}
	for _, m := range capture.FindAllStringSubmatch(path, -1) { // declared or not
		if !slices.ContainsFunc(o.Parameters, func(p parameter) bool { return p.In == "path" && p.Name == m[1] }) {
			o.Parameters = append(o.Parameters, parameter{Name: m[1], In: "path", Required: true})
		}
	}
	if c := o.RequestBody; c != nil {
		if c.Ref != "" {
			resolved, ok := local(b, c.Ref, "requestBodies", b.d.Components.RequestBodies)
			if !ok {
				b.note("%s: the process has no body, because its reference was left out", o.process)
			}
			c = &resolved
		}
		o.media, o.body = pick(c)
		if o.media == mediaForm && b.as != AsListener {
			o.body = formSchema(c)
		}
	}
	o.status = 200
	if o.method == "delete" {
		o.status = 204
	}
	for i := 0; i+1 < len(o.Responses.Content); i += 2 {
		var status int
		if _, err := fmt.Sscanf(o.Responses.Content[i].Value, "%d", &status); err != nil || status < 200 || status > 299 {
			continue
		}
		var c content
		if err := o.Responses.Content[i+1].Decode(&c); err != nil {
			continue
		}
		if c.Ref != "" {
			c, _ = local(b, c.Ref, "responses", b.d.Components.Responses)
		}
		o.status = status
		if media, schema := pick(&c); media == "application/json" {
			o.reply = schema
		}
		break
	}
	b.operations = append(b.operations, o)
}

// pick returns the media type of a body, JSON if there is a choice, with the
// schema of a JSON body.
func pick(c *content) (media string, schema any) {
	for _, name := range sortedKeys(c.Content) {
		base, _, _ := strings.Cut(name, ";")
		if base = strings.TrimSpace(base); base == "application/json" || strings.HasSuffix(base, "+json") || base == "*/*" {
			return "application/json", c.Content[name].Schema
		}
		if media == "" {
			media = base
		}
	}
	return media, nil
}

// mediaForm is the media type of HTML forms.
const mediaForm = "application/x-www-form-urlencoded"

// formSchema returns the schema of a form.
func formSchema(c *content) any {
	for _, name := range sortedKeys(c.Content) {
		if base, _, _ := strings.Cut(name, ";"); strings.TrimSpace(base) == mediaForm {
			return c.Content[name].Schema
		}
	}
	return nil
}

// base returns the URL of the API, and the path below which it is.
func (d *document) base() (address, path string) {
	if len(d.Servers) == 0 {
		return "", ""
	}
	address = d.Servers[0].URL
	u, err := url.Parse(address)
	if err != nil || strings.ContainsAny(address, "{}") {
		return address, ""
	}
	return address, strings.TrimRight(u.Path, "/")
}
