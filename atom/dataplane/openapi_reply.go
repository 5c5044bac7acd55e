package dataplane

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"valence/atom/steps"
	"valence/internal/expression"
	"valence/internal/openapi"
	"valence/processes"
)

// responses describes the responses of a listener by status.
func (d *openAPIBuilder) responses(e *endpoint) doc {
	l, xml := e.listen, e.speaksXML()
	out := doc{}
	problem := func(statuses ...int) {
		for _, s := range statuses {
			if out[strconv.Itoa(s)] == nil {
				out[strconv.Itoa(s)] = problemResponse(s, xml)
			}
		}
	}
	if l.Output == "" {
		problem(refusalStatuses(e)...)
		d.acknowledgement(e, out)
		return shared(out, xml)
	}
	for _, a := range answersOf(e) {
		switch {
		case a.Status == 0:
			out["default"] = doc{"description": "The reply with a status that the process computes.", "content": reply(e, a)}
		case a.Thrown:
			problem(a.Status)
		default:
			addReply(out, a.Status, reply(e, a))
		}
	}
	if delivery := &e.deployed.Process.Delivery; delivery.Filter != nil || delivery.EchoGuard != nil {
		addReply(out, http.StatusOK, doc{}) // messages that are dropped have no reply
	}
	for _, s := range append(refusalStatuses(e), 500, 502, 504) {
		if existing, ok := out[strconv.Itoa(s)].(doc); ok {
			addContent(existing, problemResponse(s, xml)["content"].(doc))
			continue
		}
		problem(s)
	}
	if offersDeferred(l) {
		later := accepted("Accepted. Collect the reply from the Location.", true)
		if existing, ok := out["202"].(doc); ok {
			addContent(later, existing["content"].(doc))
		}
		out["202"] = later
	}
	return shared(out, xml)
}

// refusalStatuses returns the statuses of requests that a listener does not accept.
func refusalStatuses(e *endpoint) []int {
	l, delivery := e.listen, &e.deployed.Process.Delivery
	out := []int{400, 404, 413, 500, 503}
	if l.Input != "none" {
		out = append(out, 415)
	}
	if e.authName != "" {
		out = append(out, 401)
	}
	if l.Limits.Rate > 0 {
		out = append(out, 429)
	}
	if delivery.Dedupe != nil || delivery.Sequence != nil {
		out = append(out, 422)
	}
	if l.Output != "" && (delivery.Dedupe != nil || delivery.Coalesce != nil) {
		out = append(out, 409)
	}
	return out
}

// acknowledgement adds the response of a fire-and-forget listener.
func (d *openAPIBuilder) acknowledgement(e *endpoint, out doc) {
	ack := e.listen.Ack
	if ack == nil {
		d.hasDeferred = true
		out["200"] = accepted("The message is stored.", false)
		return
	}
	status := ack.Status
	if status == 0 {
		status = http.StatusOK
	}
	r := doc{"description": "The message is stored.", "headers": doc{"X-Execution-Id": textHeader("The execution.")}}
	switch {
	case status == http.StatusNoContent || status == http.StatusResetContent:
	case ack.Body == nil && ack.Headers == nil:
		d.hasDeferred = true
		r["content"] = doc{"application/json": doc{"schema": openapi.Schema("receipt")}}
	case ack.Headers == nil && ack.Body.Shape().Type != expression.TypeUnknown:
		r["content"] = doc{"application/json": doc{"schema": schemaOf(ack.Body.Shape())}}
	default:
		r["content"] = doc{"*/*": doc{}}
	}
	out[strconv.Itoa(status)] = r
}

// answersOf returns the replies of a process, and the failures that it and the
// processes that it waits for throw.
func answersOf(e *endpoint) []steps.Answer {
	var out []steps.Answer
	seen := map[string]bool{}
	var walk func(b processes.Block, thrown bool)
	process := func(p *processes.Process, thrown bool) {
		if p != nil && !seen[p.Name] {
			seen[p.Name] = true
			walk(p.Steps, thrown)
		}
	}
	walk = func(b processes.Block, thrown bool) {
		for _, s := range b {
			if a, ok := steps.AnswerOf(s); ok && (a.Thrown || !thrown) {
				out = append(out, a)
			}
			for _, l := range s.Lists {
				walk(l.Steps, thrown)
			}
		}
	}
	process(e.deployed.Process, false)
	for _, p := range calledBy(e) {
		process(p, true)
	}
	return out
}

// calledBy returns the processes that the process of a listener waits for.
func calledBy(e *endpoint) []*processes.Process {
	project := e.deployed.Definition()
	if project == nil {
		return nil
	}
	var out []*processes.Process
	open := []*processes.Process{e.deployed.Process}
	for len(open) > 0 {
		p := open[0]
		open = open[1:]
		for _, c := range p.Calls {
			called := project.Processes[c.Process]
			if called == nil || c.Handoff || called == e.deployed.Process || slices.Contains(out, called) {
				continue
			}
			out, open = append(out, called), append(open, called)
		}
	}
	return out
}

// reply returns the content of a reply, which is empty for a status without a
// body.
func reply(e *endpoint, a steps.Answer) doc {
	if a.Status == http.StatusNoContent || a.Status == http.StatusNotModified || a.Status == http.StatusResetContent {
		return doc{}
	}
	media, schema := "*/*", doc(nil)
	switch e.listen.Output {
	case "json":
		media, schema = "application/json", schemaOf(a.Body)
	case "xml":
		media = "application/xml"
	case "text":
		media, schema = "text/*", doc{"type": "string"}
	}
	if a.ContentType != "" {
		media, schema = a.ContentType, nil
		if e.listen.Output == "text" {
			schema = doc{"type": "string"}
		}
	}
	if len(schema) == 0 {
		return doc{media: doc{}}
	}
	return doc{media: doc{"schema": schema}}
}

// anyReply returns the content of all replies of a listener.
func anyReply(e *endpoint) doc {
	out := doc{}
	for _, a := range answersOf(e) {
		if !a.Thrown {
			addContent(doc{"content": out}, reply(e, a))
		}
	}
	addContent(doc{"content": out}, problemResponse(500, e.speaksXML())["content"].(doc))
	return out
}

// addReply adds the content of a reply to the response with its status.
func addReply(out doc, status int, content doc) {
	key := strconv.Itoa(status)
	r, ok := out[key].(doc)
	if !ok {
		r = doc{"description": "The reply.", "headers": doc{"X-Execution-Id": textHeader("The execution, if it is recorded.")}, "content": doc{}}
		out[key] = r
	}
	addContent(r, content)
}

// addContent adds content to a response. A media type with several schemas
// allows any of them.
func addContent(response, content doc) {
	all := response["content"].(doc)
	for media, c := range content {
		have, ok := all[media].(doc)
		if !ok {
			all[media] = c
			continue
		}
		all[media] = either(have, c.(doc))
	}
}

// either returns a media type with the schemas of a and b.
func either(a, b doc) doc {
	if a["schema"] == nil || b["schema"] == nil {
		return doc{}
	}
	of := func(s any) []any {
		if list, ok := s.(doc)["anyOf"].([]any); ok {
			return list
		}
		return []any{s}
	}
	list := slices.Clone(of(a["schema"]))
	for _, s := range of(b["schema"]) {
		if !slices.ContainsFunc(list, func(x any) bool { return bytes.Equal(encoded(x), encoded(s)) }) {
			list = append(list, s)
		}
	}
	if len(list) == 1 {
		return a
	}
	return doc{"schema": doc{"anyOf": list}}
}

func encoded(v any) []byte {
	text, _ := json.Marshal(v) // of objects, lists and text: cannot fail
	return text
}

// shared replaces responses that the components describe with references to
// them.
func shared(out doc, xml bool) doc {
	name := "problem"
	if xml {
		name = "problemxml"
	}
	for _, s := range problemStatuses {
		key := strconv.Itoa(s)
		if r := out[key]; r != nil && bytes.Equal(encoded(r), encoded(problemResponse(s, xml))) {
			out[key] = openapi.Response(name + key)
		}
	}
	return out
}

// schemaOf returns the JSON Schema of a shape; empty if nothing is certain.
func schemaOf(s *expression.Shape) doc {
	switch {
	case s == nil:
		return doc{}
	case s.Fixed != nil:
		return doc{"const": json.RawMessage(s.Fixed)}
	case s.Type == expression.TypeText:
		return doc{"type": "string"}
	case s.Type == expression.TypeList:
		out := doc{"type": "array"}
		if items := schemaOf(s.Item); len(items) > 0 {
			out["items"] = items
		}
		return out
	case s.Type == expression.TypeObject:
		properties, required := doc{}, []string(nil)
		for _, f := range s.Fields {
			properties[f.Name] = schemaOf(f.Value)
			if !f.Optional {
				required = append(required, f.Name)
			}
		}
		return openapi.Object(required, properties)
	}
	return doc{}
}
