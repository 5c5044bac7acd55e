package atom

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"

	"valence/atom/run"
	"valence/atom/store"
	"valence/internal/document"
	"valence/processes"
)

// Input is the input of an execution that an operator starts.
type Input struct {
	Request  *Request         // the value of `request`; nil: null
	Props    *document.Object // nil: none
	Document *document.Document
}

// InvalidRequest says which part of Input.Request the listener of a process
// does not accept.
type InvalidRequest struct {
	Pointer string // into the request
	Detail  string
}

func (e *InvalidRequest) Error() string { return e.Detail }

// Execute runs a process durably, whatever its trigger. It fails with an
// *InvalidRequest if the listener of the process does not accept in.Request.
func (a *Atom) Execute(ctx context.Context, name string, in Input) (*Acknowledgement, error) {
	return a.execute(ctx, "", name, in)
}

// ExecuteOnce is Execute for a request that may be made several times. Of all
// calls with one request id, one creates an execution; the others return it as
// a duplicate, also after a restart, and if the process is not deployed any
// more. Request ids are remembered for at least a week.
func (a *Atom) ExecuteOnce(ctx context.Context, request, name string, in Input) (*Acknowledgement, error) {
	if r, err := a.store.Origin(ctx, requestOrigin(request)); err == nil {
		return a.acknowledge(&Acknowledgement{Process: name}, r), nil
	} else if !errors.Is(err, store.ErrUnknown) {
		return nil, err
	}
	return a.execute(ctx, request, name, in)
}

func requestOrigin(request string) string { return "request:" + request }

func (a *Atom) execute(ctx context.Context, request, name string, in Input) (*Acknowledgement, error) {
	d, ok := a.Process(name)
	if !ok {
		return nil, ErrNoSuch
	}
	if err := a.phase.ready(); err != nil {
		return nil, err
	}
	doc := cmp.Or(in.Document, document.Empty)
	m := &Message{Doc: doc, Received: run.Now(), Props: in.Props, CorrelationID: rand.Text(), SHA256: run.HashBody(doc), RequestID: request}
	if in.Request != nil {
		var err error
		if m.Request, err = complete(in.Request, d.Process.Listen); err != nil {
			return nil, err
		}
	}
	origin := ""
	if request != "" {
		origin = requestOrigin(request)
	}
	return a.acceptOnce(ctx, d, m, origin)
}

// complete returns a request as a listener receives it: with its path, its
// method unless r has one, and its path parameters in order. The process of a
// nil listener may be called by one that has a listener, so any request is
// possible.
func complete(r *Request, l *processes.Listen) (*Request, error) {
	full := *r
	if l == nil {
		full.Method, full.Path = cmp.Or(r.Method, http.MethodPost), "/"
		return &full, nil
	}
	full.Method = cmp.Or(r.Method, l.Methods[0])
	if !slices.Contains(l.Methods, full.Method) {
		return nil, &InvalidRequest{"/method", "the listener supports " + strings.Join(l.Methods, ", ")}
	}
	full.Params = nil
	segments := strings.Split(l.Path, "/")
	for i, s := range segments {
		name, ok := strings.CutPrefix(s, "{")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		at := slices.IndexFunc(r.Params, func(p KV) bool { return p.Name == name })
		if at < 0 || r.Params[at].Value == "" {
			return nil, &InvalidRequest{"/params/" + name, "the path " + l.Path + " needs a value for " + name}
		}
		full.Params = append(full.Params, r.Params[at])
		segments[i] = r.Params[at].Value
	}
	for _, p := range r.Params {
		if !slices.ContainsFunc(full.Params, func(k KV) bool { return k.Name == p.Name }) {
			return nil, &InvalidRequest{"/params/" + p.Name, "the path " + l.Path + " has no parameter " + p.Name}
		}
	}
	full.Path = strings.Join(segments, "/")
	return &full, nil
}
