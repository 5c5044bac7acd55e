package listener

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/answer"
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

func tooLarge(limit int64) *problem {
	return &problem{status: http.StatusRequestEntityTooLarge, kind: "too_large", title: "The body is too large",
		detail: "The body may hold at most " + strconv.FormatInt(limit, 10) + " bytes."}
}

func unavailableProblem(retry time.Duration) *problem {
	return &problem{status: http.StatusServiceUnavailable, kind: "unavailable", title: "Not accepted, send again",
		detail: "The message was not accepted. Send it again later.", retry: retry}
}

// public is the document behind the answer.
func (p *problem) public() *answer.Problem {
	a := &answer.Problem{Status: p.status, Kind: p.kind, Title: p.title, Detail: p.detail, Execution: p.execution, Retry: p.retry}
	for _, v := range p.errors {
		a.Errors = append(a.Errors, answer.Violation{Pointer: v.pointer, Detail: v.detail, Line: v.line, Column: v.column})
	}
	return a
}

func (p *problem) json() []byte { return p.public().JSON() }
func (p *problem) xml() []byte  { return p.public().XML() }

// told makes an answer of what a caller may know of a failure.
func told(a *answer.Problem) *problem {
	return &problem{status: a.Status, kind: a.Kind, title: a.Title, detail: a.Detail, execution: a.Execution, retry: a.Retry}
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
	case errors.Is(err, atom.ErrBusy), errors.Is(err, atom.ErrLaneFull):
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

func timedOut() *problem { return told(answer.TimedOut()) }

func internal() *problem { return told(answer.Internal()) }

func failureProblem(f *fault.Failure) *problem {
	switch {
	case f.Code == atom.CodeInProgress:
		return &problem{status: http.StatusConflict, kind: "in_progress", title: "The same request is being worked on",
			detail: "A request with the same key is being worked on. Send it again later to get its answer.", retry: max(f.RetryAfter, time.Second)}
	case f.Code == atom.CodeBadCallback && f.Origin == fault.FromAtom:
		return badCallback(f.Message)
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
	return told(answer.Of(f))
}

func escapePointer(tok string) string {
	return strings.ReplaceAll(strings.ReplaceAll(tok, "~", "~0"), "/", "~1")
}
