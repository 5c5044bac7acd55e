package atom

import (
	"encoding/json"
	"time"

	"valence/internal/document"
)

// meta is what a record carries beside its message; it is the atom's own.
type meta struct {
	Request     json.RawMessage `json:"request,omitempty"` // as `request` reads
	Props       json.RawMessage `json:"props,omitempty"`
	Correlation string          `json:"correlation_id,omitempty"`
	Trace       string          `json:"traceparent,omitempty"`
	Principal   string          `json:"principal,omitempty"`
	SHA256      string          `json:"sha256,omitempty"`
	Parent      string          `json:"parent,omitempty"` // id of the execution that handed this off
	Root        string          `json:"root,omitempty"`   // id that idempotency keys derive from, where it is not the execution's own
	Call        *metaCall       `json:"call,omitempty"`   // a hand-off of one call
	Replied     bool            `json:"replied,omitempty"`
}

// metaCall is a call that was handed off: its step is in the plan, its
// settings are as they were computed.
type metaCall struct {
	Path string          `json:"path"`
	With json.RawMessage `json:"with,omitempty"`
	Key  string          `json:"key"` // occurrence in the execution that handed it off
}

// append writes the meta as JSON. It is written for each message, so by hand.
func (m *meta) append(dst []byte) []byte {
	dst = append(dst, '{')
	raw := func(name string, v []byte) {
		if len(v) > 0 {
			dst = member(dst, name)
			dst = append(dst, v...)
		}
	}
	text := func(name, v string) {
		if v != "" {
			dst = member(dst, name)
			dst = document.AppendString(dst, v)
		}
	}
	raw("request", m.Request)
	raw("props", m.Props)
	text("correlation_id", m.Correlation)
	text("traceparent", m.Trace)
	text("principal", m.Principal)
	text("sha256", m.SHA256)
	text("parent", m.Parent)
	text("root", m.Root)
	if m.Call != nil {
		dst = member(dst, "call")
		dst = append(dst, `{"path":`...)
		dst = document.AppendString(dst, m.Call.Path)
		dst = append(dst, `,"key":`...)
		dst = document.AppendString(dst, m.Call.Key)
		if len(m.Call.With) > 0 {
			dst = append(dst, `,"with":`...)
			dst = append(dst, m.Call.With...)
		}
		dst = append(dst, '}')
	}
	if m.Replied {
		dst = append(member(dst, "replied"), "true"...)
	}
	return append(dst, '}')
}

// member starts the next member of the object that dst ends in.
func member(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = document.AppendString(dst, name)
	return append(dst, ':')
}

func parseMeta(b []byte) (*meta, error) {
	m := &meta{}
	if len(b) == 0 {
		return m, nil
	}
	return m, json.Unmarshal(b, m)
}

// timeText is how times are shown to processes and people.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
