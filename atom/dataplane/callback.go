package dataplane

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/problem"
	"valence/processes"
)

// callbackPath is the prefix of the URLs that end waits.
const callbackPath = "/callbacks/"

// maxCallbackBody is the largest body of a callback, in bytes.
const maxCallbackBody = 1 << 20

// serveCallback ends the wait identified by the token in the path. Only POST
// has an effect: mail scanners and link previews send GET.
func (req *request) serveCallback() {
	if req.r.Method != http.MethodPost {
		req.w.Header()["Allow"] = []string{"POST"}
		req.refuse(methodNotAllowed("Send a POST to complete a callback. This request had no effect."))
		return
	}
	token := strings.TrimPrefix(req.r.URL.Path, callbackPath)
	a := req.server.options.Atom
	if len(token) > 64 || !a.KnowsCallback(token) {
		req.refuse(notFound("No such callback."))
		return
	}
	doc, refused := req.readCallbackDocument()
	if refused != nil {
		req.refuse(refused)
		return
	}
	repeated, err := a.DeliverCallback(req.r.Context(), token, doc)
	switch {
	case err == nil && repeated:
		req.writeCallbackReceipt("duplicate")
	case err == nil:
		req.writeCallbackReceipt("accepted")
	case errors.Is(err, store.ErrUnknown):
		req.refuse(notFound("No such callback."))
	case errors.Is(err, store.ErrEnded):
		req.refuse(&problem.Document{Status: http.StatusGone, Code: "callback_over", Title: "Callback expired", Detail: "No process is waiting for this callback any more."})
	case req.r.Context().Err() != nil:
		req.status = statusClientClosed
	case atom.IsUnavailable(err):
		req.refuse(unavailable(2 * time.Second))
	default:
		req.server.log.Error("cannot deliver callback", "error", err)
		req.refuse(problem.Internal())
	}
}

func (req *request) writeCallbackReceipt(status string) {
	req.w.Header()["Cache-Control"] = noStore
	req.write(http.StatusAccepted, "application/json", []byte(`{"status":"`+status+`"}`+"\n"))
}

// readCallbackDocument parses the body according to its Content-Type.
func (req *request) readCallbackDocument() (*document.Document, *problem.Document) {
	c, ok := parseContentType(req.r.Header)
	if !ok {
		return nil, unsupported("The Content-Type header is not valid.")
	}
	e := &endpoint{listen: &processes.Listen{Input: inputFor(c)}, maxBody: maxCallbackBody, metrics: req.server.unknown}
	if _, refused := e.checkType(req.r.Header); refused != nil {
		return nil, refused
	}
	req.endpoint = e
	body, refused := req.readBody()
	if refused != nil {
		return nil, refused
	}
	req.setReadDeadline(time.Time{})
	if body, refused = req.decompress(body); refused != nil {
		return nil, refused
	}
	switch {
	case len(body) == 0:
		return document.Empty, nil
	case c.media == "" && convert.CheckJSON(body) == nil:
		return document.FromJSON(body), nil
	}
	return e.parse(req.context(), c, body)
}

// inputFor returns the `input:` setting that parses a body of content type c.
func inputFor(c contentType) string {
	if c.media != "" {
		for _, input := range []string{"json", "xml", "form", "multipart"} {
			if c.is(mediaTypesOf(input)...) {
				return input
			}
		}
	}
	if strings.HasPrefix(c.media, "text/") {
		return "text"
	}
	return "binary"
}
