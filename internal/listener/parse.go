package listener

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"valence/internal/convert"
	"valence/internal/document"
)

// content is what a Content-Type says.
type content struct {
	media   string // lower case, "" if none was sent
	header  string // as it was sent
	charset string // lower case, "" if none was sent
	params  map[string]string
}

// contentType reads the header. It fails where there are several or one that
// cannot be read.
func contentType(h http.Header) (content, bool) {
	values := h["Content-Type"]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return content{}, true
	}
	if len(values) > 1 {
		return content{}, false
	}
	switch values[0] {
	case "application/json":
		return content{media: "application/json", header: values[0]}, true
	case "application/json; charset=utf-8":
		return content{media: "application/json", header: values[0], charset: "utf-8"}, true
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil {
		return content{}, false
	}
	return content{media, values[0], strings.ToLower(params["charset"]), params}, true
}

func (c content) utf8() bool {
	return c.charset == "" || c.charset == "utf-8" || c.charset == "utf8" || c.charset == "us-ascii" || c.charset == "ascii"
}

func (c content) latin1() bool { return c.charset == "iso-8859-1" || c.charset == "latin1" }

func (c content) is(media ...string) bool {
	for _, m := range media {
		if c.media == m || strings.HasPrefix(m, "+") && strings.HasSuffix(c.media, m) {
			return true
		}
	}
	return c.media == ""
}

// takes lists what each input may be sent as. A request that does not say
// what it is, is taken for what the listener expects.
func takes(input string) []string {
	switch input {
	case "json":
		return []string{"application/json", "text/json", "+json"}
	case "xml":
		return []string{"application/xml", "text/xml", "+xml"}
	case "form":
		return []string{"application/x-www-form-urlencoded"}
	case "multipart":
		return []string{"multipart/form-data"}
	}
	return nil
}

// checkType refuses a body of another type than the listener takes, before it is read.
func (e *endpoint) checkType(h http.Header) (content, *problem) {
	input := e.listen.Input
	if input == "none" {
		return content{}, nil
	}
	c, ok := contentType(h)
	if !ok && input != "binary" {
		return c, unsupported("The Content-Type cannot be read.")
	}
	switch input {
	case "binary":
		return c, nil
	case "text":
		if c.media != "" && !strings.HasPrefix(c.media, "text/") {
			return c, unsupported("The body must be sent with Content-Type: text/plain.")
		}
		if !c.utf8() && !c.latin1() {
			return c, unsupported("The charset must be utf-8 or iso-8859-1.")
		}
		return c, nil
	}
	list := takes(input)
	if !c.is(list...) {
		return c, unsupported(fmt.Sprintf("The body must be sent with Content-Type: %s.", list[0]))
	}
	if !c.utf8() && !(input == "xml" && c.latin1()) {
		return c, unsupported("The charset must be utf-8.")
	}
	return c, nil
}

// parse makes the document of a body.
func (e *endpoint) parse(c content, body []byte) (*document.Document, *problem) {
	switch e.listen.Input {
	case "none":
		return document.Empty, nil
	case "xml":
		if c.latin1() && !declares(body) {
			body = fromLatin1(body)
		}
		data, err := convert.XMLToJSON(body, e.shape)
		if err != nil {
			return nil, badInput("XML", err)
		}
		return document.New(body, c.or("application/xml"), string(data)), nil
	case "text":
		if c.latin1() {
			body = fromLatin1(body)
		}
		if at := invalidUTF8(body); at >= 0 {
			return nil, badInput("UTF-8 text", &convert.SyntaxError{Msg: fmt.Sprintf("byte %d is not UTF-8", at)})
		}
		return document.FromText(string(body)), nil
	case "binary":
		return document.New(body, c.or("application/octet-stream"), ""), nil
	case "form":
		data, err := convert.FormToJSON(body)
		if err != nil {
			return nil, badInput("a form", err)
		}
		return document.New(body, c.or("application/x-www-form-urlencoded"), string(data)), nil
	case "multipart":
		data, err := multipartToJSON(c.params["boundary"], body)
		if err != nil {
			return nil, badInput("multipart/form-data", err)
		}
		return document.New(body, c.or("multipart/form-data"), string(data)), nil
	}
	if err := convert.CheckJSON(body); err != nil {
		return nil, badInput("JSON", err)
	}
	return document.FromJSON(body), nil
}

func (c content) or(media string) string {
	if c.header != "" {
		return c.header
	}
	return media
}

// badInput tells the sender where the body is not what it should be.
func badInput(what string, err error) *problem {
	p := &problem{status: http.StatusBadRequest, kind: "invalid_body", title: "The body cannot be read", detail: "The body is not " + what + "."}
	var se *convert.SyntaxError
	if errors.As(err, &se) {
		p.errors = []violation{{pointer: se.Pointer, detail: se.Msg, line: se.Line, column: se.Col}}
	}
	return p
}

func unsupported(detail string) *problem {
	return &problem{status: http.StatusUnsupportedMediaType, kind: "content_type", title: "The content type is not supported", detail: detail}
}

// declares reports whether an XML document begins with a declaration that names its encoding.
func declares(body []byte) bool {
	if !strings.HasPrefix(string(body[:min(len(body), 5)]), "<?xml") {
		return false
	}
	declaration, _, _ := strings.Cut(string(body[:min(len(body), 256)]), "?>")
	return strings.Contains(declaration, "encoding")
}

func fromLatin1(body []byte) []byte {
	out := make([]byte, 0, len(body)+len(body)/8)
	for _, c := range body {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
