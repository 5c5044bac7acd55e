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
	By          string    // what started it, see Arrival
	Parent      string    // id of the execution that handed this off
	Root        string    // id that idempotency keys derive from, where it is not the execution's own
	Call        *metaCall // a hand-off of one call
	Replied     bool
	Memory      bool       // it ran in memory: there is no journal
	Coalesced   bool       // a newer message may take its place until it begins
	Alarm       bool       // it belongs to an on_failure: its failure starts none
	Original    string     // id of the failed execution that this one takes the place of
	Began       time.Time  // with Original: when that one began; zero: at its own acceptance
	Later       *metaLater // the reply is kept until the sender collects it
}

// metaLater is what the end of an execution needs to know of who collects.
type metaLater struct {
	Callback string // where the reply is posted to; ""
	Key      string // dedupe key whose repeats get the reply; ""
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
	text("by", m.By)
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
	if m.Later != nil {
		dst = append(member(dst, "later"), '{')
		text("callback", m.Later.Callback)
		text("key", m.Later.Key)
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
	flag("coalesced", m.Coalesced)
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
	err := error(nil)
	ok := document.Each(string(b), func(name string, v any) bool {
		switch name {
		case "request":
			m.Request = rawOf(v)
		case "props":
			m.Props = rawOf(v)
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
			m.Later, err = parseLater(v)
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

func parseLater(v any) (*metaLater, error) {
	l := &metaLater{}
	return l, eachMember(v, func(name string, v any) {
		switch name {
		case "callback":
			l.Callback = textOf(v)
		case "key":
			l.Key = textOf(v)
		}
	})
}

// eachMember gives the members of a value to a function; anything but an
// object is errMeta.
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

var errMeta = errors.New("the data that the atom keeps beside the message cannot be read")

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

// timeText is how times are shown to processes and people.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
