package listener

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/processes"
)

// callbackPath is where what processes wait for comes in.
const callbackPath = "/callbacks/"

// callbackBody is the most that a callback may carry.
const callbackBody = 1 << 20

// callBack ends the wait that the path's token stands for. Only a POST does:
// whatever else comes, such as the GET of a program that looks at the links of
// a mail, decides nothing.
func (x *exchange) callBack() {
	if x.r.Method != http.MethodPost {
		x.w.Header()["Allow"] = []string{"POST"}
		x.refuse(&problem{status: http.StatusMethodNotAllowed, kind: "method_not_allowed", title: "The method is not allowed here",
			detail: "A callback is completed by a POST. Nothing has happened."})
		return
	}
	token := strings.TrimPrefix(x.r.URL.Path, callbackPath)
	a := x.server.options.Atom
	if len(token) > 64 || !a.KnowsCallback(token) {
		x.refuse(&problem{status: http.StatusNotFound, kind: "not_found", title: "There is nothing here", detail: "There is no such callback."})
		return
	}
	doc, refused := x.callbackDocument()
	if refused != nil {
		x.refuse(refused)
		return
	}
	repeated, err := a.CallBack(x.r.Context(), token, doc)
	switch {
	case err == nil && repeated:
		x.callbackTaken("duplicate")
	case err == nil:
		x.callbackTaken("accepted")
	case errors.Is(err, atom.ErrUnknown):
		x.refuse(&problem{status: http.StatusNotFound, kind: "not_found", title: "There is nothing here", detail: "There is no such callback."})
	case errors.Is(err, atom.ErrEnded):
		x.refuse(&problem{status: http.StatusGone, kind: "callback_over", title: "It is too late", detail: "Nobody waits for this callback any more."})
	case x.r.Context().Err() != nil:
		x.status = statusGone
	case atom.IsUnavailable(err):
		x.refuse(unavailableProblem(2 * time.Second))
	default:
		x.server.log.Error("a callback cannot be taken", "error", err)
		x.refuse(internal())
	}
}

func (x *exchange) callbackTaken(status string) {
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusAccepted, "application/json", []byte(`{"status":"`+status+`"}`+"\n"))
}

// callbackDocument reads the body as what it says it is.
func (x *exchange) callbackDocument() (*document.Document, *problem) {
	c, ok := contentType(x.r.Header)
	if !ok {
		return nil, unsupported("The Content-Type cannot be read.")
	}
	e := &endpoint{listen: &processes.Listen{Input: callbackInput(c)}, body: callbackBody, metrics: x.server.unknown}
	if _, refused := e.checkType(x.r.Header); refused != nil {
		return nil, refused
	}
	x.endpoint = e
	body, refused := x.read()
	if refused != nil {
		return nil, refused
	}
	x.setReadDeadline(time.Time{})
	if body, refused = x.decode(body); refused != nil {
		return nil, refused
	}
	switch {
	case len(body) == 0:
		return document.Empty, nil
	case c.media == "" && convert.CheckJSON(body) == nil:
		return document.FromJSON(body), nil
	}
	return e.parse(c, body)
}

// callbackInput tells how a body of a content type is read.
func callbackInput(c content) string {
	if c.media != "" {
		for _, input := range []string{"json", "xml", "form", "multipart"} {
			if c.is(takes(input)...) {
				return input
			}
		}
	}
	if strings.HasPrefix(c.media, "text/") {
		return "text"
	}
	return "binary"
}
