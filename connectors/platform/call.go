package platform

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

const (
	codeCall     = "bad_call"  // the call cannot be made
	codeNotEnded = "not_ended" // the execution has not ended in time

	maxPause = 5 * time.Second // between two looks at a record, where the server does not hold them
)

// Call performs one operation. See the package comment for the failures.
func (c *connection) Call(ctx context.Context, call *connectors.Call) (*connectors.Result, error) {
	w, _ := call.With.(*with)
	if w == nil {
		w = &with{}
	}
	if call.Operation == "record" {
		return c.record(ctx, call, w)
	}
	return c.execute(ctx, call, w)
}

// executionRequest is the body of POST …/ExecutionRequest.
type executionRequest struct {
	Type             string      `json:"@type"`
	AtomID           string      `json:"atomId,omitempty"`
	AtomName         string      `json:"atomName,omitempty"`
	ProcessID        string      `json:"processId,omitempty"`
	ProcessName      string      `json:"processName,omitempty"`
	Properties       *properties `json:"DynamicProcessProperties,omitempty"`
	Document         *string     `json:"document,omitempty"`
	DocumentType     string      `json:"documentType,omitempty"`
	DocumentEncoding string      `json:"documentEncoding,omitempty"`
	IdempotencyKey   string      `json:"idempotencyKey,omitempty"`
}

type properties struct {
	Type     string     `json:"@type"`
	Property []property `json:"DynamicProcessProperty"`
}

type property struct {
	Type  string `json:"@type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (c *connection) execute(ctx context.Context, call *connectors.Call, w *with) (*connectors.Result, error) {
	if (w.Process == "") == (w.ProcessID == "") {
		return nil, badCall("execute needs either process or process_id")
	}
	if (w.Atom == "") == (w.AtomID == "") {
		return nil, badCall("execute needs either atom or atom_id")
	}
	r := executionRequest{Type: "ExecutionRequest", AtomID: w.AtomID, AtomName: w.Atom,
		ProcessID: w.ProcessID, ProcessName: w.Process, IdempotencyKey: call.IdempotencyKey}
	if len(w.Props) > 0 {
		r.Properties = &properties{Type: "DynamicProcessProperties"}
		for _, p := range w.Props {
			r.Properties.Property = append(r.Properties.Property, property{"DynamicProcessProperty", p.Name, p.Value})
		}
	}
	if w.Document && call.Body != nil {
		text := string(call.Body.Body())
		if !utf8.ValidString(text) {
			text, r.DocumentEncoding = base64.StdEncoding.EncodeToString(call.Body.Body()), "base64"
		}
		r.Document, r.DocumentType = &text, call.Body.MediaType()
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, badCall("the request cannot be written: %v", err)
	}
	status, answer, f := c.send(ctx, call, http.MethodPost, "/ExecutionRequest", body, 0)
	if f != nil {
		return nil, f
	}
	var got struct {
		RequestID string `json:"requestId"`
		RecordURL string `json:"recordUrl"`
	}
	if err := json.Unmarshal(answer, &got); err != nil || got.RequestID == "" {
		return nil, unreadable(status, answer, "an execution request without requestId")
	}
	o := &document.Object{}
	o.Set("request_id", got.RequestID)
	o.Set("record_url", got.RecordURL)
	return &connectors.Result{Doc: document.FromValue(o), Status: status}, nil
}

// ended are the statuses of executions that do not change any more.
var ended = map[string]bool{"COMPLETE": true, "COMPLETE_WARN": true, "ERROR": true, "ABORTED": true, "DISCARDED": true}

func (c *connection) record(ctx context.Context, call *connectors.Call, w *with) (*connectors.Result, error) {
	if w.Request == "" {
		return nil, badCall("record needs request")
	}
	path := "/ExecutionRecord/async/" + url.PathEscape(w.Request)
	until := time.Now().Add(w.Wait)
	seen := "no record yet"
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, maxPause) {
		asked := time.Now()
		status, answer, f := c.send(ctx, call, http.MethodGet, path, nil, max(0, until.Sub(asked)))
		if f != nil {
			return nil, f
		}
		if status != http.StatusAccepted {
			record, f := recordOf(status, answer)
			if f != nil {
				return nil, f
			}
			if record != nil {
				is, _ := record.Get("status")
				if ended[fmt.Sprint(is)] {
					return &connectors.Result{Doc: document.FromValue(record), Status: status}, nil
				}
				seen = fmt.Sprint(is)
			}
		}
		left := time.Until(until)
		if left <= 0 {
			f := failed(codeNotEnded, true, nil, "%s has not ended within %s: %s", w.Request, w.Wait, seen)
			f.Status = status
			return nil, f
		}
		if time.Since(asked) > time.Second {
			continue // the server held the request
		}
		select {
		case <-ctx.Done():
			return nil, interrupted(ctx, http.MethodGet+" "+c.base+path)
		case <-time.After(min(pause, left)):
		}
	}
}

// recordOf takes the record out of an answer; nil where there is none. Longs,
// which the API writes as ["Long", n], become numbers, and @type is left out.
func recordOf(status int, answer []byte) (*document.Object, *fault.Failure) {
	if !json.Valid(answer) {
		return nil, unreadable(status, answer, "an answer that is not JSON")
	}
	result, _ := document.Key(document.Parse(string(answer)), "result")
	list, _ := document.Decode(result).([]any)
	if len(list) == 0 {
		return nil, nil
	}
	from, ok := document.Decode(list[0]).(*document.Object)
	if !ok {
		return nil, unreadable(status, answer, "an execution record that is no object")
	}
	record := &document.Object{}
	for i := range from.Len() {
		key, v := from.At(i)
		if key == "@type" {
			continue
		}
		if pair, ok := document.Decode(v).([]any); ok && len(pair) == 2 && document.Decode(pair[0]) == "Long" {
			v = pair[1]
		}
		record.Set(key, v)
	}
	return record, nil
}

func badCall(format string, args ...any) *fault.Failure {
	return failed(codeCall, false, nil, format, args...)
}

func unreadable(status int, answer []byte, what string) *fault.Failure {
	f := failed(fault.CodeAnswer, false, nil, "the control plane answered %s with %s", strconv.Itoa(status), what)
	f.Status, f.Body = status, answer[:min(len(answer), maxErrorBody)]
	return f
}
