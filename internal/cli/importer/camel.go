package importer

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// camel reads routes of Apache Camel.
type camel struct {
	*reader
	direct  map[string]string     // names of processes by the URI of their route
	routes  map[string]*yaml.Node // by the same
	gets    map[string]bool       // URIs of routes that operations without a body start
	posts   map[string]bool       // URIs of routes that others start
	budget  int                   // steps that may still be translated
	headers map[string][]string   // headers that routes read
}

// route is the state of the route that is being translated.
type route struct {
	p       *process
	http    bool              // a caller waits
	params  []string          // captures of the path
	meta    map[string]string // headers that the trigger sets
	others  string            // the object with other headers, "" if there are none
	vars    map[string]string // names of variables by "header x", "property x" and "variable x"
	taken   map[string]bool   // names of variables
	headers []string          // headers that were set, in their order
	method  string            // of the next HTTP call, as a header sets it
	body    bool              // whether there is a body
}

func readCamel(r *reader, roots []*yaml.Node) error {
	x := &camel{reader: r, direct: map[string]string{}, routes: map[string]*yaml.Node{}, headers: map[string][]string{}, gets: map[string]bool{}, posts: map[string]bool{}, budget: 20_000}
	var items []*yaml.Node
	for _, root := range roots {
		items = append(items, x.items(root)...)
	}
	for _, item := range items {
		camelKeys(item)
	}
	for _, item := range items {
		x.register(item)
	}
	for _, item := range items {
		key, v := only(item)
		if key == nil {
			continue
		}
		switch key.Value {
		case "route":
			x.route(key, x.object(v, "route"))
		case "from":
			x.route(key, x.object(item, "route"))
		case "rest":
			x.rest(key, x.object(v, "rest"))
		case "restConfiguration":
			x.left(key, "restConfiguration", "the atom has its own settings for this")
		default:
			x.report.add(Part{Place: x.place(key), Part: key.Value, Status: Todo, Why: "no counterpart; it is not in the project"})
		}
	}
	return nil
}

// items returns the routes of a document: a list, or a resource of Kubernetes.
func (x *camel) items(root *yaml.Node) []*yaml.Node {
	if root.Kind == yaml.SequenceNode {
		return root.Content
	}
	if spec := child(root, "spec"); spec != nil {
		if flows := elements(child(spec, "flows")); flows != nil {
			x.leftResource(root)
			return flows
		}
	}
	if key, _ := only(root); key != nil && slices.Contains(camelRoots, key.Value) {
		return []*yaml.Node{root}
	}
	kind := "document"
	if k := child(root, "kind"); k != nil {
		kind = k.Value
	}
	x.left(root, kind, "only routes are read")
	return nil
}

func (x *camel) leftResource(root *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch key := root.Content[i]; key.Value {
		case "spec", "apiVersion", "kind":
		default:
			x.left(key, "resource: "+key.Value, "not needed")
		}
	}
}

// camelKeys writes the keys of a tree as newer versions do: setBody, not set-body.
func camelKeys(n *yaml.Node) {
	for i, e := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if e.Value == "parameters" || e.Value == "properties" {
				continue
			}
			e.Value = kebab.ReplaceAllStringFunc(e.Value, func(s string) string { return strings.ToUpper(s[1:]) })
			continue
		}
		if n.Kind == yaml.MappingNode && n.Content[i-1].Value == "parameters" {
			continue
		}
		camelKeys(e)
	}
}

var kebab = regexp.MustCompile(`-[a-z]`)

// register names the process of each route.
func (x *camel) register(item *yaml.Node) {
	key, v := only(item)
	if key != nil && key.Value == "rest" {
		for _, verb := range verbs {
			for _, n := range elements(child(v, verb)) {
				if u := x.endpoint(child(n, "to")); verb == "get" || verb == "delete" || verb == "head" {
					x.gets[u.scheme+":"+u.path] = true
				} else {
					x.posts[u.scheme+":"+u.path] = true
				}
			}
		}
	}
	if key == nil || key.Value != "route" && key.Value != "from" {
		return
	}
	if key.Value == "from" {
		v = item
	}
	u := x.endpoint(child(v, "from"))
	if u.scheme != "direct" && u.scheme != "seda" {
		return
	}
	id := u.path
	if n := child(v, "id"); n != nil && n.Kind == yaml.ScalarNode {
		id = n.Value
	}
	name := u.scheme + ":" + u.path
	if x.direct[name] == "" {
		x.direct[name] = x.unique(slug(id, "route"))
		x.routes[name] = v
	}
}

// route translates a route.
func (x *camel) route(key *yaml.Node, o *object) {
	from := x.object(o.get("from"), "from")
	if from.node != nil && from.node.Kind == yaml.ScalarNode {
		from.node = mapping("uri", from.node)
	}
	u := x.endpoint(from.node)
	id := o.text("id", "routeId")
	name := u.scheme + ":" + u.path
	p := &process{}
	if x.direct[name] != "" && x.routes[name] == o.node {
		p.name = x.direct[name]
		x.processes = append(x.processes, p)
	} else {
		p = x.process(or(id, baseName(x.file)))
	}
	p.description = or(o.text("description"), "Imported from "+filepath.Base(x.file))
	r := &route{p: p, meta: map[string]string{}, others: "props", vars: map[string]string{}, taken: map[string]bool{}, body: !x.gets[name] || x.posts[name]}
	at := key
	if from.node != nil && len(from.node.Content) > 0 {
		at = from.node.Content[0]
	}
	part := "from " + u.shown()
	p.trigger = origin{x.place(at), part}
	before, err := x.trigger(r, at, u, part)
	if err != nil {
		p.comments = append(p.comments, x.failTrigger(at, part, err))
	} else {
		p.comments = append(p.comments, u.rest(x.reader)...)
	}
	steps := elements(from.get("steps"))
	if len(steps) == 0 {
		steps = elements(o.get("steps"))
	}
	p.steps = append(before, x.steps(r, steps)...)
	if r.http {
		p.steps = append(p.steps, x.reply(r, at, part))
	}
	p.steps = x.atLeastOne(at, part, p.steps)
	from.get("uri", "parameters", "id", "description")
	from.rest()
	o.get("from")
	o.rest("nodePrefixId", "autoStartup", "group", "startupOrder", "streamCache", "x", "logMask", "trace")
}

// reply returns the step that replies with the body.
func (x *camel) reply(r *route, at *yaml.Node, part string) *yaml.Node {
	keys := []any{"reply", "${doc}"}
	if v := r.vars["header CamelHttpResponseCode"]; v != "" {
		keys = append(keys, "status", "${int(vars."+v+" ?? 200)}")
	}
	return x.helper(at, part, keys...)
}

// reads returns the headers that a route and the routes that it starts read.
func (x *camel) reads(name string, seen map[string]bool) []string {
	n := x.routes[name]
	if known, ok := x.headers[name]; ok || n == nil || seen[name] || len(seen) > 50 {
		return known
	}
	seen[name] = true
	var out []string
	set := map[string]bool{}
	var walk func(n *yaml.Node, depth int)
	walk = func(n *yaml.Node, depth int) {
		if n.Kind == yaml.ScalarNode {
			for _, m := range headerRead.FindAllStringSubmatch(n.Value, -1) {
				if h := m[1]; !set[h] && !strings.HasPrefix(h, "Camel") {
					set[h] = true
					out = append(out, h)
				}
			}
			for _, other := range x.reads(n.Value, seen) {
				if !set[other] {
					set[other] = true
					out = append(out, other)
				}
			}
		}
		for _, e := range n.Content {
			walk(e, depth+1)
		}
	}
	walk(n, 0)
	x.headers[name] = out
	return out
}

var headerRead = regexp.MustCompile(`\bheaders?[.:\[]'?"?([A-Za-z_][A-Za-z0-9_-]{0,60})`)

var verbs = []string{"get", "head", "post", "put", "patch", "delete"}

// rest translates the operations of the REST DSL: each has a process with a
// listener that starts the route.
func (x *camel) rest(key *yaml.Node, o *object) {
	base := o.text("path")
	produces := o.text("produces")
	for _, verb := range verbs {
		for _, n := range elements(o.get(verb)) {
			x.operation(x.object(n, "rest "+verb), base, verb, produces)
		}
	}
	o.get("id", "description", "tag")
	for i := 0; o.node != nil && i+1 < len(o.node.Content); i += 2 {
		if k := o.node.Content[i]; k.Value == "openApi" {
			o.read["openApi"] = true
			x.report.add(Part{Place: x.place(k), Part: "rest: openApi", Status: Todo, Why: "make the listeners with valence new --from"})
		}
	}
	o.rest("consumes", "apiDocs", "bindingMode")
}

func (x *camel) operation(o *object, base, verb, produces string) {
	path := "/" + strings.Trim(strings.TrimRight(base, "/")+"/"+strings.Trim(o.text("path", "uri"), "/"), "/")
	part := "rest " + strings.ToUpper(verb) + " " + path
	at := o.node
	p := x.process(or(o.text("id"), verb+path))
	p.description = or(o.text("description"), "Imported from "+filepath.Base(x.file))
	r := &route{p: p, http: true, vars: map[string]string{}, taken: map[string]bool{}, body: verb != "get" && verb != "delete" && verb != "head"}
	p.trigger = origin{x.place(at), part}
	x.listen(r, at, part, path, []string{strings.ToUpper(verb)}, or(o.text("produces"), produces))
	if to := o.get("to"); to != nil {
		p.steps = x.to(r, to, "to", to, false)
	} else if steps := o.get("steps"); steps != nil {
		p.steps = x.steps(r, elements(steps))
	}
	p.steps = append(p.steps, x.reply(r, at, part))
	o.rest("consumes", "param", "responseMessage", "type", "outType", "deprecated", "apiDocs", "bindingMode", "clientRequestValidation", "routeId")
}

// listen adds the listener of a route.
func (x *camel) listen(r *route, at *yaml.Node, part, path string, methods []string, produces string) {
	for _, m := range capture.FindAllStringSubmatch(path, -1) {
		r.params = append(r.params, m[1])
		if v := variable(m[1]); v != m[1] {
			path = strings.ReplaceAll(path, "{"+m[1]+"}", "{"+v+"}")
		}
	}
	listen := mapping("path", literal(path), "method", texts(methods), "output", format(produces), "auth", x.callers())
	r.p.add("listen", listen)
	x.took(at, part, "listener of "+r.p.name)
	r.p.comments = append(r.p.comments, x.left(at, part+": authentication", "it is unknown who may call; callers send the key in X-Api-Key"))
	if produces == "" {
		r.p.comments = append(r.p.comments, x.left(at, part+": format", "replies are JSON; change `output:` for others"))
	}
	r.http, r.meta, r.others = true, map[string]string{"CamelHttpMethod": "request.method", "CamelHttpPath": "request.path", "CamelHttpUri": "request.path"}, "request"
}

var capture = regexp.MustCompile(`\{([^{}/]+)\}`)

// format returns the format of a media type.
func format(media string) string {
	switch {
	case strings.Contains(media, "xml"):
		return "xml"
	case strings.HasPrefix(media, "text/"):
		return "text"
	case strings.Contains(media, "octet-stream"):
		return "binary"
	}
	return "json"
}
