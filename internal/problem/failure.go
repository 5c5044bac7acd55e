package problem

import (
	"net/http"
	"time"

	"valence/internal/fault"
)

// codeSuperseded is the failure code of an execution that a newer message with
// the same key replaced.
const codeSuperseded = "superseded"

// rejected is the title of a problem that the process reports.
const rejected = "Message rejected"

// Timeout returns the document for a request that exceeded its time limit.
func Timeout() *Document {
	return &Document{Status: http.StatusGatewayTimeout, Code: "timeout", Title: "Request timed out", Detail: "The service did not respond within its time limit."}
}

// Internal returns the document for a failure whose cause the caller must not see.
func Internal() *Document {
	return &Document{Status: http.StatusInternalServerError, Code: "failed", Title: "Message could not be processed",
		Detail: "The message could not be processed. The operator of this service can see the reason."}
}

// InvalidDocument returns the document for input that does not match its schema.
func InvalidDocument(f *fault.Failure) *Document {
	d := &Document{Status: http.StatusBadRequest, Code: "invalid_document", Title: "Invalid document",
		Detail: "The document does not match the schema of this service."}
	for _, v := range f.Problems {
		d.Errors = append(d.Errors, Violation{Pointer: v.Pointer, Detail: v.Detail})
	}
	return d
}

// FromFailure returns the part of an execution's failure that its caller may see.
func FromFailure(f *fault.Failure) *Document {
	switch {
	case f.Code == fault.CodeDeadline:
		return Timeout()
	case f.OfInput:
		return InvalidDocument(f)
	case f.Source == fault.FromAuthor: // the author chose the code
	case f.Code == fault.CodeCancelled:
		return &Document{Status: http.StatusInternalServerError, Code: "cancelled", Title: "Processing was cancelled",
			Detail: "The operator of this service cancelled the processing of this message."}
	case f.Code == fault.CodeExpired:
		return &Document{Status: http.StatusGatewayTimeout, Code: "expired", Title: "Message expired",
			Detail: "The message was accepted, but it expired before it was processed."}
	case f.Code == codeSuperseded:
		return &Document{Status: http.StatusConflict, Code: "superseded", Title: "Message superseded",
			Detail: "A newer message with the same key was processed instead of this one."}
	}
	switch f.Source {
	case fault.FromAuthor:
		d := &Document{Status: f.Status, Code: safeCode(f.Code), Title: rejected, Detail: f.Message, Rejected: true, Fault: f.Detail}
		if d.Status < 400 || d.Status > 599 {
			d.Status = http.StatusInternalServerError
		}
		return d
	case fault.FromConnector:
		return upstream(f)
	case fault.FromAtom:
		if f.Status >= 400 && f.Status <= 599 {
			return &Document{Status: f.Status, Code: safeCode(f.Code), Title: http.StatusText(f.Status), RetryAfter: f.RetryAfter}
		}
	}
	return Internal()
}

func upstream(f *fault.Failure) *Document {
	switch {
	case f.Code == fault.CodeTimeout:
		return &Document{Status: http.StatusGatewayTimeout, Code: "upstream_timeout", Title: "Upstream system timed out",
			Detail: "A system that this service depends on did not respond in time."}
	case f.Code == fault.CodeUnavailable, f.Code == fault.CodeCircuit:
		return &Document{Status: http.StatusServiceUnavailable, Code: "upstream_unavailable", Title: "Upstream system unavailable",
			Detail: "A system that this service depends on is unavailable.", RetryAfter: max(f.RetryAfter, 5*time.Second)}
	}
	return &Document{Status: http.StatusBadGateway, Code: "upstream_failed", Title: "Upstream system failed",
		Detail: "A system that this service depends on returned an error."}
}

// safeCode returns code if it can stand in a URN, otherwise "failed".
func safeCode(code string) string {
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
