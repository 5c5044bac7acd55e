package processes

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// compile compiles the process.
func (b *building) compile(l *loader) {
	b.l, b.names = l, map[string]fault.Pos{}
	root := b.comp.root
	c := &compiler{b: b, place: inIntake}
	d := l.decoder(b.comp, &b.problems, c)
	if listen := valueAt(root, "listen"); listen != nil {
		b.captures = capturesOf(listen)
	}
	var decl processDecl
	d.Mapping(root, &spec.Keys{What: "a process", Fields: processFields, Target: &decl})
	b.fill(&decl, d)
	if decl.Steps != nil && len(decl.Steps) == 0 {
		d.Problem(valueAt(root, "steps"), CodeNoSteps, "a process without steps does nothing", "add a step")
	}
	b.variables()
	b.waitsAndCallbacks()
	b.state()
	b.replies()
	b.content = digestOf(root)
	b.patient, b.workers = valueAt(root, "listen", "timeout") != nil, valueAt(root, "workers") != nil
}

func (b *building) fill(decl *processDecl, d *spec.Decoder) {
	p, root := b.proc, b.comp.root
	p.Description, p.Steps = decl.Description, decl.Steps
	p.Delivery = Delivery{
		Filter: decl.Filter, Workers: decl.Workers, Backlog: decl.Backlog, Retry: decl.Retry, Track: decl.Track,
		Profile: b.l.project.Profiles[decl.Profile],
		Redact:  append(append([]string(nil), b.l.project.Defaults.Redact...), decl.Redact...),
	}
	checkRedact(d, root, decl.Redact)
	p.Delivery.Retention = b.l.project.Defaults.Retention
	if decl.Retention != nil {
		p.Delivery.Retention = decl.Retention.resolve()
	}
	if decl.Dedupe != nil {
		dedupe := decl.Dedupe.Dedupe
		dedupe.AcceptMissing = decl.Dedupe.WhenMissing == "accept"
		p.Delivery.Dedupe = &dedupe
	}
	b.order(decl, d)
	if decl.Listen != nil {
		b.listen(decl.Listen, d)
	}
	if decl.Schedule != nil {
		b.schedule(decl.Schedule, d)
	}
	if n := valueAt(root, "subscribe"); n != nil {
		b.subscribe(n, d)
	}
	b.oneTrigger(d)
	b.expires(decl.Expires, d)
	p.Pattern = b.pattern()
}

func (r *retentionDecl) resolve() Retention {
	if r.Documents == asRecords {
		r.Documents = r.Records
	}
	return Retention{Documents: min(r.Documents, r.Records), Records: r.Records}
}

// pattern tells how the process treats whoever starts it.
func (b *building) pattern() Pattern {
	switch l := b.proc.Listen; {
	case l == nil && b.proc.Schedule == nil && b.proc.Subscribe == nil:
		return Called
	case l == nil:
		return FireAndForget
	case l.Output == "":
		return FireAndForget
	case b.early(b.proc.Steps):
		return EarlyReply
	}
	return RequestReply
}

// early reports whether a reply has steps behind it.
func (b *building) early(block Block) bool {
	for i, s := range block {
		if b.l.kinds[s.Kind].Flow == Reply && i < len(block)-1 {
			return true
		}
		for _, list := range s.Lists {
			if b.early(list.Steps) {
				return true
			}
		}
	}
	return false
}

func checkRedact(d *spec.Decoder, n *yaml.Node, paths []string) {
	at := valueAt(n, "redact")
	for i, p := range paths {
		ok := p != ""
		for _, part := range strings.Split(p, ".") {
			ok = ok && part != "" && !strings.ContainsAny(part, " \t[]*$")
		}
		if ok {
			continue
		}
		e := at
		if len(at.Content) > i {
			e = at.Content[i]
		}
		d.Problem(e, spec.CodeWrongValue, "`"+cut(p)+"` is no path", "write the keys with dots between them, such as `card.number`; lists are gone through")
	}
}

// listen fills in the trigger.
func (b *building) listen(decl *listenDecl, d *spec.Decoder) {
	n := valueAt(b.comp.root, "listen")
	l := decl.Listen
	l.Pos, l.Methods = b.comp.pos(n), decl.Method
	for i := 0; i+1 < len(b.comp.root.Content); i += 2 {
		if k := b.comp.root.Content[i]; k.Value == "listen" {
			l.Pos = b.comp.pos(k)
		}
	}
	b.listenPath(&l, decl, n, d)
	b.listenInput(&l, n, d)
	if valueAt(n, "auth") == nil {
		d.Problem(n, CodeMissingAuth, "the listener does not say who may call it", "add `auth:` with the name of an auth component, or `auth: none` to let anybody in")
	}
	useless := func(key, msg, hint string) {
		if at := valueAt(n, key); at != nil {
			d.Problem(at, CodeNoEffect, "`"+key+":` has no effect "+msg, hint)
		}
	}
	if l.Output != "" {
		useless("ack", "beside `output:`: the caller gets the reply", "drop `ack:`, or `output:` to acknowledge at once")
	} else {
		useless("timeout", "without `output:`: nobody waits", "drop it, or add `output:`")
		useless("timeout_action", "without `output:`: nobody waits", "drop it, or add `output:`")
		l.Timeout = 0
	}
	b.replyModes(&l, decl, n, d)
	for i, m := range l.Methods {
		if contains(l.Methods[:i], m) {
			d.Problem(valueAt(n, "method"), CodeDuplicateName, "the method "+m+" is there twice", "keep one of them")
		}
	}
	b.proc.Listen = &l
}

// listenInput decides what is received where the author did not.
func (b *building) listenInput(l *Listen, n *yaml.Node, d *spec.Decoder) {
	if l.Input != "" || valueAt(n, "input") != nil {
		return
	}
	bodies := 0
	for _, m := range l.Methods {
		if m != "GET" && m != "HEAD" && m != "DELETE" {
			bodies++
		}
	}
	switch bodies {
	case 0:
		l.Input = "none"
	case len(l.Methods):
		l.Input = "json"
	default:
		d.Problem(n, spec.CodeMissingKey, "`listen:` needs `input:` where some of its methods carry a body and some do not", "add `input: json`, or make two processes")
		l.Input = "json"
	}
}

// reserved are the paths that belong to the atom, and those below them.
var reserved = []string{"/executions", "/callbacks", "/healthz", "/readyz", "/openapi.json"}

func (b *building) listenPath(l *Listen, decl *listenDecl, n *yaml.Node, d *spec.Decoder) {
	at := valueAt(n, "path")
	if at == nil {
		operation, object := strings.ToLower(decl.Operation), decl.Object
		if operation == "" {
			operation = "execute"
		}
		if object == "" {
			object = b.proc.Name
		}
		l.Path = "/ws/simple/" + operation + object
		for _, key := range []string{"operation", "object"} {
			if v := valueAt(n, key); v != nil && !plainKey(v.Value) {
				d.Problem(v, CodeBadPath, "`"+cut(v.Value)+"` cannot be part of a path", "use letters, digits, `-` and `_`")
			}
		}
		return
	}
	for _, key := range []string{"operation", "object"} {
		if v := valueAt(n, key); v != nil {
			d.Problem(v, CodeNoEffect, "`"+key+":` has no effect beside `path:`", "drop one of them")
		}
	}
	if l.Path == "" {
		if at.Value == "" && spec.ShapeOf(at) == spec.TextShape {
			d.Problem(at, CodeBadPath, "the path is empty", "begin it with a slash: `path: /orders`")
		}
		return
	}
	if msg, hint := badPath(l.Path); msg != "" {
		d.Problem(at, CodeBadPath, msg, hint)
		return
	}
	for _, r := range reserved {
		if l.Path == r || strings.HasPrefix(l.Path, r+"/") {
			d.Problem(at, CodeReservedPath, "`"+r+"` belongs to the atom", "choose another path, such as `/api"+l.Path+"`")
		}
	}
}

// badPath says what is wrong with a listener's path.
func badPath(p string) (msg, hint string) {
	switch {
	case p[0] != '/':
		return "the path `" + cut(p) + "` does not begin with a slash", "write `path: /" + cut(p) + "`"
	case len(p) > 1 && strings.HasSuffix(p, "/"):
		return "the path ends with a slash", "write `path: " + cut(strings.TrimRight(p, "/")) + "`"
	case len(p) > 1000:
		return "the path has more than 1000 characters", "shorten it"
	}
	var names []string
	for _, seg := range strings.Split(p[1:], "/") {
		name, capture := strings.CutPrefix(seg, "{")
		name, closed := strings.CutSuffix(name, "}")
		switch {
		case capture && closed && !spec.IsName(name):
			return "`" + cut(name) + "` cannot name a capture", "use lower-case letters, digits and `_`, such as `{order_id}`"
		case capture && closed && contains(names, name):
			return "the path captures `" + name + "` twice", "rename one of them"
		case capture && closed:
			names = append(names, name)
		case strings.ContainsAny(seg, "{}"):
			return "a capture is a whole segment: `" + cut(seg) + "` is not", "write `/{name}/` between slashes"
		case seg == "" && p != "/":
			return "the path has two slashes in a row", "write one"
		case seg == "." || seg == "..":
			return "the path has a `" + seg + "` segment", "write the path that is meant"
		case !isSegment(seg):
			return fmt.Sprintf("`%s` has characters that a path cannot have as they are", cut(seg)), "use letters, digits and -._~!$&'()*+,;=:@"
		}
	}
	return "", ""
}

// isSegment reports whether s is a path segment without percent-encoding (RFC 3986, pchar).
func isSegment(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~!$&'()*+,;=:@", c) < 0 {
			return false
		}
	}
	return true
}

// capturesOf gives the captures of a listener's path; it is never nil.
func capturesOf(listen *yaml.Node) []string {
	names := []string{}
	if p := valueAt(listen, "path"); p != nil {
		for _, seg := range strings.Split(p.Value, "/") {
			if strings.HasPrefix(seg, "{") && strings.HasSuffix(seg, "}") {
				names = append(names, seg[1:len(seg)-1])
			}
		}
	}
	return names
}
