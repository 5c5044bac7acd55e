package http

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	nethttp "net/http"
	"strings"
	"unicode/utf8"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// errTooLarge ends reading.
var errTooLarge = errors.New("over the limit")

// exact is the longest announced body that room is made for at once: what a
// server announces need not come.
const exact = 1 << 20

// readAll reads a body to its end, at most limit bytes of it.
func readAll(r io.Reader, announced, limit int64) ([]byte, error) {
	if announced > limit {
		return nil, errTooLarge
	}
	if announced == 0 {
		return nil, nil
	}
	if announced > 0 && announced <= exact {
		b := make([]byte, announced)
		_, err := io.ReadFull(r, b)
		return b, unexpected(err)
	}
	buf := make([]byte, 0, 4096)
	for {
		if int64(len(buf)) > limit {
			return buf[:limit], errTooLarge
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		room := min(int64(cap(buf)), limit+1)
		n, err := r.Read(buf[len(buf):room])
		buf = buf[:len(buf)+n]
		if err == io.EOF && announced > int64(len(buf)) {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF && int64(len(buf)) <= limit {
			return buf, nil
		}
		if err != nil && err != io.EOF {
			return buf, err
		}
	}
}

// unexpected makes of every end before the end what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readBody reads what a server answers, unpacked, at most limit bytes both of
// what travels and of what comes of it.
func readBody(resp *nethttp.Response, limit int64) ([]byte, error) {
	encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch encoding {
	case "", "identity":
		return readAll(resp.Body, resp.ContentLength, limit)
	case "gzip", "x-gzip":
	default:
		return nil, &encodingError{encoding}
	}
	if resp.ContentLength == 0 {
		return nil, nil
	}
	if resp.ContentLength > limit {
		return nil, errTooLarge
	}
	in := &reader{r: resp.Body, left: limit}
	z, err := gzip.NewReader(in)
	if err != nil {
		if err == io.EOF && !in.any {
			return nil, nil // an empty body, of a HEAD or of a careless server
		}
		return nil, in.blame(err)
	}
	b, err := readAll(z, -1, limit)
	if err != nil && err != errTooLarge {
		return b, in.blame(err)
	}
	return b, err
}

// encodingError is a Content-Encoding that was not asked for.
type encodingError struct{ name string }

func (e *encodingError) Error() string {
	return "Content-Encoding " + quote(e.name) + " was not asked for"
}

// packError is a body that is not packed the way it says.
type packError struct{ err error }

func (e *packError) Error() string { return "not gzip: " + e.err.Error() }

// reader tells a broken connection from a broken archive: both look the same
// from behind the unpacker.
type reader struct {
	r    io.Reader
	left int64
	any  bool
	err  error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.any = r.any || n > 0
	if r.left -= int64(n); r.left < 0 {
		err = errTooLarge
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

func (r *reader) blame(err error) error {
	if r.err != nil {
		return r.err
	}
	return &packError{err}
}

// unreadable is the failure of a body that could not be read to its end.
func unreadable(ctx context.Context, err error, what string, limit int64) *fault.Failure {
	if f := interrupted(ctx, what); f != nil {
		return f
	}
	var encoding *encodingError
	var pack *packError
	switch {
	case errors.Is(err, errTooLarge):
		return failed(fault.CodeTooLarge, false, err, "%s: the answer is over max_response (%d bytes)", what, limit)
	case errors.As(err, &encoding), errors.As(err, &pack):
		return failed(fault.CodeAnswer, false, err, "%s: the answer cannot be unpacked: %v", what, err)
	}
	return classify(ctx, err, phase{connected: true, answered: true}, what)
}

// decode makes a document of a body by its Content-Type, or by what the call
// says it is. JSON is checked strictly; text that is not in a charset that is
// known here is carried as bytes, without a data view.
func decode(body []byte, contentType, as, what string) (*document.Document, *fault.Failure) {
	if len(body) == 0 {
		return document.Empty, nil
	}
	media := mediaType(contentType)
	if as == "" {
		as = formatOf(media)
	}
	var err error
	switch as {
	case formatJSON:
		if charset := charsetOf(contentType); charset != "" && charset != "utf-8" && charset != "us-ascii" {
			return nil, failed(fault.CodeAnswer, false, nil, "%s: JSON in %s: JSON travels in UTF-8", what, quote(charset))
		}
		body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		if err = convert.CheckJSON(body); err == nil {
			return document.FromJSON(body), nil
		}
	case formatXML:
		if contentType == "" || !isXML(media) {
			contentType = "application/xml"
		}
		var data []byte
		if data, err = convert.XMLToJSON(body, nil); err == nil {
			return document.New(body, contentType, string(data)), nil
		}
	case formatForm:
		var data []byte
		if data, err = convert.FormToJSON(body); err == nil {
			return document.New(body, contentType, string(data)), nil
		}
	case formatText:
		if text, ok := utf8Of(body, charsetOf(contentType)); ok {
			if contentType == "" {
				contentType = "text/plain; charset=utf-8"
			}
			return document.New(body, contentType, string(document.AppendString(nil, text))), nil
		}
		fallthrough
	default:
		if contentType == "" {
			contentType = octets
		}
		return document.New(body, contentType, ""), nil
	}
	return nil, failed(fault.CodeAnswer, false, err, "%s: the answer is no %s: %v", what, strings.ToUpper(as), err)
}

func formatOf(media string) string {
	switch {
	case isJSON(media):
		return formatJSON
	case isXML(media):
		return formatXML
	case media == "application/x-www-form-urlencoded":
		return formatForm
	case strings.HasPrefix(media, "text/"):
		return formatText
	}
	return formatBinary
}

func charsetOf(contentType string) string {
	if !strings.Contains(contentType, ";") {
		return ""
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	switch charset := strings.ToLower(params["charset"]); charset {
	case "utf8":
		return "utf-8"
	case "ascii":
		return "us-ascii"
	default:
		return charset
	}
}

// utf8Of gives text in UTF-8, if the charset is one that is known here.
func utf8Of(body []byte, charset string) (string, bool) {
	switch charset {
	case "", "utf-8", "us-ascii":
		body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
		return string(body), utf8.Valid(body)
	case "iso-8859-1", "latin1":
		runes := make([]rune, len(body))
		for i, b := range body {
			runes[i] = rune(b)
		}
		return string(runes), true
	}
	return "", false
}
