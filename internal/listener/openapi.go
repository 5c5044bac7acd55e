package listener

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"valence/processes"
)

// doc is an object of the OpenAPI document.
type doc = map[string]any

// The names that parts of the description refer to.
const (
	schemaPath   = "#/components/schemas/"
	responsePath = "#/components/responses/"
)

// describe writes the OpenAPI 3.1 description of listeners: what callers send,
// what they get, how they prove who they are, and how replies are collected.
// Nothing of the inside stands in it: no steps, no connections, no values.
func describe(endpoints []*endpoint) []byte {
	d := &description{
		paths: doc{}, schemes: doc{}, shapes: map[string]string{},
		schemas: doc{"problem": problemSchema(), "receipt": receiptSchema(), "progress": progressSchema()},
	}
	for _, e := range endpoints {
		d.listener(e)
	}
	if d.collected {
		d.paths["/executions/{id}"] = doc{"get": d.collecting()}
	}
	components := doc{"schemas": d.schemas, "responses": problemResponses()}
	if len(d.schemes) > 0 {
		components["securitySchemes"] = d.schemes
	}
	text, err := json.Marshal(doc{
		"openapi": "3.1.0",
		"info":    doc{"title": "Valence", "version": "1", "description": "The web services that listen here."},
		"paths":   d.paths, "components": components,
	})
	if err != nil {
		panic("listener: the OpenAPI document does not encode: " + err.Error()) // its schemas were JSON when they were compiled
	}
	return append(text, '\n')
}

// description is an OpenAPI document that is being made.
type description struct {
	paths, schemas, schemes doc
	shapes                  map[string]string // of paths, to the template that stands for them
	collected               bool              // something can be followed
}

func schemaRef(name string) doc { return doc{"$ref": schemaPath + name} }

func listOf(all ...any) []any { return all }

// described are the methods that OpenAPI has a place for.
var described = []string{"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"}

func (d *description) listener(e *endpoint) {
	// Templates that differ in the names of their captures alone are one path.
	segments, _ := pathShape(e.listen.Path)
	shape := strings.Join(segments, "/")
	path, known := d.shapes[shape]
	if !known {
		path = e.listen.Path
		d.shapes[shape] = path
	}
	item, _ := d.paths[path].(doc)
	if item == nil {
		item = doc{}
		d.paths[path] = item
	}
	_, names := pathShape(path)
	security := d.security(e)
	for _, m := range e.listen.Methods {
		if !slices.Contains(described, m) || item[strings.ToLower(m)] != nil {
			continue
		}
		op := d.operation(e, names)
		op["operationId"] = e.process
		if len(e.listen.Methods) > 1 {
			op["operationId"] = e.process + "-" + strings.ToLower(m)
		}
		if security != nil {
			op["security"] = security
		}
		item[strings.ToLower(m)] = op
	}
}

func (d *description) operation(e *endpoint, names []string) doc {
	l := e.listen
	op := doc{"summary": e.process, "responses": d.answers(e)}
	if text := e.deployed.Process.Description; text != "" {
		op["description"] = text
	}
	var parameters []any
	for _, n := range names {
		parameters = append(parameters, doc{"name": n, "in": "path", "required": true, "schema": doc{"type": "string"}})
	}
	if later(l) {
		d.collected = true
		parameters = append(parameters, doc{"name": "Prefer", "in": "header", "schema": doc{"type": "string"},
			"description": "`respond-async`: 202 at once, the reply is collected later; with `, wait=5` the reply itself, if it is there in 5 s."})
	}
	if l.Output != "" && l.Offers(processes.ModeCallback) {
		parameters = append(parameters, doc{"name": "Callback-Url", "in": "header", "schema": doc{"type": "string", "format": "uri"},
			"description": "With `Prefer: respond-async`: where the reply is posted to, signed (Standard Webhooks)."})
		op["callbacks"] = doc{"reply": doc{"{$request.header.Callback-Url}": doc{"post": doc{
			"description": "The reply, or the problem document where there is none; again until the answer is 2xx.",
			"requestBody": doc{"content": d.output(e)},
			"responses":   doc{"2XX": doc{"description": "Taken."}},
		}}}}
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	if l.Input != "none" {
		op["requestBody"] = doc{"content": d.input(e)}
	}
	return op
}

// later reports whether a caller may get its reply otherwise than at once.
func later(l *processes.Listen) bool {
	return l.Output != "" && (l.Offers(processes.ModeDeferred) || l.Offers(processes.ModeCallback) || l.TimeoutAction == processes.Continue)
}

func (d *description) input(e *endpoint) doc {
	media := "application/octet-stream"
	switch in := e.listen.Input; in {
	case "text":
		media = "text/plain"
	case "binary":
		media = "*/*"
	default:
		if all := takes(in); len(all) > 0 {
			media = all[0]
		}
	}
	p := e.deployed.Process.Delivery.Profile
	if p == nil || p.Source == nil || e.listen.Input == "xml" || e.listen.Input == "multipart" {
		// The profile of XML is about its data view, not about the text.
		return doc{media: doc{}}
	}
	name := "profile-" + componentKey(qualified(e.deployed, p.Name))
	if d.schemas[name] == nil {
		d.schemas[name] = embedded(p.Source, schemaPath+name)
	}
	return doc{media: doc{"schema": schemaRef(name)}}
}

func (d *description) output(e *endpoint) doc {
	switch e.listen.Output {
	case "json":
		return doc{"application/json": doc{}}
	case "xml":
		return doc{"application/xml": doc{}}
	case "text":
		return doc{"text/plain": doc{"schema": doc{"type": "string"}}}
	}
	return doc{"*/*": doc{}}
}

// answers lists what a caller can get.
func (d *description) answers(e *endpoint) doc {
	l := e.listen
	statuses := []int{400, 413, 500, 503}
	if l.Input != "none" {
		statuses = append(statuses, 415)
	}
	if e.authName != "" {
		statuses = append(statuses, 401)
	}
	if l.Limits.Rate > 0 {
		statuses = append(statuses, 429)
	}
	if l.Output != "" {
		statuses = append(statuses, 502, 504)
	}
	if e.deployed.Process.Delivery.Dedupe != nil && l.Output != "" {
		statuses = append(statuses, 409)
	}
	xml := ""
	if e.speaksXML() {
		xml = "xml"
	}
	out := doc{}
	for _, s := range statuses {
		out[strconv.Itoa(s)] = doc{"$ref": responsePath + "problem" + xml + strconv.Itoa(s)}
	}
	switch {
	case l.Output != "":
		if l.Sync() || l.Offers(processes.ModeDeferred) || l.Offers(processes.ModeCallback) {
			out["200"] = doc{"description": "The reply. A process may choose another status.", "content": d.output(e)}
		}
		if later(l) {
			out["202"] = accepted("Accepted: the reply is collected at the location.", true)
		}
		out["default"] = doc{"description": "The reply, with a status that the process chose; from 400 on a problem document."}
	case l.Ack != nil:
		status := l.Ack.Status
		if status == 0 {
			status = http.StatusOK
		}
		out[strconv.Itoa(status)] = doc{"description": "The message is stored.", "headers": doc{"X-Execution-Id": textHeader("The execution.")}}
	default:
		d.collected = true
		out["200"] = accepted("The message is stored.", false)
	}
	return out
}

func textHeader(text string) doc {
	return doc{"description": text, "schema": doc{"type": "string"}}
}

func accepted(text string, located bool) doc {
	headers := doc{"X-Execution-Id": textHeader("The execution."), "Correlation-Id": textHeader("Taken from the request, or made.")}
	if located {
		headers["Location"] = textHeader("Where the reply is collected.")
		headers["Retry-After"] = doc{"description": "Seconds until asking makes sense.", "schema": doc{"type": "integer"}}
		headers["Preference-Applied"] = textHeader("Which preferences were followed.")
	}
	return doc{"description": text, "headers": headers, "content": doc{"application/json": doc{"schema": schemaRef("receipt")}}}
}

// collecting describes GET /executions/{id}.
func (d *description) collecting() doc {
	d.schemes["reply_token"] = doc{"type": "http", "scheme": "bearer", "description": "The `reply_token` of the receipt; also as the query parameter `reply_token`."}
	security := listOf(doc{"reply_token": []string{}})
	names := make([]string, 0, len(d.schemes))
	for name := range d.schemes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name != "reply_token" {
			security = append(security, doc{name: []string{}})
		}
	}
	out := doc{
		"200": doc{"description": "The reply, with its status and headers; of a message without a reply how far it is.",
			"content": doc{"application/json": doc{}, "text/event-stream": doc{"schema": doc{"type": "string"}}}},
		"202":     doc{"description": "It runs or waits.", "headers": doc{"Retry-After": textHeader("Seconds.")}, "content": doc{"application/json": doc{"schema": schemaRef("progress")}}},
		"204":     doc{"description": "There are no more events."},
		"default": doc{"description": "The problem document of what failed, or a status that the process chose."},
	}
	for _, s := range []int{404, 410, 503} {
		out[strconv.Itoa(s)] = doc{"$ref": responsePath + "problem" + strconv.Itoa(s)}
	}
	return doc{
		"operationId": "valence-execution", "summary": "How far an execution is, its reply, or its events",
		"description": "Shown to whoever sent the message, proven in the same way, and to the bearer of the receipt's `reply_token`. With `Accept: text/event-stream` it is a stream of events.",
		"security":    append(security, doc{}),
		"parameters": listOf(
			doc{"name": "id", "in": "path", "required": true, "schema": doc{"type": "string"}},
			doc{"name": "Prefer", "in": "header", "schema": doc{"type": "string"}, "description": "`wait=30` holds the request until there is a reply, for at most that many seconds."},
			doc{"name": "Last-Event-ID", "in": "header", "schema": doc{"type": "string"}, "description": "Events go on after this one."},
		),
		"responses": out,
	}
}

// security names how a listener's callers prove who they are.
func (d *description) security(e *endpoint) []any {
	if e.authName == "" {
		return nil
	}
	name := componentKey(e.authName)
	if d.schemes[name] == nil {
		d.schemes[name] = schemeOf(e)
	}
	return listOf(doc{name: []string{}})
}

// componentKey makes a name one that OpenAPI takes for a component: letters,
// digits, dots, dashes and underscores.
func componentKey(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '.'
	}, name)
}

func schemeOf(e *endpoint) doc {
	header := func(text string) doc {
		if e.auth == nil {
			return doc{"type": "apiKey", "in": "header", "name": "Authorization", "description": "Nobody is let in: it could not be set up."}
		}
		if e.hideQuery != "" {
			return doc{"type": "apiKey", "in": "query", "name": e.hideQuery, "description": text}
		}
		names := e.auth.Consumes()
		if len(names) == 0 {
			names = []string{"Authorization"}
		}
		if len(names) > 1 {
			text += " With it: " + strings.Join(names[1:], ", ") + "."
		}
		return doc{"type": "apiKey", "in": "header", "name": names[0], "description": text}
	}
	switch e.scheme {
	case "basic":
		return doc{"type": "http", "scheme": "basic"}
	case "bearer":
		return doc{"type": "http", "scheme": "bearer"}
	case "jwt":
		return doc{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
	case "mtls":
		return doc{"type": "mutualTLS"}
	case "hmac":
		return header("A signature over the body.")
	}
	return header("A key.")
}

// embedded is a profile's schema as a part of the document: what it refers to
// in itself is now below root.
func embedded(source []byte, root string) any {
	d := json.NewDecoder(strings.NewReader(string(source)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return doc{} // it was JSON when it was compiled
	}
	if m, ok := v.(doc); ok && m["$id"] == nil {
		rebase(m, root)
	}
	return v
}

// rebase changes the references of a schema to itself.
func rebase(v any, root string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			rebase(e, root)
		}
	case doc:
		for k, e := range v {
			switch k {
			case "$ref", "$dynamicRef":
				if to, ok := e.(string); ok && (to == "#" || strings.HasPrefix(to, "#/")) {
					v[k] = root + to[1:]
				}
			case "const", "enum", "default", "examples": // documents, not schemas
			case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
				if names, ok := e.(doc); ok {
					for _, below := range names {
						rebase(below, root)
					}
				}
			default:
				rebase(e, root)
			}
		}
	}
}

func problemResponses() doc {
	out := doc{}
	for _, s := range []int{400, 401, 404, 409, 410, 413, 415, 429, 500, 502, 503, 504} {
		r := doc{"description": http.StatusText(s)}
		if s == 429 || s == 503 || s == 409 {
			r["headers"] = doc{"Retry-After": doc{"description": "Seconds until sending again makes sense.", "schema": doc{"type": "integer"}}}
		}
		for name, media := range map[string]string{"problem": "application/problem+json", "problemxml": "application/problem+xml"} {
			one := doc{"content": doc{media: doc{"schema": schemaRef("problem")}}}
			for k, v := range r {
				one[k] = v
			}
			out[name+strconv.Itoa(s)] = one
		}
	}
	return out
}

func object(required []string, properties doc) doc {
	return doc{"type": "object", "required": required, "properties": properties}
}

func problemSchema() doc {
	text, number := doc{"type": "string"}, doc{"type": "integer"}
	s := object([]string{"type", "title", "status"}, doc{"type": text, "title": text, "status": number, "detail": text, "execution": text,
		"errors": doc{"type": "array", "items": object([]string{"pointer", "detail"}, doc{"pointer": text, "detail": text, "line": number, "column": number})}})
	s["description"] = "A problem document (RFC 9457)."
	return s
}

func receiptSchema() doc {
	text := doc{"type": "string"}
	return object([]string{"execution", "process", "status", "received_at"}, doc{
		"execution": text, "process": text, "status": doc{"type": "string", "enum": []string{"accepted", "duplicate", "filtered", "echo"}},
		"received_at": doc{"type": "string", "format": "date-time"}, "sha256": text, "location": text, "reply_token": text, "correlation_id": text})
}

func progressSchema() doc {
	text := doc{"type": "string"}
	return object([]string{"execution", "process", "status"}, doc{"execution": text, "process": text, "status": text,
		"received_at": doc{"type": "string", "format": "date-time"}, "ended_at": doc{"type": "string", "format": "date-time"}})
}
