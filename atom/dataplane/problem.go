package dataplane

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/budget"
	"valence/internal/fault"
	"valence/internal/problem"
)

func tooLarge(limit int64) *problem.Document {
	return &problem.Document{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Title: "Request body too large",
		Detail: "The limit is " + strconv.FormatInt(limit, 10) + " bytes."}
}

func unavailable(retryAfter time.Duration) *problem.Document {
	return &problem.Document{Status: http.StatusServiceUnavailable, Code: "unavailable", Title: "Service unavailable",
		Detail: "The message was not accepted. Send it again later.", RetryAfter: retryAfter}
}

// outOfMemory returns the problem for a body that the memory for requests cannot
// hold: now, or at all.
func outOfMemory(err error) *problem.Document {
	if errors.Is(err, budget.ErrTooLarge) {
		return &problem.Document{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Title: "Request body too large",
			Detail: "The body needs more memory than this atom uses for all requests."}
	}
	return unavailable(5 * time.Second)
}

func notFound(detail string) *problem.Document {
	return &problem.Document{Status: http.StatusNotFound, Code: "not_found", Title: "Not found", Detail: detail}
}

func methodNotAllowed(detail string) *problem.Document {
	return &problem.Document{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Title: "Method not allowed", Detail: detail}
}

// refuse responds with a problem document, as XML if the listener's format is XML.
func (req *request) refuse(p *problem.Document) {
	h := req.w.Header()
	h["Cache-Control"] = noStore
	if p.RetryAfter > 0 {
		h["Retry-After"] = []string{p.RetryAfterSeconds()}
	}
	if p.Execution != "" {
		h["X-Execution-Id"] = []string{p.Execution}
		req.execution = p.Execution
	}
	if req.message.CorrelationID != "" {
		h["Correlation-Id"] = []string{req.message.CorrelationID}
	}
	if req.endpoint != nil && req.endpoint.listen.Service != nil {
		req.refuseSOAP(p)
		return
	}
	body, media := p.Encode(req.endpoint != nil && req.endpoint.speaksXML())
	req.write(p.Status, media, body)
}

// problemFor returns the document for an error of the atom, or nil if the
// caller has disconnected. execution is the execution that failed, if known.
func (req *request) problemFor(ctx context.Context, err error, execution string) *problem.Document {
	p := req.classify(ctx, err)
	if p != nil && p.Execution == "" {
		p.Execution = execution
	}
	return p
}

func (req *request) classify(ctx context.Context, err error) *problem.Document {
	switch {
	case errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrStarting), errors.Is(err, store.ErrUnavailable):
		return unavailable(2 * time.Second)
	case errors.Is(err, atom.ErrBusy), errors.Is(err, store.ErrLaneFull):
		return unavailable(5 * time.Second)
	case errors.Is(err, store.ErrFull), errors.Is(err, atom.ErrPaused):
		return unavailable(30 * time.Second)
	case errors.Is(err, atom.ErrNoSuch):
		return notFound(noListener)
	}
	var f *fault.Failure
	isFailure := errors.As(err, &f)
	if context.Cause(req.r.Context()) == errStopped && (!isFailure || f.Code == fault.CodeCancelled) {
		return unavailable(2 * time.Second)
	}
	if isFailure {
		if req.r.Context().Err() != nil && f.Code == fault.CodeCancelled {
			return nil
		}
		return failureProblem(f)
	}
	switch {
	case req.r.Context().Err() != nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		return problem.Timeout()
	}
	req.server.log.Error("request failed", "process", req.endpoint.process, "error", err)
	return problem.Internal()
}

const noListener = "No listener at this path."

func failureProblem(f *fault.Failure) *problem.Document {
	switch {
	case f.Code == atom.CodeInProgress:
		return &problem.Document{Status: http.StatusConflict, Code: "in_progress", Title: "Request in progress",
			Detail: "A request with the same key is still in progress. Send it again later to get its response.", RetryAfter: max(f.RetryAfter, time.Second)}
	case f.Code == atom.CodeKeyReused && f.Source == fault.FromAtom:
		return &problem.Document{Status: http.StatusUnprocessableEntity, Code: "key_reused", Title: "Key already used",
			Detail: "An earlier request with the same key had another body. Use a new key for a new request."}
	case f.Code == atom.CodeDuplicate && f.Source == fault.FromAtom:
		return &problem.Document{Status: http.StatusConflict, Code: "duplicate", Title: "Already received",
			Detail: "Another caller has sent this request before. Its response is available to that caller only."}
	case f.Code == atom.CodeBadCallback && f.Source == fault.FromAtom:
		return badCallback(f.Message)
	case f.Code == fault.CodeInvalid && f.Step == "" && f.Source != fault.FromAuthor:
		return problem.InvalidDocument(f)
	case f.Code == fault.CodeUnavailable && f.Source == fault.FromAtom:
		return unavailable(max(f.RetryAfter, 2*time.Second))
	}
	return problem.FromFailure(f)
}

func escapePointer(tok string) string {
	return strings.ReplaceAll(strings.ReplaceAll(tok, "~", "~0"), "/", "~1")
}
