package importer

import (
	"errors"
	"fmt"
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
	switch {
	case kind == "binaryData":
		return errors.New("binary data are not translated")
	case kind == "raw" && raw != nil:
		t, err := x.template(n, raw.Value)
		if err != nil {
			return err
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
			if s := e.text("value"); isSecretName(name) && s != "" && !strings.HasPrefix(s, "=") {
				return errors.New("the body has a credential; write the call with a secret")
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
