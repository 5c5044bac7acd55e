// Package answer is what callers get: documents in the format that a listener
// promises, and problem documents (RFC 9457) where something went wrong.
// Nothing of the inside stands in either.
package answer

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// Problem is an answer that refuses or fails.
type Problem struct {
	Status    int
	Kind      string // stable; the end of `type`
	Title     string
	Detail    string
	Execution string
	Errors    []Violation
	Retry     time.Duration // Retry-After, where over zero
}

// Violation is one place of the caller's document that is not as expected.
type Violation struct {
	Pointer, Detail string
	Line, Column    int
}

const problemType = "urn:valence:problem:"

// Body gives the document as JSON, or as XML where the listener speaks that.
func (p *Problem) Body(asXML bool) (body []byte, media string) {
	if asXML {
		return p.XML(), "application/problem+xml"
	}
	return p.JSON(), "application/problem+json"
}

// JSON writes the document as application/problem+json.
func (p *Problem) JSON() []byte {
	b := append(make([]byte, 0, 256), `{"type":`...)
	b = document.AppendString(b, problemType+p.Kind)
	b = document.AppendString(append(b, `,"title":`...), p.Title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
	if p.Detail != "" {
		b = document.AppendString(append(b, `,"detail":`...), p.Detail)
	}
	if p.Execution != "" {
		b = document.AppendString(append(b, `,"execution":`...), p.Execution)
	}
	if len(p.Errors) > 0 {
		b = append(b, `,"errors":[`...)
		for i, v := range p.Errors {
			if i > 0 {
				b = append(b, ',')
			}
			b = document.AppendString(append(b, `{"pointer":`...), v.Pointer)
			b = document.AppendString(append(b, `,"detail":`...), v.Detail)
			if v.Line > 0 {
				b = strconv.AppendInt(append(b, `,"line":`...), int64(v.Line), 10)
				b = strconv.AppendInt(append(b, `,"column":`...), int64(v.Column), 10)
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, '}', '\n')
}

// XML writes the document as application/problem+xml (RFC 9457, appendix B).
func (p *Problem) XML() []byte {
	b := bytes.NewBufferString(xml.Header + `<problem xmlns="urn:ietf:rfc:7807">`)
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(b, []byte(strings.ToValidUTF8(text, "\uFFFD"))) // a buffer does not fail
		b.WriteString("</" + name + ">")
	}
	element("type", problemType+p.Kind)
	element("title", p.Title)
	element("status", strconv.Itoa(p.Status))
	if p.Detail != "" {
		element("detail", p.Detail)
	}
	if p.Execution != "" {
		element("execution", p.Execution)
	}
	if len(p.Errors) > 0 {
		b.WriteString("<errors>")
		for _, v := range p.Errors {
			b.WriteString("<i>")
			element("pointer", v.Pointer)
			element("detail", v.Detail)
			if v.Line > 0 {
				element("line", strconv.Itoa(v.Line))
				element("column", strconv.Itoa(v.Column))
			}
			b.WriteString("</i>")
		}
		b.WriteString("</errors>")
	}
	b.WriteString("</problem>\n")
	return b.Bytes()
}

// TimedOut tells a caller that the time for its request is over.
func TimedOut() *Problem {
	return &Problem{Status: http.StatusGatewayTimeout, Kind: "timeout", Title: "The time is over", Detail: "There was no answer in the time that this service allows."}
}

// Internal is every failure of which a caller is told nothing.
func Internal() *Problem {
	return &Problem{Status: http.StatusInternalServerError, Kind: "failed", Title: "The message could not be processed",
		Detail: "The message could not be processed. Whoever runs this service can see why."}
}

// Of gives what a caller may know of the failure of an execution.
func Of(f *fault.Failure) *Problem {
	switch {
	case f.Code == fault.CodeDeadline:
		return TimedOut()
	case f.Origin == fault.FromAuthor: // its codes are the author's own
	case f.Code == fault.CodeCancelled:
		return &Problem{Status: http.StatusInternalServerError, Kind: "cancelled", Title: "The message was not processed to its end",
			Detail: "Whoever runs this service has cancelled it."}
	case f.Code == fault.CodeExpired:
		return &Problem{Status: http.StatusGatewayTimeout, Kind: "expired", Title: "The message was not picked up in time",
			Detail: "The message was accepted, but its time was over before it could be processed."}
	case f.Code == CodeSuperseded:
		return &Problem{Status: http.StatusConflict, Kind: "superseded", Title: "A newer message took the place of this one",
			Detail: "A newer message for the same key was processed in the place of this one."}
	}
	switch f.Origin {
	case fault.FromAuthor:
		p := &Problem{Status: f.Status, Kind: kindOf(f.Code), Title: "The message was refused", Detail: f.Message}
		if p.Status < 400 || p.Status > 599 {
			p.Status = http.StatusInternalServerError
		}
		return p
	case fault.FromConnector:
		return upstream(f)
	case fault.FromAtom:
		if f.Status >= 400 && f.Status <= 599 {
			return &Problem{Status: f.Status, Kind: kindOf(f.Code), Title: http.StatusText(f.Status), Retry: f.RetryAfter}
		}
	}
	return Internal()
}

func upstream(f *fault.Failure) *Problem {
	switch {
	case f.Code == fault.CodeTimeout:
		return &Problem{Status: http.StatusGatewayTimeout, Kind: "upstream_timeout", Title: "Another system did not answer in time",
			Detail: "A system that this service needs did not answer in time."}
	case f.Code == fault.CodeUnavailable, f.Code == fault.CodeCircuit:
		return &Problem{Status: http.StatusServiceUnavailable, Kind: "upstream_unavailable", Title: "Another system is not available",
			Detail: "A system that this service needs is not available.", Retry: max(f.RetryAfter, 5*time.Second)}
	}
	return &Problem{Status: http.StatusBadGateway, Kind: "upstream_failed", Title: "Another system failed",
		Detail: "A system that this service needs did not do its part."}
}

// CodeSuperseded is of an execution whose message a newer one took the place of.
const CodeSuperseded = "superseded"

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
