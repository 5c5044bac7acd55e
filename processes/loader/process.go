package loader

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/convert"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/analysis"
	"valence/processes/language"
)

// compile compiles the process and checks its steps.
func (b *processBuilder) compile(l *loader) {
	b.l, b.names = l, map[string]fault.Pos{}
	root := b.comp.root
	c := &compiler{b: b, context: inProcess}
	d := l.decoder(b.comp, &b.problems, c)
	if listen := valueAt(root, "listen"); listen != nil {
		b.captures = capturesOf(listen)
	} else if valueAt(root, "schedule") != nil {
		b.noRequest = "the schedule"
	} else if valueAt(root, "subscribe") != nil {
		b.noRequest = "the subscription"
	}
	var decl language.Process
	d.Mapping(root, &spec.Keys{What: "a process", Fields: language.ProcessFields, Target: &decl})
	b.fill(&decl, d)
	if decl.Steps != nil && len(decl.Steps) == 0 && !b.unknownSteps {
		d.Problem(valueAt(root, "steps"), processes.CodeNoSteps, "the process has no steps", "add a step")
	}
	b.variables()
	b.waitsAndCallbacks()
	b.state()
	if !b.unknownSteps {
		b.problems = append(b.problems, analysis.Replies(l.project, b.proc)...)
	}
	b.content = digestOf(root)
	b.proc.Namespaces = b.namespaces(decl.Profile)
	b.proc.Delivery.WorkersWritten = valueAt(root, "workers") != nil
	if b.proc.Listen != nil {
		b.proc.Listen.TimeoutWritten = valueAt(root, "listen", "timeout") != nil
	}
}

func (b *processBuilder) fill(decl *language.Process, d *spec.Decoder) {
	p, root := b.proc, b.comp.root
	p.Description, p.Steps = decl.Description, decl.Steps
	p.Delivery = processes.Delivery{
		Filter: decl.Filter, Workers: decl.Workers, Backlog: decl.Backlog, Retry: decl.Retry, Track: decl.Track,
		Profile: b.l.project.Profiles[decl.Profile],
		Redact:  append(append([]string(nil), b.l.project.Defaults.Redact...), decl.Redact...),
	}
	checkRedact(d, root, decl.Redact)
	p.Delivery.Retention = b.l.project.Defaults.Retention
	if decl.Retention != nil {
		p.Delivery.Retention = decl.Retention.Resolve()
	}
	if decl.Dedupe != nil {
		dedupe := decl.Dedupe.Dedupe
		dedupe.AcceptMissing = decl.Dedupe.WhenMissing == "accept"
		dedupe.Shared = decl.Dedupe.Scope == language.ScopeProcess
		p.Delivery.Dedupe = &dedupe
	}
	if decl.Listen != nil {
		b.listen(decl.Listen, d)
	}
	b.order(decl, d)
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

// pattern returns the pattern of the process.
func (b *processBuilder) pattern() processes.Pattern {
	switch l := b.proc.Listen; {
	case l == nil && b.proc.Schedule == nil && b.proc.Subscribe == nil:
		return processes.Called
	case l == nil:
		return processes.FireAndForget
	case l.Output == "":
		return processes.FireAndForget
	case b.early(b.proc.Steps):
		return processes.EarlyReply
	}
	return processes.RequestReply
}

// early reports whether a reply is followed by steps.
func (b *processBuilder) early(block processes.Block) bool {
	for i, s := range block {
		if b.l.kinds[s.Kind].Flow == processes.Reply && i < len(block)-1 {
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
		d.Problem(e, spec.CodeWrongValue, "`"+cut(p)+"` is not a valid path", "write keys with dots between them, such as `card.number`; a path applies to all elements of a list")
	}
}

// listen sets and checks the listener.
func (b *processBuilder) listen(decl *language.Listen, d *spec.Decoder) {
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
	b.service(&l, decl.Described, n, d)
	if valueAt(n, "auth") == nil {
		d.Problem(n, processes.CodeMissingAuth, "the listener has no `auth:`", "declare who may call it in an `auth:` component, such as `auth: partners` with `scheme: api_key`, and write `auth: partners` here")
	}
	if at := valueAt(n, "charset"); at != nil && l.Charset != "" && !convert.KnownCharset(l.Charset) {
		d.Problem(at, spec.CodeWrongValue, "`charset: "+cut(l.Charset)+"` is not supported", "use a name such as `utf-8`, `windows-1252` or `shift_jis`")
	}
	useless := func(key, msg, hint string) {
		if at := valueAt(n, key); at != nil {
			d.Problem(at, processes.CodeNoEffect, "`"+key+":` has no effect "+msg, hint)
		}
	}
	if l.Input == "none" || l.Input == "binary" {
		useless("charset", "with `input: "+l.Input+"`", "remove it")
	}
	if l.Output == "" && valueAt(n, "output") != nil {
		l.Output = "json" // the value is reported; a reply has no further problem
	}
	if l.Output != "" {
		useless("ack", "with `output:`: the caller gets the reply", "remove `ack:`, or remove `output:` to acknowledge at once")
	} else {
		useless("timeout", "without `output:`: no caller waits", "remove it, or add `output:`")
		useless("timeout_action", "without `output:`: no caller waits", "remove it, or add `output:`")
		l.Timeout = 0
	}
	b.replyModes(&l, decl, n, d)
	for i, m := range l.Methods {
		if slices.Contains(l.Methods[:i], m) {
			d.Problem(valueAt(n, "method"), processes.CodeDuplicateName, "the method "+m+" is listed twice", "remove one of them")
		}
	}
	b.proc.Listen = &l
}

// listenInput sets the default input format, which depends on the methods.
func (b *processBuilder) listenInput(l *processes.Listen, n *yaml.Node, d *spec.Decoder) {
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
		d.Problem(n, spec.CodeMissingKey, "`listen:` needs `input:`, because only some of its methods have a body", "add `input: json`, or use two processes")
		l.Input = "json"
	}
}

// reserved lists the paths of the atom. Paths below them are reserved too.
var reserved = []string{"/executions", "/callbacks", "/healthz", "/readyz", "/openapi.json"}

func (b *processBuilder) listenPath(l *processes.Listen, decl *language.Listen, n *yaml.Node, d *spec.Decoder) {
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
				d.Problem(v, processes.CodeBadPath, "`"+cut(v.Value)+"` is not allowed in a path", "use letters, digits, `-` and `_`")
			}
		}
		return
	}
	for _, key := range []string{"operation", "object"} {
		if v := valueAt(n, key); v != nil {
			d.Problem(v, processes.CodeNoEffect, "`"+key+":` has no effect with `path:`", "remove one of them")
		}
	}
	if l.Path == "" {
		if at.Value == "" && spec.ShapeOf(at) == spec.TextShape {
			d.Problem(at, processes.CodeBadPath, "the path is empty", "write a path such as `path: /orders`")
		}
		return
	}
	if msg, hint := badPath(l.Path); msg != "" {
		d.Problem(at, processes.CodeBadPath, msg, hint)
		return
	}
	for _, r := range reserved {
		if l.Path == r || strings.HasPrefix(l.Path, r+"/") {
			d.Problem(at, processes.CodeReservedPath, "the path `"+r+"` is reserved for the atom", "choose another path, such as `/api"+l.Path+"`")
		}
	}
}

// badPath returns the problem of a listener's path, or "" if it is valid.
func badPath(p string) (msg, hint string) {
	switch {
	case p[0] != '/':
		return "the path `" + cut(p) + "` does not start with a slash", "write `path: /" + cut(p) + "`"
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
			return "`" + cut(name) + "` is not a valid name of a capture", "use lower-case letters, digits and `_`, such as `{order_id}`"
		case capture && closed && slices.Contains(names, name):
			return "the path captures `" + name + "` twice", "rename one of them"
		case capture && closed:
			names = append(names, name)
		case strings.ContainsAny(seg, "{}"):
			return "a capture must be a whole segment, unlike `" + cut(seg) + "`", "write `/{name}/`"
		case seg == "" && p != "/":
			return "the path has two slashes in a row", "remove one of them"
		case seg == "." || seg == "..":
			return "the path has a `" + seg + "` segment", "write the resolved path"
		case !isSegment(seg):
			return fmt.Sprintf("the segment `%s` has characters that are not allowed in a path", cut(seg)), "use letters, digits and -._~!$&'()*+,;=:@"
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

// capturesOf returns the captures of a listener's path. The result is never nil.
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
