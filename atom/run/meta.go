package run

import (
	"errors"
	"time"

	"valence/internal/document"
)

// Meta is the metadata of an execution, opaque bytes for the store.
type Meta struct {
	Request     []byte // the value of `request`
	Props       []byte
	Correlation string
	Trace       string
	Principal   string
	SHA256      string
	By          string    // see Message
	RequestID   string    // likewise
	Parent      string    // id of the execution that handed this off
	Root        string    // id that idempotency keys derive from; "": its own
	Call        *metaCall // a hand-off of one call
	Replied     bool
	Memory      bool          // it ran in memory and has no journal
	Coalesced   bool          // a newer message may supersede it until it begins
	ReplyTo     string        // see Message
	Refused     []byte        // why the process refused the message, as an ErrorView; nil: it did not
	Alarm       bool          // it belongs to an on_failure process: its failure starts none
	Original    string        // id of the failed execution that this one runs again
	Began       time.Time     // with Original: when that one began; zero: when it was received
	Deferred    *metaDeferred // the reply is collected by the sender
}

// metaDeferred describes a deferred reply.
type metaDeferred struct {
	Callback string // URL that the reply is posted to; ""
	Key      string // dedupe key whose repeats receive the reply; ""
}

// metaCall describes a call that was handed off: its step in the plan, and its
// computed settings.
type metaCall struct {
	Path string
	With []byte
	Key  string // of the occurrence in the execution that handed it off
}

// Append appends the metadata as JSON. It is written by hand because it is
// written for every message.
func (m *Meta) Append(dst []byte) []byte {
	dst = append(dst, '{')
	raw := func(name string, v []byte) {
		if len(v) > 0 {
			dst = AppendMember(dst, name)
			dst = append(dst, v...)
		}
	}
	text := func(name, v string) {
		if v != "" {
			dst = AppendMember(dst, name)
			dst = document.AppendString(dst, v)
		}
	}
	raw("request", m.Request)
	raw("props", m.Props)
	raw("refused", m.Refused)
	text("correlation_id", m.Correlation)
	text("traceparent", m.Trace)
	text("principal", m.Principal)
	text("sha256", m.SHA256)
	text("by", m.By)
	text("reply_to", m.ReplyTo)
	text("request_id", m.RequestID)
	text("parent", m.Parent)
	text("root", m.Root)
	if m.Call != nil {
		dst = AppendMember(dst, "call")
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
	if m.Deferred != nil {
		dst = append(AppendMember(dst, "later"), '{')
		text("callback", m.Deferred.Callback)
		text("key", m.Deferred.Key)
		dst = append(dst, '}')
	}
	flag := func(name string, v bool) {
		if v {
			dst = append(AppendMember(dst, name), "true"...)
		}
	}
	flag("replied", m.Replied)
	flag("memory", m.Memory)
	flag("alarm", m.Alarm)
	flag("coalesced", m.Coalesced)
	text("original", m.Original)
	if !m.Began.IsZero() {
		text("began", TimeText(m.Began))
	}
	return append(dst, '}')
}

// CorrelationText returns the part of the result of Append that holds a
// correlation id.
func CorrelationText(id string) string {
	return string(document.AppendString(append(document.AppendString(nil, "correlation_id"), ':'), id))
}

// AppendMember appends a name and a colon to the JSON object that dst ends in.
func AppendMember(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = document.AppendString(dst, name)
	return append(dst, ':')
}

// ParseMeta reads the result of Append. It ignores unknown members.
func ParseMeta(b []byte) (*Meta, error) {
	m := &Meta{}
	if len(b) == 0 {
		return m, nil
	}
	err := error(nil)
	ok := document.Each(string(b), func(name string, v any) bool {
		switch name {
		case "request":
			m.Request = rawOf(v)
		case "props":
			m.Props = rawOf(v)
		case "refused":
			m.Refused = rawOf(v)
		case "reply_to":
			m.ReplyTo = textOf(v)
		case "correlation_id":
			m.Correlation = textOf(v)
		case "traceparent":
			m.Trace = textOf(v)
		case "principal":
			m.Principal = textOf(v)
		case "sha256":
			m.SHA256 = textOf(v)
		case "by":
			m.By = textOf(v)
		case "request_id":
			m.RequestID = textOf(v)
		case "parent":
			m.Parent = textOf(v)
		case "root":
			m.Root = textOf(v)
		case "original":
			m.Original = textOf(v)
		case "began":
			m.Began, err = time.Parse(time.RFC3339, textOf(v))
		case "call":
			m.Call, err = parseCall(v)
		case "later":
			m.Deferred, err = parseDeferred(v)
		case "coalesced":
			m.Coalesced = v == true
		case "replied":
			m.Replied = v == true
		case "memory":
			m.Memory = v == true
		case "alarm":
			m.Alarm = v == true
		}
		return err == nil
	})
	if !ok {
		err = errMeta
	}
	return m, err
}

func parseCall(v any) (*metaCall, error) {
	c := &metaCall{}
	return c, eachMember(v, func(name string, v any) {
		switch name {
		case "path":
			c.Path = textOf(v)
		case "key":
			c.Key = textOf(v)
		case "with":
			c.With = rawOf(v)
		}
	})
}

func parseDeferred(v any) (*metaDeferred, error) {
	l := &metaDeferred{}
	return l, eachMember(v, func(name string, v any) {
		switch name {
		case "callback":
			l.Callback = textOf(v)
		case "key":
			l.Key = textOf(v)
		}
	})
}

// eachMember calls a function for each member of an object. It fails with
// errMeta for any other value.
func eachMember(v any, member func(name string, v any)) error {
	raw, _ := v.(document.Raw)
	ok := document.Each(string(raw), func(name string, v any) bool {
		member(name, v)
		return true
	})
	if !ok {
		return errMeta
	}
	return nil
}

var errMeta = errors.New("invalid metadata")

func textOf(v any) string {
	s, _ := v.(string)
	return s
}

func rawOf(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case document.Raw:
		return []byte(v)
	}
	return document.AppendJSON(nil, v)
}

// TimeText returns a time as processes and people read it.
func TimeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
