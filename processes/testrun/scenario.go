package testrun

import (
	"net/http"
	"net/url"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/processes"
)

// Scenario returns the run as the engine needs it.
func (r *Run) Scenario(p *processes.Process) (*Scenario, error) {
	operation := ""
	s := &Scenario{Process: p.Name, Input: document.Empty, Env: r.Env, Secrets: r.Secrets, Answer: newMocks(r.Mocks).answer}
	if p.Listen != nil && p.Listen.Service != nil {
		var err error
		if s.Input, operation, err = r.soapInput(p.Listen.Service); err != nil {
			return nil, err
		}
	} else if r.Input != nil {
		var err error
		if s.Input, err = fixtureDocument(r.Input, received(p)); err != nil {
			return nil, err
		}
	}
	s.Props, s.State = object(r.Props), object(r.State)
	if p.Schedule != nil {
		s.Props = withDefault(s.Props, "scheduled_at", "2026-01-01T09:00:00Z")
	}
	if r.Request != nil {
		s.Request = request(r.Request, p.Listen)
	}
	if operation != "" {
		s.Props = withDefault(s.Props, "soap", p.Listen.Service.About(p.Listen.Service.Version(), "", nil))
		if s.Request == nil {
			s.Request = &Request{}
		}
		s.Request.Operation = operation
	}
	for _, sig := range r.Signals {
		doc := document.Empty
		if sig.Body != nil {
			var err error
			if doc, err = fixtureDocument(sig.Body, convert.Received{}); err != nil {
				return nil, err
			}
		}
		s.Signals = append(s.Signals, Signal{Wait: sig.Wait, After: sig.After, By: sig.By, Body: doc})
	}
	return s, nil
}

// received describes the input of a process.
func received(p *processes.Process) convert.Received {
	var r convert.Received
	if p.Listen != nil {
		r.Format, r.Charset = p.Listen.Input, p.Listen.Charset
	}
	if p.Delivery.Profile != nil {
		r.Shape = p.Delivery.Profile.Shape
	}
	return r
}

func object(text []byte) *document.Object {
	if text == nil {
		return nil
	}
	o, _ := document.Decode(document.Parse(string(text))).(*document.Object)
	return o
}

// withDefault returns o with a member that it may lack.
func withDefault(o *document.Object, name string, value any) *document.Object {
	if o == nil {
		o = &document.Object{}
	}
	if _, ok := o.Get(name); !ok {
		o.Set(name, value)
	}
	return o
}

func request(r *processes.TestRequest, l *processes.Listen) *Request {
	out := &Request{Method: r.Method, User: r.User, Params: r.Params, Query: url.Values{}, Header: http.Header{}}
	path, query, _ := strings.Cut(r.Path, "?")
	if out.Path = path; path != "" && l != nil {
		out.Params = append(captures(l.Path, path), r.Params...)
	}
	if inline, err := url.ParseQuery(query); err == nil {
		out.Query = inline
	}
	for _, kv := range r.Query {
		out.Query.Add(kv.Name, kv.Value)
	}
	for _, kv := range r.Headers {
		out.Header.Add(kv.Name, kv.Value)
	}
	return out
}

// captures returns the captures of a listener's path in the path of a request.
func captures(pattern, path string) []processes.NamedText {
	var found []processes.NamedText
	parts := strings.Split(path, "/")
	for i, part := range strings.Split(pattern, "/") {
		if i >= len(parts) {
			break
		}
		if name, ok := strings.CutPrefix(part, "{"); ok {
			value, err := url.PathUnescape(parts[i])
			if err != nil {
				value = parts[i]
			}
			found = append(found, processes.NamedText{Name: strings.TrimSuffix(name, "}"), Value: value})
		}
	}
	return found
}
