package listener

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/fault"
)

// problem is an answer that refuses or fails: an RFC 9457 problem document.
// Nothing of the inside may stand in it.
type problem struct {
	status    int
	kind      string // stable; the end of `type`
	title     string
	detail    string
	execution string
	errors    []violation
	retry     time.Duration // Retry-After, where over zero
}

type violation struct {
	pointer, detail string
	line, column    int
}

const problemType = "urn:valence:problem:"

func tooLarge(limit int64) *problem {
	return &problem{status: http.StatusRequestEntityTooLarge, kind: "too_large", title: "The body is too large",
		detail: "The body may hold at most " + strconv.FormatInt(limit, 10) + " bytes."}
}

func unavailableProblem(retry time.Duration) *problem {
	return &problem{status: http.StatusServiceUnavailable, kind: "unavailable", title: "Not accepted, send again",
		detail: "The message was not accepted. Send it again later.", retry: retry}
}

// json writes the document as application/problem+json.
func (p *problem) json() []byte {
	b := append(make([]byte, 0, 256), `{"type":`...)
	b = document.AppendString(b, problemType+p.kind)
	b = document.AppendString(append(b, `,"title":`...), p.title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.status), 10)
	if p.detail != "" {
		b = document.AppendString(append(b, `,"detail":`...), p.detail)
	}
	if p.execution != "" {
		b = document.AppendString(append(b, `,"execution":`...), p.execution)
	}
	if len(p.errors) > 0 {
		b = append(b, `,"errors":[`...)
		for i, v := range p.errors {
			if i > 0 {
				b = append(b, ',')
			}
			b = document.AppendString(append(b, `{"pointer":`...), v.pointer)
			b = document.AppendString(append(b, `,"detail":`...), v.detail)
			if v.line > 0 {
				b = strconv.AppendInt(append(b, `,"line":`...), int64(v.line), 10)
				b = strconv.AppendInt(append(b, `,"column":`...), int64(v.column), 10)
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, '}', '\n')
}

// xml writes the document as application/problem+xml (RFC 9457, appendix B).
func (p *problem) xml() []byte {
	b := bytes.NewBufferString(xml.Header + `<problem xmlns="urn:ietf:rfc:7807">`)
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(b, []byte(strings.ToValidUTF8(text, "\uFFFD"))) // a buffer does not fail
		b.WriteString("</" + name + ">")
	}
	element("type", problemType+p.kind)
	element("title", p.title)
	element("status", strconv.Itoa(p.status))
	if p.detail != "" {
		element("detail", p.detail)
	}
	if p.execution != "" {
		element("execution", p.execution)
	}
	if len(p.errors) > 0 {
		b.WriteString("<errors>")
		for _, v := range p.errors {
			b.WriteString("<i>")
			element("pointer", v.pointer)
			element("detail", v.detail)
			if v.line > 0 {
				element("line", strconv.Itoa(v.line))
				element("column", strconv.Itoa(v.column))
			}
			b.WriteString("</i>")
		}
		b.WriteString("</errors>")
	}
	b.WriteString("</problem>\n")
	return b.Bytes()
}

// refuse answers with a problem, in XML where the listener speaks it.
func (x *exchange) refuse(p *problem) {
	h := x.w.Header()
	h["Cache-Control"] = noStore
	if p.retry > 0 {
		h["Retry-After"] = []string{strconv.FormatInt(int64(math.Ceil(p.retry.Seconds())), 10)}
	}
	if p.execution != "" {
		h["X-Execution-Id"] = []string{p.execution}
		x.execution = p.execution
	}
	if x.arrival.CorrelationID != "" {
		h["Correlation-Id"] = []string{x.arrival.CorrelationID}
	}
	if x.endpoint != nil && x.endpoint.speaksXML() {
		x.write(p.status, "application/problem+xml", p.xml())
		return
	}
	x.write(p.status, "application/problem+json", p.json())
}

// problemOf turns what the atom failed with into the answer that the caller
// may see; nil where the caller is gone.
func (x *exchange) problemOf(ctx context.Context, err error, execution string) *problem {
	p := x.classify(ctx, err)
	if p != nil && p.execution == "" {
		p.execution = execution
	}
	return p
}

func (x *exchange) classify(ctx context.Context, err error) *problem {
	switch {
	case errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrStarting), errors.Is(err, atom.ErrUnavailable):
		return unavailableProblem(2 * time.Second)
	case errors.Is(err, atom.ErrBusy):
		return unavailableProblem(5 * time.Second)
	case errors.Is(err, atom.ErrFull), errors.Is(err, atom.ErrPaused):
		return unavailableProblem(30 * time.Second)
	case errors.Is(err, atom.ErrNoSuch):
		return notFound()
	}
	var f *fault.Failure
	if errors.As(err, &f) {
		if x.r.Context().Err() != nil && f.Code == fault.CodeCancelled {
			return nil
		}
		return failureProblem(f)
	}
	switch {
	case x.r.Context().Err() != nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		return timedOut()
	}
	x.server.log.Error("a request failed inside", "process", x.endpoint.process, "error", err)
	return internal()
}

func notFound() *problem {
	return &problem{status: http.StatusNotFound, kind: "not_found", title: "There is nothing here", detail: "Nothing listens at this path."}
}

func timedOut() *problem {
	return &problem{status: http.StatusGatewayTimeout, kind: "timeout", title: "The time is over", detail: "There was no answer in the time that this service allows."}
}

func internal() *problem {
	return &problem{status: http.StatusInternalServerError, kind: "failed", title: "The message could not be processed",
		detail: "The message could not be processed. Whoever runs this service can see why."}
}

func failureProblem(f *fault.Failure) *problem {
	switch {
	case f.Code == atom.CodeInProgress:
		return &problem{status: http.StatusConflict, kind: "in_progress", title: "The same request is being worked on",
			detail: "A request with the same key is being worked on. Send it again later to get its answer.", retry: max(f.RetryAfter, time.Second)}
	case f.Code == fault.CodeInvalid && f.Step == "" && f.Origin != fault.FromAuthor:
		p := &problem{status: http.StatusBadRequest, kind: "invalid_document", title: "The document is not what is expected here",
			detail: "The document does not match what this service expects."}
		for _, v := range f.Problems {
			p.errors = append(p.errors, violation{pointer: v.Pointer, detail: v.Detail})
		}
		return p
	case f.Code == fault.CodeDeadline:
		return timedOut()
	case f.Code == fault.CodeUnavailable && f.Origin == fault.FromAtom:
		return unavailableProblem(max(f.RetryAfter, 2*time.Second))
	}
	switch f.Origin {
	case fault.FromAuthor:
		p := &problem{status: f.Status, kind: kindOf(f.Code), title: "The message was refused", detail: f.Message}
		if p.status < 400 || p.status > 599 {
			p.status = http.StatusInternalServerError
		}
		return p
	case fault.FromConnector:
		return upstream(f)
	case fault.FromAtom:
		if f.Status >= 400 && f.Status <= 599 {
			return &problem{status: f.Status, kind: kindOf(f.Code), title: http.StatusText(f.Status), retry: f.RetryAfter}
		}
	}
	return internal()
}

func upstream(f *fault.Failure) *problem {
	switch {
	case f.Code == fault.CodeTimeout:
		return &problem{status: http.StatusGatewayTimeout, kind: "upstream_timeout", title: "Another system did not answer in time",
			detail: "A system that this service needs did not answer in time."}
	case f.Code == fault.CodeUnavailable:
		return &problem{status: http.StatusServiceUnavailable, kind: "upstream_unavailable", title: "Another system is not available",
			detail: "A system that this service needs is not available.", retry: max(f.RetryAfter, 5*time.Second)}
	}
	return &problem{status: http.StatusBadGateway, kind: "upstream_failed", title: "Another system failed",
		detail: "A system that this service needs did not do its part."}
}

// kindOf keeps a code that an author chose fit for a URN.
func kindOf(code string) string {
	for i := 0; i < len(code); i++ {
		if c := code[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return "failed"
		}
	}
	if code == "" {
		return "failed"
	}
	return code
}

func escapePointer(tok string) string {
	return strings.ReplaceAll(strings.ReplaceAll(tok, "~", "~0"), "/", "~1")
}
