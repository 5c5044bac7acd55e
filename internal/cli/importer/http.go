package importer

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// named is a header or a query parameter.
type named struct {
	name  string
	value template
}

// request is an HTTP call of the source.
type request struct {
	at       *yaml.Node
	place    string
	part     string
	name     string // of the step
	method   string // empty: GET, or POST with a body
	url      template
	headers  []named
	query    []named
	body     *yaml.Node // nil: the document
	sends    bool       // whether the request has a body
	format   string
	auth     *yaml.Node // settings of the credentials
	tls      *yaml.Node
	timeout  string
	accept   []string
	attempts int
	comments []string
}

var errHost = errors.New("the address depends on the message")

// call returns the step of an HTTP call.
func (r *reader) call(q request) (*yaml.Node, error) {
	base, rest, err := splitURL(q.url)
	if err != nil {
		return nil, err
	}
	address, user, password, err := r.withoutLogin(base)
	if err != nil {
		return nil, err
	}
	if user != "" && q.auth == nil {
		q.auth = mapping("scheme", "basic", "user", literal(user), "password", password)
	}
	host := hostName(address.String())
	settings := mapping("url", address, "auth", q.auth, "tls", q.tls)
	connection := r.connection(or(host, "http"), "http", settings)
	path, query := splitQuery(rest)
	with := mapping()
	op := strings.ToLower(q.method)
	if !slices.Contains([]string{"get", "head", "post", "put", "patch", "delete"}, op) || q.sends && (op == "get" || op == "delete") {
		op = "request"
		set(with, "method", strings.ToUpper(q.method))
	}
	if !path.empty() {
		set(with, "path", path)
	}
	params := mapping()
	for _, n := range append(query, q.query...) {
		if child(params, n.name) == nil {
			set(params, n.name, r.hidden(connection, n.name, n.value))
		}
	}
	if len(params.Content) > 0 {
		set(with, "query", params)
	}
	headers, contentType := mapping(), ""
	for _, n := range q.headers {
		switch {
		case strings.EqualFold(n.name, "content-type"):
			contentType = n.value.String()
		case slices.Contains([]string{"content-length", "host", "connection", "transfer-encoding", "accept-encoding"}, strings.ToLower(n.name)) || child(headers, n.name) != nil || n.name == "":
			r.leftAt(q.where(r), q.part+": header "+n.name, "the connector sets it")
		default:
			set(headers, n.name, r.hidden(connection, n.name, n.value))
		}
	}
	if len(headers.Content) > 0 {
		set(with, "headers", headers)
	}
	if slices.Contains([]string{"post", "put", "patch", "request"}, op) {
		if q.format != "" {
			set(with, "format", q.format)
		} else if contentType != "" && !strings.HasPrefix(contentType, "application/json") {
			set(with, "content_type", contentType)
		} else if op == "request" && q.sends {
			set(with, "format", "json")
		}
	}
	keys := []any{}
	if q.name != "" {
		keys = append(keys, "name", q.name)
	}
	keys = append(keys, "call", connection+"."+op)
	if len(with.Content) > 0 {
		keys = append(keys, "with", with)
	}
	if q.body != nil && op != "get" && op != "head" && op != "delete" {
		keys = append(keys, "body", q.body)
	}
	if len(q.accept) > 0 {
		keys = append(keys, "accept", texts(q.accept))
	}
	if q.attempts > 0 {
		keys = append(keys, "retry", mapping("max_attempts", min(q.attempts, 1000)))
	}
	if q.timeout != "" {
		keys = append(keys, "timeout", q.timeout)
	}
	step := mapping(keys...)
	comment(step, q.comments...)
	r.origins[step] = origin{q.where(r), q.part}
	r.report.add(Part{Place: q.where(r), Part: q.part, Status: TakenOver, As: "call " + connection + "." + op})
	return step, nil
}

func (q request) where(r *reader) string {
	if q.place != "" {
		return q.place
	}
	return r.place(q.at)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func texts(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, text(s))
	}
	return n
}

// splitURL splits a URL after its host.
func splitURL(t template) (base, rest template, err error) {
	seen := false // the scheme
	for i, p := range t {
		if p.expr {
			if !(template{p}).fixed() {
				return nil, nil, errHost
			}
			base = append(base, p)
			if i == 0 && (len(t) == 1 || !t[1].expr && (strings.HasPrefix(t[1].text, "/") || strings.HasPrefix(t[1].text, "?"))) {
				return base, t[1:], nil // the value is the whole base
			}
			continue
		}
		from := 0
		if n := strings.Index(p.text, "://"); n >= 0 && !seen {
			seen, from = true, n+3
		}
		if n := strings.IndexAny(p.text[from:], "/?#"); n >= 0 && (seen || i > 0 && t[0].expr) {
			base = append(base, piece{text: p.text[:from+n]})
			rest = append(template{{text: p.text[from+n:]}}, t[i+1:]...)
			break
		}
		base = append(base, p)
	}
	if len(base) == 1 && !base[0].expr {
		u, err := url.Parse(base[0].text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, nil, errors.New("the address is not a URL of HTTP")
		}
	}
	if len(base) == 0 || base[0].text == "" {
		return nil, nil, errors.New("the address is missing")
	}
	return base, rest, nil
}

var errLogin = errors.New("the login in the address is not translated; write the call with a secret")

// withoutLogin cuts user and password out of the base of a URL. The password
// becomes a secret.
func (r *reader) withoutLogin(base template) (address template, user, password string, err error) {
	end := -1 // the piece in which a login ends
	for i, p := range base {
		if !p.expr && strings.Contains(p.text, "@") {
			end = i
		}
	}
	if end < 0 {
		return base, "", "", nil
	}
	login, host := base[end].text[:strings.LastIndex(base[end].text, "@")], base[end].text[strings.LastIndex(base[end].text, "@")+1:]
	scheme, login, found := strings.Cut(login, "://")
	u, err := url.Parse("//" + login + "@host")
	if !found || err != nil {
		return nil, "", "", errLogin // a part is an expression
	}
	address = append(append(append(template{}, base[:end]...), piece{text: scheme + "://" + host}), base[end+1:]...)
	_, shown, _ := strings.Cut(address.String(), "://")
	about := "the password of " + shown
	if _, ok := u.User.Password(); ok {
		about = "the password in the URL of " + shown
	}
	return address, u.User.Username(), r.secret(or(hostName(address.String()), "login")+"_PASSWORD", about), nil
}

// splitQuery splits the path of a URL from its parameters.
func splitQuery(t template) (path template, query []named) {
	for i, p := range t {
		if p.expr {
			path = append(path, p)
			continue
		}
		text, _, _ := strings.Cut(p.text, "#")
		before, after, found := strings.Cut(text, "?")
		if before != "" {
			path = append(path, piece{text: before})
		}
		if found {
			return path, parameters(append(template{{text: after}}, t[i+1:]...))
		}
		if text != p.text {
			return path, nil
		}
	}
	return path, nil
}

func parameters(t template) (out []named) {
	current := named{}
	inValue := false
	flush := func() {
		if current.name != "" {
			out = append(out, current)
		}
		current, inValue = named{}, false
	}
	for _, p := range t {
		if p.expr {
			if inValue {
				current.value = append(current.value, p)
			}
			continue
		}
		for i, pair := range strings.Split(p.text, "&") {
			if i > 0 {
				flush()
			}
			if !inValue {
				name, v, found := strings.Cut(pair, "=")
				current.name += unescape(name)
				inValue, pair = found, v
			}
			if inValue && pair != "" {
				current.value = append(current.value, piece{text: unescape(pair)})
			}
		}
	}
	flush()
	return out
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// hidden returns a header or a parameter. A credential that is written out
// becomes a secret.
func (r *reader) hidden(connection, name string, v template) string {
	lower := strings.ToLower(name)
	credential := isSecretName(name) && lower != "idempotency-key" || lower == "cookie"
	for _, p := range v {
		if p.expr {
			credential = false
		}
	}
	if !credential || v.empty() {
		return v.String()
	}
	scheme := ""
	if first, _, found := strings.Cut(v[0].text, " "); found && (strings.EqualFold(first, "bearer") || strings.EqualFold(first, "basic")) {
		scheme = first + " "
	}
	return scheme + r.secret(connection+"_"+name, "the value of "+name+" for "+connection)
}
