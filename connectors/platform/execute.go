package platform

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type execute struct {
	Process, ProcessID string
	Atom, AtomID       string
	Props              []spec.KV
	Document           bool
}

var executeOperation = connectors.Define(connectors.Operation{
	Name: "execute", SendsBody: true, HasStatus: true,
	Doc: "Requests the execution of a process on an atom, without waiting for its end. The response holds the `request_id` for `record`. A repeated call, such as after a crash, does not request a second execution.",
	Sample: "- call: cloud.execute\n  with:\n    process: fetch-order\n    atom: edge-01\n    props: { recordId: \"${doc.id}\" }\n" +
		"- call: cloud.record\n  with: { request: \"${doc.request_id}\", wait: 1m }\n",
	With: []spec.Field{
		spec.String("process", func(e *execute) *string { return &e.Process }, "Name of the process. Required unless `process_id` is set."),
		spec.String("process_id", func(e *execute) *string { return &e.ProcessID }, "Id of the process, if its name is not unique."),
		spec.String("atom", func(e *execute) *string { return &e.Atom }, "Name of the atom. Required unless `atom_id` is set; only `valence cloud` supports names."),
		spec.String("atom_id", func(e *execute) *string { return &e.AtomID }, "Id of the atom."),
		spec.StringMap("props", func(e *execute) *[]spec.KV { return &e.Props }, "Properties of the process, read as `props`. Values are strings."),
		spec.Bool("document", func(e *execute) *bool { return &e.Document },
			"Send the document, or `body` if set, as the input of the process. Only `valence cloud` supports this."),
	},
}, requestExecution)

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

func requestExecution(ctx context.Context, c *connection, w *execute, call *connectors.Call) (*connectors.Result, error) {
	if (w.Process == "") == (w.ProcessID == "") {
		return nil, badCall("execute needs exactly one of process and process_id")
	}
	if (w.Atom == "") == (w.AtomID == "") {
		return nil, badCall("execute needs exactly one of atom and atom_id")
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
		return nil, badCall("cannot encode the request: %v", err)
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
