package importer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// httpRequest translates an HTTP Request node.
func (x *n8n) httpRequest(n *n8nNode, o *object, part string) (*yaml.Node, error) {
	address, err := x.template(n, o.text("url"))
	if err != nil {
		return nil, err
	}
	if len(address) > 0 && !address[0].expr && !strings.Contains(address[0].text, "://") {
		address = append(template{{text: "http://"}}, address...)
	}
	method := or(o.text("method", "requestMethod"), "GET")
	if strings.HasPrefix(method, "=") {
		return nil, errors.New("the method depends on the message")
	}
	q := request{at: n.at, place: x.where(n), part: part, method: method, url: address}
	if q.query, err = x.pairs(n, o, "query", "sendQuery", "queryParameters", "queryParametersUi", "jsonQuery"); err != nil {
		return nil, err
	}
	if q.headers, err = x.pairs(n, o, "header", "sendHeaders", "headerParameters", "headerParametersUi", "jsonHeaders"); err != nil {
		return nil, err
	}
	if err := x.body(n, o, &q); err != nil {
		return nil, err
	}
	q.auth = x.credentials(n, o, address, &q)
	x.httpOptions(n, o, &q)
	o.get("responseFormat", "jsonParameters", "provideSslCertificates")
	step, err := x.call(q)
	if err != nil {
		return nil, err
	}
	return step, nil
}

// pairs translates query parameters or headers.
func (x *n8n) pairs(n *n8nNode, o *object, kind, send, list, old, asJSON string) ([]named, error) {
	o.get("specifyQuery", "specifyHeaders")
	o.get("specifyHeaders")
	active := n.version < 3 || o.flag(send)
	parameters := child(o.get(list), "parameters")
	if parameters == nil {
		parameters = child(o.get(old), "parameter")
	}
	asText := o.get(asJSON)
	if !active {
		return nil, nil
	}
	var out []named
	if len(elements(parameters)) == 0 && !isNull(asText) && asText.Value != "" {
		m, err := x.document(n, asText)
		if err != nil || m.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s as JSON is not translated", kind)
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			out = append(out, named{m.Content[i].Value, written(m.Content[i+1])})
		}
		return out, nil
	}
	for _, p := range elements(parameters) {
		e := x.object(p, kind)
		t, err := x.template(n, e.text("value"))
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, shorten(e.text("name"), 40), err)
		}
		name := e.text("name")
		if strings.HasPrefix(name, "=") {
			return nil, fmt.Errorf("a computed name of a %s is not translated", kind)
		}
		out = append(out, named{name, t})
	}
	return out, nil
}

// written returns a scalar of a template as a template.
func written(n *yaml.Node) template {
	if e, ok := strings.CutPrefix(n.Value, "${"); ok && strings.HasSuffix(e, "}") && !strings.Contains(e, "${") {
		return template{{e[:len(e)-1], true}}
	}
	return template{{text: strings.ReplaceAll(n.Value, "$${", "${")}}
}

// body translates the body of a request.
func (x *n8n) body(n *n8nNode, o *object, q *request) error {
	sends := o.flag("sendBody") || n.version < 3
	kind := or(o.text("contentType", "bodyContentType"), "json")
	specify := o.text("specifyBody")
	asJSON, raw, parameters := o.get("jsonBody", "bodyParametersJson"), o.get("body"), child(o.get("bodyParameters"), "parameters")
	if parameters == nil {
		parameters = child(o.get("bodyParametersUi"), "parameter")
	}
	rawType := o.text("rawContentType")
	if !sends {
		return nil
	}
	if kind == "raw" && raw != nil && raw.Value != "" && strings.Contains(strings.ToLower(rawType), "json") {
		kind, specify, asJSON = "json", "json", raw // data, not text
		q.headers = append(q.headers, named{"Content-Type", template{{text: rawType}}})
	}
	switch {
	case kind == "binaryData":
		return errors.New("binary data are not translated")
	case kind == "raw" && raw != nil:
		t, err := x.template(n, raw.Value)
		if err != nil {
			return err
		}
		if hasCredential(t.String()) {
			return errCredential
		}
		q.body, q.sends = text(t.String()), true
		if rawType != "" {
			q.headers = append(q.headers, named{"Content-Type", template{{text: rawType}}})
		}
		return nil
	case asJSON != nil && asJSON.Value != "" && specify != "keypair":
		doc, err := x.document(n, asJSON)
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		if holdsCredential(doc, "") {
			return errCredential
		}
		q.body, q.sends = doc, true
	case len(elements(parameters)) > 0:
		doc := mapping()
		for _, p := range elements(parameters) {
			e := x.object(p, "body")
			name := e.text("name")
			if name == "" || strings.HasPrefix(name, "=") || strings.HasPrefix(name, "$") || child(doc, name) != nil {
				return errors.New("a name of the body is not translated")
			}
			v, err := x.field(n, e.get("value"), "")
			if err != nil {
				return fmt.Errorf("body %s: %w", shorten(name, 40), err)
			}
			if holdsCredential(v, name) {
				return errCredential
			}
			set(doc, name, v)
		}
		q.body, q.sends = doc, true
	default:
		return nil
	}
	switch kind {
	case "form-urlencoded":
		q.format = "form"
	case "multipart-form-data":
		q.format = "multipart"
	}
	return nil
}

var (
	errCredential = errors.New("the body has a credential; write the call with a secret")
	bodyName      = regexp.MustCompile(`[\w.%\[\]-]+`)
	bodyValue     = regexp.MustCompile(`^\\*["']?(?:\s*[:=]|[^<>]{0,100}>)\s*(?:<!\[CDATA\[)?\\*["']?(?i:(?:bearer|basic)\s+)?(\$\{|[^\s"'\\&<,;{}\[\]]+)`)
	computed      = regexp.MustCompile(`(^|[^$])\$\{`)
	writtenMember = regexp.MustCompile(`"([^"]*)": "[^"]`) // of an object in an expression
	counts        = regexp.MustCompile(`(?i)tokens$`)      // such as max_tokens
)

// holdsCredential reports whether a value with a name, or one inside it, is a
// credential that is written out.
func holdsCredential(v *yaml.Node, name string) bool {
	switch v.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(v.Content); i += 2 {
			key := v.Content[i].Value
			if isSecretName(name) && !isSecretName(key) {
				key = name
			}
			if holdsCredential(v.Content[i+1], key) {
				return true
			}
		}
		return false
	case yaml.SequenceNode:
		return slices.ContainsFunc(v.Content, func(e *yaml.Node) bool { return holdsCredential(e, name) })
	}
	if isNull(v) || v.Tag == "!!bool" {
		return false
	}
	if computed.MatchString(v.Value) && slices.ContainsFunc(writtenMember.FindAllStringSubmatch(v.Value, -1), func(m []string) bool { return isSecretName(m[1]) }) {
		return true
	}
	return isSecretName(name) && v.Value != "" && !computed.MatchString(v.Value) && (v.Tag == "!!str" || !counts.MatchString(name))
}

// hasCredential reports whether a text, such as a form or XML, has a member that
// is a credential.
func hasCredential(s string) bool {
	for _, at := range bodyName.FindAllStringIndex(s, -1) {
		name := s[at[0]:at[1]]
		if !isSecretName(name) {
			continue
		}
		m := bodyValue.FindStringSubmatch(s[at[1]:])
		if m != nil && !slices.Contains([]string{"${", "null", "true", "false"}, m[1]) && !(counts.MatchString(name) && jsonNumber.MatchString(m[1])) {
			return true
		}
	}
	return false
}

// credentials returns the credentials of a request. Exports have no values, so
// they are secrets.
func (x *n8n) credentials(n *n8nNode, o *object, address template, q *request) *yaml.Node {
	scheme := or(o.text("authentication"), "none")
	generic := or(o.text("genericAuthType"), scheme)
	kind := o.text("nodeCredentialType")
	if scheme == "none" {
		return nil
	}
	host := or(hostName(address.String()), "http")
	switch generic {
	case "httpBasicAuth", "basicAuth":
		return mapping("scheme", "basic", "user", "${"+x.env(host+"_USER", "the user at "+host, "")+"}", "password", x.secret(host+"_PASSWORD", "the password at "+host))
	case "httpQueryAuth", "queryAuth":
		q.comments = append(q.comments, x.leftAt(x.where(n), "httpRequest: credentials", "write the name of the query parameter into the connection"))
		return mapping("scheme", "api_key", "query", "key", "key", x.secret(host+"_KEY", "the key at "+host))
	case "httpHeaderAuth", "headerAuth":
		q.comments = append(q.comments, x.leftAt(x.where(n), "httpRequest: credentials", "write the name of the header into the connection"))
		return mapping("scheme", "api_key", "header", "Authorization", "key", x.secret(host+"_KEY", "the value of the header at "+host))
	}
	q.comments = append(q.comments, x.leftAt(x.where(n), "httpRequest: credentials "+or(kind, generic), "check the scheme of the connection"))
	return mapping("scheme", "bearer", "token", x.secret(host+"_TOKEN", "the token at "+host))
}

// httpOptions translates the options of a request.
func (x *n8n) httpOptions(n *n8nNode, o *object, q *request) {
	options := x.object(o.get("options"), "options")
	if ms := options.text("timeout"); ms != "" && jsonNumber.MatchString(ms) && ms != "0" {
		q.timeout = ms + "ms"
	}
	if response := child(options.get("response"), "response"); response != nil {
		if v := child(response, "neverError"); v != nil && v.Value == "true" {
			q.accept = []string{"2xx", "3xx", "4xx", "5xx"}
		}
	}
	if b := options.text("bodyContentType"); b == "form-urlencoded" {
		q.format = "form"
	}
	for i := 0; options.node != nil && i+1 < len(options.node.Content); i += 2 {
		if key := options.node.Content[i].Value; !options.read[key] {
			q.comments = append(q.comments, x.leftAt(x.where(n), "httpRequest: "+key, "no counterpart"))
		}
	}
}
