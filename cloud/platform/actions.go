package platform

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
	"valence/internal/wire"
)

// actions lists the endpoints that are not a verb of an object.
func actions() []endpoint {
	const get, post = http.MethodGet, http.MethodPost
	return []endpoint{
		{method: post, path: []string{"executeProcess"}, action: "execution.create", schema: "ProcessExecutionRequest", run: executeProcess,
			doc: "Requests an execution of a process on an atom. The response is empty."},
		{method: post, path: []string{"ExecutionRequest"}, action: "execution.create", schema: "ExecutionRequest", answer: "ExecutionRequest", large: true, run: requestExecution,
			doc: "Requests an execution of a process on an atom and returns the request id. Prefer: wait=N waits for the record."},
		{method: get, path: []string{"ExecutionRecord", "async", "{id}"}, action: "execution.read", answer: "AsyncOperationResult", run: asyncRecord,
			doc: "Returns the record of an execution request, or 202 if there is none yet. Prefer: wait=N waits for the end of the execution."},
		{method: post, path: []string{"cancelExecution", "{id}"}, action: "execution.cancel", status: http.StatusAccepted, run: cancelExecution,
			doc: "Cancels an execution by its id or the id of its request."},
		{method: post, path: []string{"changeListenerStatus"}, action: "listener.update", schema: "ChangeListenerStatusRequest", run: changeListener,
			doc: "Pauses, resumes or restarts one listener of an atom, or all of them. The response is empty."},
		{method: post, path: []string{"async", "ListenerStatus", "query"}, action: "listener.read", schema: "QueryConfig", answer: "AsyncOperationTokenResult", status: http.StatusAccepted, run: askListeners,
			doc: "Requests the status of an atom's listeners. The filter names the atom as containerId."},
		{method: post, path: []string{"ListenerStatus", "query", "async"}, action: "listener.read", schema: "QueryConfig", answer: "AsyncOperationTokenResult", status: http.StatusAccepted, run: askListeners,
			doc: "The same under the path of older clients."},
		{method: get, path: []string{"async", "ListenerStatus", "response", "{id}"}, action: "listener.read", answer: "AsyncOperationResult", run: tellListeners,
			doc: "Returns the status for a token."},
		{method: get, path: []string{"ListenerStatus", "async", "{id}"}, action: "listener.read", answer: "AsyncOperationResult", run: tellListeners,
			doc: "The same under the path of older clients."},
		{method: post, path: []string{"Package", "upload"}, action: "package.create", raw: true, answer: "PackagedComponent", run: uploadPackage,
			doc: "Stores the archive in the body as a version of a project. Extension. The query parameters are project, version and notes. A publisher's statement and its signature are sent in base64 in the headers Valence-Statement and Valence-Signature."},
		{method: get, path: []string{"Package", "{id}", "archive"}, action: "package.download", raw: true, run: downloadPackage,
			doc: "Returns the archive of a package. Extension."},
	}
}

// executeProcess serves ExecuteProcess: properties have a Name and a Value.
func executeProcess(c *call, _ string) (*codec.Object, error) {
	r := cloud.ExecutionRequest{AtomID: c.body.String("atomId"), ProcessID: c.body.String("processId"), ProcessName: c.body.String("processName")}
	var err error
	if r.Props, err = props(c.body.Get("ProcessProperties").All("ProcessProperty")); err != nil {
		return nil, err
	}
	_, err = c.execute(r)
	return nil, err
}

// execute checks the required fields of a request and creates it.
func (c *call) execute(r cloud.ExecutionRequest) (string, error) {
	switch {
	case r.AtomID == "":
		return "", refuse(http.StatusBadRequest, "atomId is missing")
	case r.ProcessID == "" && r.ProcessName == "":
		return "", refuse(http.StatusBadRequest, "processId is missing")
	}
	return c.service.Executions.Execute(c.ctx, c.who, r)
}

// props builds an object from properties. The last of several equal names wins.
func props(all []*codec.Node) (json.RawMessage, error) {
	if len(all) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, p := range all {
		name, value := p.String("name"), p.String("value")
		if name == "" {
			name = p.String("Name")
		}
		if value == "" {
			value = p.String("Value")
		}
		if name == "" {
			return nil, refuse(http.StatusBadRequest, "a process property has no name")
		}
		out[name] = value
	}
	text, err := json.Marshal(out)
	return text, err
}

// requestExecution responds with the request and the id of its record.
func requestExecution(c *call, _ string) (*codec.Object, error) {
	in := c.body
	r := cloud.ExecutionRequest{AtomID: in.String("atomId"), ProcessID: in.String("processId"), ProcessName: in.String("processName"),
		IdempotencyKey: in.String("idempotencyKey"), DocumentType: in.String("documentType")}
	if r.AtomID == "" {
		r.AtomID = in.String("atomName")
	}
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = c.request.Header.Get("Idempotency-Key")
	}
	for _, p := range in.Get("ProcessProperties").All("ProcessProperty") {
		if p.Has("ProcessPropertyValue") {
			return nil, refuse(http.StatusBadRequest, "process property components do not exist here: use DynamicProcessProperties")
		}
	}
	given := in.Get("DynamicProcessProperties").All("DynamicProcessProperty")
	var err error
	if r.Props, err = props(given); err != nil {
		return nil, err
	}
	if r.Document, r.DocumentType, err = documentOf(in); err != nil {
		return nil, err
	}
	id, err := c.execute(r)
	if err != nil {
		return nil, err
	}
	if in.String("atomId") == "" || r.ProcessID == "" {
		if stored, err := c.service.Executions.ExecutionRequest(c.ctx, c.who, id); err == nil { // names were sent: the response has the ids
			r.AtomID, r.ProcessID, r.ProcessName = stored.AtomID, stored.ProcessID, stored.ProcessName
		}
	}
	out := &codec.Object{Type: "ExecutionRequest", Fields: []codec.Field{
		{Name: "processId", Value: r.ProcessID, Attr: true}, {Name: "processName", Value: r.ProcessName, Attr: true}, {Name: "atomId", Value: r.AtomID, Attr: true},
		{Name: "requestId", Value: id, Attr: true}, {Name: "recordUrl", Value: c.url("ExecutionRecord", "async", id), Attr: true},
		{Name: "DynamicProcessProperties", Value: echo(given)},
	}}
	wait := c.wait()
	if wait <= 0 {
		return out, nil
	}
	record, err := c.service.Executions.WaitRecord(c.ctx, c.who, id, wait)
	if err == nil && record != nil {
		out.Fields = append(out.Fields, codec.Field{Name: "record", Value: c.record(record)})
	}
	return out, nil // the request is stored, however the wait ended
}

// echo copies the properties of a request to the response.
func echo(given []*codec.Node) *codec.Object {
	if len(given) == 0 {
		return nil
	}
	var all []*codec.Object
	for _, p := range given {
		all = append(all, &codec.Object{Type: "DynamicProcessProperty", Fields: []codec.Field{
			{Name: "name", Value: p.String("name"), Attr: true}, {Name: "value", Value: p.String("value"), Attr: true, Keep: true}}})
	}
	return &codec.Object{Type: "DynamicProcessProperties", Fields: []codec.Field{{Name: "DynamicProcessProperty", Value: all}}}
}

// documentOf returns the document of a request.
func documentOf(in *codec.Node) (body []byte, mediaType string, err error) {
	if !in.Has("document") {
		return nil, "", nil
	}
	mediaType = in.String("documentType")
	body = []byte(in.String("document"))
	if !in.Get("document").Empty() && len(body) == 0 {
		return nil, "", refuse(http.StatusBadRequest, "document must be a string: send JSON as its text")
	}
	switch e := in.String("documentEncoding"); e {
	case "":
	case "base64":
		if body, err = decode64(in, "document"); err != nil {
			return nil, "", err
		}
	default:
		return nil, "", refuse(http.StatusBadRequest, "documentEncoding must be base64 or omitted, got %q", e)
	}
	if mediaType == "" {
		mediaType = "text/plain"
		if json.Valid(body) {
			mediaType = "application/json"
		}
	}
	return body, mediaType, nil
}

func decode64(in *codec.Node, name string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(in.String(name)))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%s is not base64: %v", name, err)
	}
	return b, nil
}

// wait returns the seconds of Prefer: wait=N (RFC 7240).
func (c *call) wait() time.Duration {
	for _, line := range c.request.Header.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if n, err := strconv.Atoi(strings.Trim(value, `" `)); strings.EqualFold(strings.TrimSpace(name), "wait") && err == nil && n > 0 {
				n = min(n, int(maxWait/time.Second))
				c.answer.Header().Set("Preference-Applied", "wait="+strconv.Itoa(n))
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}

// url returns a URL of the account under the host that the client used.
func (c *call) url(parts ...string) string {
	scheme := "http"
	if c.request.TLS != nil || strings.EqualFold(c.request.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + c.request.Host + Root + c.who.Account + "/" + strings.Join(parts, "/")
}

// asyncResult wraps objects in an AsyncOperationResult.
func asyncResult(status int, all []*codec.Object) *codec.Object {
	return &codec.Object{Type: "AsyncOperationResult", Fields: []codec.Field{
		{Name: "responseStatusCode", Value: status, Attr: true},
		{Name: "numberOfResults", Value: len(all), Attr: true},
		{Name: "result", Value: all, Typed: true},
	}}
}

func asyncRecord(c *call, id string) (*codec.Object, error) {
	r, err := c.service.Executions.WaitRecord(c.ctx, c.who, id, c.wait())
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		c.status = http.StatusAccepted
		return asyncResult(http.StatusAccepted, nil), nil
	}
	return asyncResult(http.StatusOK, []*codec.Object{c.record(r)}), nil
}

func cancelExecution(c *call, id string) (*codec.Object, error) {
	return nil, c.service.Executions.Cancel(c.ctx, c.who, id)
}

// changeListener changes one listener, or all listeners if the request names
// none.
func changeListener(c *call, _ string) (*codec.Object, error) {
	atom, process, action := c.body.String("containerId"), c.body.String("listenerId"), strings.ToLower(c.body.String("action"))
	switch {
	case atom == "":
		return nil, refuse(http.StatusBadRequest, "containerId is missing: the id of the atom")
	case strings.HasSuffix(action, "_every"):
		return nil, refuse(http.StatusBadRequest, "action must be pause, resume or restart, or one of them with _all")
	case process == "" && !strings.HasSuffix(action, "_all"):
		action += "_all"
	}
	return nil, c.service.Triggers.Change(c.ctx, c.who, atom, process, action)
}

// listenerProperties are the properties that a listener query can filter by.
var listenerProperties = map[string]filter.Type{"containerId": filter.Text, "listenerId": filter.Text, "status": filter.Text, "connectorType": filter.Text}

const listenerToken = "ListenerStatus-"

// askListeners responds with a token that contains the query, so no state is
// stored.
func askListeners(c *call, _ string) (*codec.Object, error) {
	f, err := filter.Parse(c.body, listenerProperties)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "ListenerStatus: %v", err)
	}
	atom, ok := f.Exact("containerId")
	if !ok {
		return nil, refuse(http.StatusBadRequest, "the filter must say containerId EQUALS the id of an atom")
	}
	if _, err := c.service.Triggers.States(c.ctx, c.who, atom); err != nil {
		return nil, err
	}
	token := listenerToken + position{Object: "ListenerStatus", Query: c.raw, Format: int(c.bodyFormat)}.token()
	return &codec.Object{Type: "AsyncOperationTokenResult", Fields: []codec.Field{
		{Name: "asyncToken", Value: &codec.Object{Type: "AsyncToken", Fields: []codec.Field{{Name: "token", Value: token, Attr: true}}}},
		{Name: "responseStatusCode", Value: http.StatusAccepted, Attr: true},
	}}, nil
}

func tellListeners(c *call, token string) (*codec.Object, error) {
	at, err := parseToken(strings.TrimPrefix(token, listenerToken), "ListenerStatus")
	if err != nil {
		return nil, err
	}
	question, err := codec.Decode(at.Query, codec.Format(at.Format))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid token: %v", err)
	}
	f, err := filter.Parse(question, listenerProperties)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "ListenerStatus: %v", err)
	}
	atom, _ := f.Exact("containerId")
	states, err := c.service.Triggers.States(c.ctx, c.who, atom)
	if err != nil {
		return nil, err
	}
	var all []*codec.Object
	for _, l := range states {
		if l.Kind == wire.TriggerSchedule {
			continue // see ProcessScheduleStatus
		}
		status := map[string]string{cloud.Running: "listening", cloud.Paused: "paused"}[l.State]
		if status == "" {
			status = "errored" // the atom has not reported that it listens
		}
		passes := f.Match(func(name string) (string, bool) {
			v := map[string]string{"containerId": atom, "listenerId": l.ProcessID, "status": status, "connectorType": l.Kind}[name]
			return v, v != ""
		})
		if passes {
			all = append(all, &codec.Object{Type: "ListenerStatus", Fields: []codec.Field{
				{Name: "listenerId", Value: l.ProcessID, Attr: true}, {Name: "status", Value: status, Attr: true}, {Name: "connectorType", Value: l.Kind, Attr: true}}})
		}
	}
	return asyncResult(http.StatusOK, all), nil
}

// uploadPackage stores an archive.
func uploadPackage(c *call, _ string) (*codec.Object, error) {
	q := c.request.URL.Query()
	u := cloud.Upload{Project: q.Get("project"), Version: q.Get("version"), Notes: q.Get("notes")}
	for name, into := range map[string]*[]byte{"Valence-Statement": &u.Statement, "Valence-Signature": &u.Signature} {
		var err error
		if *into, err = base64.StdEncoding.DecodeString(c.request.Header.Get(name)); err != nil {
			return nil, refuse(http.StatusBadRequest, "%s is not base64: %v", name, err)
		}
	}
	var err error
	if u.Archive, err = io.ReadAll(http.MaxBytesReader(c.answer, c.request.Body, maxPackage)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, refuse(http.StatusRequestEntityTooLarge, "the package is larger than %d MiB", maxPackage>>20)
		}
		return nil, refuse(http.StatusBadRequest, "the package is incomplete: %v", err)
	}
	p, err := c.service.Packages.Create(c.ctx, c.who, u)
	if err != nil {
		return nil, err
	}
	if c.request.Header.Get("Accept") == "" {
		c.format = codec.JSON
	}
	return packageObject.encode(c, packaged{p, first(p.Components)}), nil
}

// downloadPackage responds with the archive itself.
func downloadPackage(c *call, id string) (*codec.Object, error) {
	p, err := c.service.Packages.Get(c.ctx, c.who, id)
	if err != nil {
		return nil, err
	}
	content, err := c.service.Packages.Archive(c.ctx, c.who, id)
	if err != nil {
		return nil, err
	}
	c.written = true
	h := c.answer.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(content)))
	h.Set("ETag", `"`+p.SHA256+`"`)
	_, _ = c.answer.Write(content) // an error means that the client has gone
	return nil, nil
}
