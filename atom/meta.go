package atom

import (
	"errors"
	"time"

	"valence/internal/document"
)

// meta is what a record carries beside its message; it is the atom's own.
type meta struct {
	Request     []byte // as `request` reads
	Props       []byte
	Correlation string
	Trace       string
	Principal   string
	SHA256      string
	Parent      string    // id of the execution that handed this off
	Root        string    // id that idempotency keys derive from, where it is not the execution's own
	Call        *metaCall // a hand-off of one call
	Replied     bool
	Memory      bool      // it ran in memory: there is no journal
	Alarm       bool      // it belongs to an on_failure: its failure starts none
	Original    string    // id of the failed execution that this one takes the place of
	Began       time.Time // with Original: when that one began; zero: at its own acceptance
}

// metaCall is a call that was handed off: its step is in the plan, its
// settings are as they were computed.
type metaCall struct {
	Path string
	With []byte
	Key  string // occurrence in the execution that handed it off
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
	flag := func(name string, v bool) {
		if v {
			dst = append(member(dst, name), "true"...)
		}
	}
	flag("replied", m.Replied)
	flag("memory", m.Memory)
	flag("alarm", m.Alarm)
	text("original", m.Original)
	if !m.Began.IsZero() {
		text("began", timeText(m.Began))
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

// parseMeta reads what append wrote; what it does not know is left out.
func parseMeta(b []byte) (*meta, error) {
	m := &meta{}
	if len(b) == 0 {
		return m, nil
	}
	o, ok := document.Decode(document.Parse(string(b))).(*document.Object)
	if !ok {
		return nil, errMeta
	}
	for i := range o.Len() {
		name, v := o.At(i)
		switch name {
		case "request":
			m.Request = rawOf(v)
		case "props":
			m.Props = rawOf(v)
		case "call":
			c, _ := document.Decode(v).(*document.Object)
			if c == nil {
				return nil, errMeta
			}
			with, _ := c.Get("with")
			m.Call = &metaCall{Path: textOf(c, "path"), Key: textOf(c, "key"), With: rawOf(with)}
		case "replied":
			m.Replied = v == true
		case "memory":
			m.Memory = v == true
		case "alarm":
			m.Alarm = v == true
		}
	}
	m.Correlation, m.Trace = textOf(o, "correlation_id"), textOf(o, "traceparent")
	m.Principal, m.SHA256 = textOf(o, "principal"), textOf(o, "sha256")
	m.Parent, m.Root, m.Original = textOf(o, "parent"), textOf(o, "root"), textOf(o, "original")
	if began := textOf(o, "began"); began != "" {
		var err error
		if m.Began, err = time.Parse(time.RFC3339, began); err != nil {
			return nil, errMeta
		}
	}
	return m, nil
}

var errMeta = errors.New("the data that the atom keeps beside the message cannot be read")

func textOf(o *document.Object, key string) string {
	v, _ := o.Get(key)
	s, _ := v.(string)
	return s
}

func rawOf(v any) []byte {
	if v == nil {
		return nil
	}
	return document.AppendJSON(nil, v)
}

// timeText is how times are shown to processes and people.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
