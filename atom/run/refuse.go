package run

import (
	"encoding/json"
	"strings"

	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
)

// maxRefusal bounds the text of a refusal, in bytes.
const maxRefusal = 8 << 10

// Refuse returns the message to store when a process refuses a message whose
// source cannot keep it. Its execution fails as soon as it runs, so that
// operators see the message among the failed executions.
func (g *Engine) Refuse(d Deployed, in *Message, why *fault.Failure) *store.Message {
	p := d.Plan.Process
	m := &store.Message{Process: p.Name, Plan: d.Plan.Name(), Env: d.EnvHash, Received: in.Received}
	meta := *g.prepare(d, in).meta
	view := NewErrorView(why)
	if view.Message == "" {
		view.Message = why.Error()
	}
	text, err := json.Marshal(view)
	if err != nil || len(text) > maxRefusal {
		text, _ = json.Marshal(&ErrorView{Code: view.Code, Message: strings.ToValidUTF8(view.Message[:min(len(view.Message), maxRefusal/8)], "")}) // of two strings: cannot fail
	}
	meta.Refused = text
	if in.Props != nil {
		meta.Props = document.AppendJSON(nil, in.Props)
	}
	m.Meta = meta.Append(nil)
	SetDocument(m, in.Doc, d.Plan.redact())
	return m
}

// refusal returns the failure of an execution whose message was refused.
func (m *Meta) refusal() *fault.Failure {
	var why ErrorView
	if err := json.Unmarshal(m.Refused, &why); err != nil {
		why.Message = err.Error()
	}
	return &fault.Failure{Code: fault.CodeRefused, Source: fault.FromAtom, Message: "the process refused the message: " + why.Message, Problems: why.Problems}
}

// props returns the props of the execution; nil if it has none.
func (m *Meta) props() *document.Object {
	if len(m.Props) == 0 {
		return nil
	}
	props, _ := document.Decode(document.Parse(string(m.Props))).(*document.Object)
	return props
}
