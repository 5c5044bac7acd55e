package dataplane

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"valence/internal/openapi"
	"valence/processes"
)

// doc is a JSON object of the OpenAPI document.
type doc = openapi.Doc

// buildOpenAPI returns the OpenAPI 3.1 document of the listeners: requests,
// responses, authentication and the collection of replies. It contains no
// internals such as steps, connections or values.
func buildOpenAPI(endpoints []*endpoint) []byte {
	d := &openAPIBuilder{
		paths: doc{}, schemes: doc{}, pathByShape: map[string]string{},
		schemas: doc{"problem": problemSchema(), "receipt": receiptSchema(), "progress": progressSchema()},
	}
	for _, e := range endpoints {
		d.addEndpoint(e)
	}
	if d.hasDeferred {
		d.paths["/executions/{id}"] = doc{"get": d.executionOperation()}
	}
	components := doc{"schemas": d.schemas, "responses": problemResponses()}
	if len(d.schemes) > 0 {
		components["securitySchemes"] = d.schemes
	}
	return openapi.Encode(doc{
		"info":  info(endpoints),
		"paths": d.paths, "components": components,
	}, "")
}

// openAPIBuilder collects the parts of an OpenAPI document.
type openAPIBuilder struct {
	paths, schemas, schemes doc
	pathByShape             map[string]string // the template that represents each path shape
	hasDeferred             bool              // some reply can be collected
}

func listOf(all ...any) []any { return all }

// openAPIMethods are the methods that OpenAPI can describe.
var openAPIMethods = []string{"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"}

func (d *openAPIBuilder) addEndpoint(e *endpoint) {
	// Templates that differ only in capture names are one path.
	segments, _ := pathShape(e.listen.Path)
	shape := strings.Join(segments, "/")
	path, known := d.pathByShape[shape]
	if !known {
		path = e.listen.Path
		d.pathByShape[shape] = path
	}
	item, _ := d.paths[path].(doc)
	if item == nil {
		item = doc{}
		d.paths[path] = item
	}
	_, names := pathShape(path)
	security := d.security(e)
	for _, m := range e.listen.Methods {
		if !slices.Contains(openAPIMethods, m) || item[strings.ToLower(m)] != nil {
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

func (d *openAPIBuilder) operation(e *endpoint, names []string) doc {
	l := e.listen
	op := doc{"summary": e.process}
	if l.Service == nil {
		op["responses"] = d.responses(e)
	}
	if text := e.deployed.Process.Description; text != "" {
		op["description"] = text
	}
	var parameters []any
	for _, n := range names {
		parameters = append(parameters, doc{"name": n, "in": "path", "required": true, "schema": segmentSchema()})
	}
	parameters = append(parameters, readParameters(e)...)
	if offersDeferred(l) {
		d.hasDeferred = true
		parameters = append(parameters, doc{"name": "Prefer", "in": "header", "schema": doc{"type": "string"},
			"description": "`respond-async` returns 202 immediately, and the reply is collected later. With `, wait=5` the response is the reply itself if it is ready within 5 s."})
	}
	if l.Output != "" && l.Offers(processes.ModeCallback) {
		parameters = append(parameters, doc{"name": "Callback-Url", "in": "header", "schema": doc{"type": "string", "format": "uri"},
			"description": "With `Prefer: respond-async`: the URL to which the signed reply is posted (Standard Webhooks)."})
		op["callbacks"] = doc{"reply": doc{"{$request.header.Callback-Url}": doc{"post": doc{
			"description": "The reply, or the problem document if there is none. Repeated until the response is 2xx.",
			"requestBody": doc{"content": anyReply(e)},
			"responses":   doc{"2XX": doc{"description": "Taken."}},
		}}}}
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	if l.Service != nil {
		describeSOAP(e, op)
		return op
	}
	if l.Input != "none" {
		op["requestBody"] = doc{"required": l.Input == "json" || l.Input == "xml", "content": d.input(e)}
	}
	return op
}

// segmentSchema describes the value of a path capture; see isMalformedPath.
func segmentSchema() doc {
	return doc{"type": "string", "minLength": 1, "pattern": `^[^\x00-\x1f\x7f]+$`, "not": doc{"enum": []string{".", ".."}}}
}

// offersDeferred reports whether a caller may get its reply later.
func offersDeferred(l *processes.Listen) bool {
	return l.Output != "" && (l.Offers(processes.ModeDeferred) || l.Offers(processes.ModeCallback) || l.TimeoutAction == processes.Continue)
}

func (d *openAPIBuilder) input(e *endpoint) doc {
	media := "application/octet-stream"
	switch in := e.listen.Input; in {
	case "text":
		media = "text/plain"
	case "binary":
		media = "*/*"
	default:
		if all := mediaTypesOf(in); len(all) > 0 {
			media = all[0]
		}
	}
	p := e.deployed.Process.Delivery.Profile
	if p == nil || p.Source == nil || e.listen.Input == "multipart" {
		return doc{media: doc{}}
	}
	if e.listen.Input == "xml" {
		if schema := xmlBody(p.Source); schema != nil {
			return doc{media: doc{"schema": schema}}
		}
		return doc{media: doc{}}
	}
	name := "profile-" + openapi.ComponentKey(qualified(e.deployed, p.Name))
	if d.schemas[name] == nil {
		d.schemas[name] = embedded(p.Source, openapi.SchemaPath+name)
	}
	return doc{media: doc{"schema": openapi.Schema(name)}}
}

func textHeader(text string) doc {
	return doc{"description": text, "schema": doc{"type": "string"}}
}

func accepted(text string, located bool) doc {
	headers := doc{"X-Execution-Id": textHeader("The execution."), "Correlation-Id": textHeader("Copied from the request, or generated.")}
	if located {
		headers["Location"] = textHeader("The URL of the reply.")
		headers["Retry-After"] = doc{"description": "Seconds to wait before the next request.", "schema": doc{"type": "integer"}}
		headers["Preference-Applied"] = textHeader("The preferences that were applied.")
	}
	return doc{"description": text, "headers": headers, "content": doc{"application/json": doc{"schema": openapi.Schema("receipt")}}}
}

// executionOperation describes GET /executions/{id}.
func (d *openAPIBuilder) executionOperation() doc {
	d.schemes["reply_token"] = doc{"type": "http", "scheme": "bearer", "description": "The `reply_token` of the receipt; also accepted as the query parameter `reply_token`."}
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
		"200": doc{"description": "The reply with its status and headers, or the progress of an execution without a reply.",
			"content": doc{"application/json": doc{}, "text/event-stream": doc{"schema": doc{"type": "string"}}}},
		"202":     doc{"description": "The execution is running or waiting.", "headers": doc{"Retry-After": textHeader("Seconds.")}, "content": doc{"application/json": doc{"schema": openapi.Schema("progress")}}},
		"204":     doc{"description": "No more events."},
		"default": doc{"description": "The problem document of the failure, or a status set by the process."},
	}
	for _, s := range []int{404, 410, 503} {
		out[strconv.Itoa(s)] = openapi.Response("problem" + strconv.Itoa(s))
	}
	return doc{
		"operationId": "valence-execution", "summary": "Progress, reply or events of an execution",
		"description": "Available to the principal that sent the message and to the bearer of the receipt's `reply_token`. `Accept: text/event-stream` requests a stream of events.",
		"security":    append(security, doc{}),
		"parameters": listOf(
			doc{"name": "id", "in": "path", "required": true, "schema": doc{"type": "string"}},
			doc{"name": "Prefer", "in": "header", "schema": doc{"type": "string"}, "description": "`wait=30` holds the request until the reply is ready, for at most that many seconds."},
			doc{"name": "Last-Event-ID", "in": "header", "schema": doc{"type": "string"}, "description": "The last event received; the stream continues after it."},
		),
		"responses": out,
	}
}

// security returns the security requirement of a listener, or nil if it has no
// authentication.
func (d *openAPIBuilder) security(e *endpoint) []any {
	if e.authName == "" || e.scheme == "wss" { // OpenAPI cannot describe credentials in an envelope
		return nil
	}
	name := openapi.ComponentKey(e.authName)
	if d.schemes[name] == nil {
		d.schemes[name] = schemeOf(e)
	}
	return listOf(doc{name: []string{}})
}

func schemeOf(e *endpoint) doc {
	header := func(text string) doc {
		if e.auth == nil {
			return doc{"type": "apiKey", "in": "header", "name": "Authorization", "description": "All requests are rejected: the authentication could not be set up."}
		}
		if e.hiddenQuery != "" {
			return doc{"type": "apiKey", "in": "query", "name": e.hiddenQuery, "description": text}
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
		return header("A signature of the body.")
	}
	return header("A key.")
}

// embedded returns a profile's schema with its internal references moved below
// root.
func embedded(source []byte, root string) any {
	d := json.NewDecoder(strings.NewReader(string(source)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return doc{} // it was valid JSON when compiled
	}
	if m, ok := v.(doc); ok && m["$id"] == nil {
		rebase(m, root)
	}
	return v
}

// rebase rewrites the internal references of a schema.
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
			case "const", "enum", "default", "examples": // values, not schemas
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

// problemStatuses are the statuses of problem documents that the components
// describe.
var problemStatuses = []int{400, 401, 404, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504}

func problemResponses() doc {
	out := doc{}
	for _, s := range problemStatuses {
		out["problem"+strconv.Itoa(s)] = problemResponse(s, false)
		out["problemxml"+strconv.Itoa(s)] = problemResponse(s, true)
	}
	return out
}

func problemResponse(status int, xml bool) doc {
	r := doc{"description": cmp.Or(http.StatusText(status), "A failure."), "content": doc{problemMedia(xml): doc{"schema": openapi.Schema("problem")}}}
	if status == 429 || status == 503 || status == 409 {
		r["headers"] = doc{"Retry-After": doc{"description": "Seconds to wait before sending the request again.", "schema": doc{"type": "integer"}}}
	}
	return r
}

func problemMedia(xml bool) string {
	if xml {
		return "application/problem+xml"
	}
	return "application/problem+json"
}

func problemSchema() doc {
	text, number := doc{"type": "string"}, doc{"type": "integer"}
	s := openapi.Object([]string{"type", "title", "status"}, doc{"type": text, "title": text, "status": number, "detail": text, "execution": text,
		"errors": doc{"type": "array", "items": openapi.Object([]string{"pointer", "detail"}, doc{"pointer": text, "detail": text, "line": number, "column": number})}})
	s["description"] = "A problem document (RFC 9457)."
	return s
}

func receiptSchema() doc {
	text := doc{"type": "string"}
	return openapi.Object([]string{"execution", "process", "status", "received_at"}, doc{
		"execution": text, "process": text, "status": doc{"type": "string", "enum": []string{"accepted", "duplicate", "filtered", "echo"}},
		"received_at": doc{"type": "string", "format": "date-time"}, "sha256": text, "location": text, "reply_token": text, "correlation_id": text})
}

func progressSchema() doc {
	text := doc{"type": "string"}
	return openapi.Object([]string{"execution", "process", "status"}, doc{"execution": text, "process": text, "status": text,
		"received_at": doc{"type": "string", "format": "date-time"}, "ended_at": doc{"type": "string", "format": "date-time"}})
}
