package dataplane

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/problem"
)

// contentType is a parsed Content-Type header.
type contentType struct {
	media   string // lower case, "" if absent
	header  string // as sent
	charset string // lower case, "" if absent
	params  map[string]string
}

// parseContentType parses the Content-Type header. It returns false if the
// header is repeated or malformed.
func parseContentType(h http.Header) (contentType, bool) {
	values := h["Content-Type"]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return contentType{}, true
	}
	if len(values) > 1 {
		return contentType{}, false
	}
	switch values[0] {
	case "application/json":
		return contentType{media: "application/json", header: values[0]}, true
	case "application/json; charset=utf-8":
		return contentType{media: "application/json", header: values[0], charset: "utf-8"}, true
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return contentType{}, false
	}
	return contentType{media, values[0], strings.ToLower(params["charset"]), params}, true
}

func (c contentType) is(media ...string) bool {
	for _, m := range media {
		if c.media == m || strings.HasPrefix(m, "+") && strings.HasSuffix(c.media, m) {
			return true
		}
	}
	return c.media == ""
}

// mediaTypesOf returns the media types accepted for an `input:` setting. A
// request without Content-Type is assumed to have the first.
func mediaTypesOf(input string) []string {
	switch input {
	case "json":
		return []string{"application/json", "text/json", "+json"}
	case "xml":
		return []string{"application/xml", "text/xml", "+xml"}
	case "form":
		return []string{"application/x-www-form-urlencoded"}
	case "multipart":
		return []string{"multipart/form-data"}
	case "soap":
		return []string{"text/xml", "application/soap+xml"}
	}
	return nil
}

// checkType rejects a body of the wrong media type before it is read.
func (e *endpoint) checkType(h http.Header) (contentType, *problem.Document) {
	input := e.listen.Input
	if input == "none" {
		return contentType{}, nil
	}
	c, ok := parseContentType(h)
	if !ok && input != "binary" {
		return c, unsupported("The Content-Type header is not valid.")
	}
	switch input {
	case "binary":
		return c, nil
	case "text":
		if c.media != "" && !strings.HasPrefix(c.media, "text/") {
			return c, unsupported("Send the body with Content-Type: text/plain.")
		}
	default:
		if list := mediaTypesOf(input); !c.is(list...) {
			if input == "soap" {
				return c, unsupported("Send the envelope with Content-Type: text/xml for SOAP 1.1, or application/soap+xml for SOAP 1.2. Attachments are not supported.")
			}
			return c, unsupported(fmt.Sprintf("Send the body with Content-Type: %s.", list[0]))
		}
	}
	if c.charset != "" && !convert.KnownCharset(c.charset) {
		return c, unsupported(fmt.Sprintf("The charset %q is not supported. Send the body in UTF-8.", c.charset))
	}
	return c, nil
}

// parse converts a body to a document.
func (e *endpoint) parse(ctx context.Context, c contentType, body []byte) (*document.Document, *problem.Document) {
	switch e.listen.Input {
	case "none":
		return document.Empty, nil
	case "multipart":
		data, err := multipartToJSON(ctx, c.params["boundary"], body, e.listen.Charset)
		if err != nil {
			return nil, invalidBody("multipart/form-data", err)
		}
		return document.Converted(body, c.headerOr("multipart/form-data"), data), nil
	}
	doc, err := convert.Decode(ctx, body, convert.Received{Format: e.listen.Input, ContentType: c.header, Charset: e.listen.Charset, Shape: e.shape})
	if err != nil {
		return nil, invalidBody(formatNames[e.listen.Input], err)
	}
	if e.listen.Input == convert.FormatText {
		doc = document.New(doc.Body(), "text/plain; charset=utf-8", doc.Data())
	}
	return doc, nil
}

// formatNames are the formats as messages name them.
var formatNames = map[string]string{"json": "JSON", "xml": "XML", "text": "text", "form": "a form"}

func (c contentType) headerOr(media string) string {
	if c.header != "" {
		return c.header
	}
	return media
}

// invalidBody returns the problem for a body that is not valid input; what
// names the format.
func invalidBody(what string, err error) *problem.Document {
	switch {
	case budget.Exhausted(err):
		return outOfMemory(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &problem.Document{Status: statusClientClosed, Code: "client_closed", Title: "Client closed the request"}
	}
	p := &problem.Document{Status: http.StatusBadRequest, Code: "invalid_body", Title: "Invalid request body", Detail: "The body is not valid " + what + "."}
	var se *convert.SyntaxError
	if errors.As(err, &se) {
		p.Errors = []problem.Violation{{Pointer: se.Pointer, Detail: se.Msg, Line: se.Line, Column: se.Col}}
	}
	return p
}

func unsupported(detail string) *problem.Document {
	return &problem.Document{Status: http.StatusUnsupportedMediaType, Code: "content_type", Title: "Unsupported content type", Detail: detail}
}
