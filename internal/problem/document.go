// Package problem renders errors of HTTP APIs as problem documents (RFC 9457)
// and decides how much of an execution's failure a caller may see.
package problem

import (
	"bytes"
	"encoding/xml"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"valence/internal/document"
)

// Document is one problem document. It never contains internal details.
type Document struct {
	Status     int
	Code       string // stable suffix of the type URN; "" means about:blank
	Title      string
	Detail     string
	Execution  string
	Errors     []Violation
	RetryAfter time.Duration // sent as Retry-After if positive
	Rejected   bool          // the process chose the code and the detail
	Fault      []byte        // JSON of the detail of a SOAP fault, by the name of its element; nil: none
}

// Violation is one invalid value in the caller's document.
type Violation struct {
	Pointer, Detail string
	Line, Column    int // 0 if unknown
}

const typePrefix = "urn:valence:problem:"

func (d *Document) typeURI() string {
	if d.Code == "" {
		return "about:blank"
	}
	return typePrefix + d.Code
}

// Write sends the document as a JSON response with its status.
func (d *Document) Write(w http.ResponseWriter) {
	if d.RetryAfter > 0 {
		w.Header().Set("Retry-After", d.RetryAfterSeconds())
	}
	body := d.JSON()
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(d.Status)
	_, _ = w.Write(body) // fails only if the client is gone
}

// RetryAfterSeconds returns RetryAfter in whole seconds, rounded up.
func (d *Document) RetryAfterSeconds() string {
	return strconv.FormatInt(int64(math.Ceil(d.RetryAfter.Seconds())), 10)
}

// Encode returns the document as XML or JSON with its media type.
func (d *Document) Encode(asXML bool) (body []byte, mediaType string) {
	if asXML {
		return d.XML(), "application/problem+xml"
	}
	return d.JSON(), "application/problem+json"
}

// JSON returns the document as application/problem+json.
func (d *Document) JSON() []byte {
	b := append(make([]byte, 0, 256), `{"type":`...)
	b = document.AppendString(b, d.typeURI())
	b = document.AppendString(append(b, `,"title":`...), d.Title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(d.Status), 10)
	if d.Detail != "" {
		b = document.AppendString(append(b, `,"detail":`...), d.Detail)
	}
	if d.Execution != "" {
		b = document.AppendString(append(b, `,"execution":`...), d.Execution)
	}
	if len(d.Errors) > 0 {
		b = append(b, `,"errors":[`...)
		for i, v := range d.Errors {
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

// XML returns the document as application/problem+xml (RFC 9457, appendix B).
func (d *Document) XML() []byte {
	b := bytes.NewBufferString(xml.Header + `<problem xmlns="urn:ietf:rfc:7807">`)
	element := func(name, text string) {
		b.WriteString("<" + name + ">")
		_ = xml.EscapeText(b, []byte(strings.ToValidUTF8(text, "\uFFFD"))) // a buffer does not fail
		b.WriteString("</" + name + ">")
	}
	element("type", d.typeURI())
	element("title", d.Title)
	element("status", strconv.Itoa(d.Status))
	if d.Detail != "" {
		element("detail", d.Detail)
	}
	if d.Execution != "" {
		element("execution", d.Execution)
	}
	if len(d.Errors) > 0 {
		b.WriteString("<errors>")
		for _, v := range d.Errors {
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
