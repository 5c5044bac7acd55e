package listener

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// upFront is the most that is set aside for a body before any of it has
// arrived: a Content-Length costs its sender nothing.
const upFront = 64 << 10

// read reads the body as it travels, up to the listener's limit.
func (x *exchange) read() ([]byte, *problem) {
	r, limit := x.r, x.endpoint.body
	length := r.ContentLength
	if length == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if length > limit {
		x.w.Header()["Connection"] = closing
		return nil, tooLarge(limit)
	}
	var body []byte
	var err error
	if length > 0 && length <= upFront {
		body = make([]byte, length)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = x.readGrowing(length, limit)
	}
	switch {
	case err == nil:
		return body, nil
	case err == errTooLarge:
		x.w.Header()["Connection"] = closing
		return nil, tooLarge(limit)
	}
	x.w.Header()["Connection"] = closing
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &problem{status: http.StatusRequestTimeout, kind: "slow_body", title: "The body did not arrive in time",
			detail: "The body arrived too slowly."}
	}
	return nil, &problem{status: http.StatusBadRequest, kind: "broken_body", title: "The body is incomplete",
		detail: "The body ended early, or its transfer encoding is broken."}
}

var errTooLarge = errors.New("body over the limit")

// readGrowing reads a long body, or one of unknown length, into memory that
// grows as it arrives, and gives it more time as long as it keeps arriving.
func (x *exchange) readGrowing(length, limit int64) ([]byte, error) {
	body := make([]byte, 0, upFront)
	extended := 0
	for {
		if len(body) == cap(body) {
			size := 2 * int64(cap(body))
			if length > 0 {
				size = min(size, length+1)
			}
			grown := make([]byte, len(body), min(size, limit+1))
			copy(grown, body)
			body = grown
		}
		n, err := x.r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if int64(len(body)) > limit {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		if len(body)-extended >= upFront {
			extended = len(body)
			x.setReadDeadline(x.start.Add(bodyTime + time.Duration(len(body))*time.Second/bodyRate))
		}
	}
}

func (x *exchange) setReadDeadline(t time.Time) {
	if w, ok := x.w.(interface{ SetReadDeadline(time.Time) error }); ok {
		// Without it the server's own deadline stands, which is the shorter one.
		_ = w.SetReadDeadline(t)
	}
}

// decode takes the content encoding off, up to the same limit: what a body
// grows to is what it costs.
func (x *exchange) decode(body []byte) ([]byte, *problem) {
	values := x.r.Header["Content-Encoding"]
	if len(values) == 0 || x.endpoint.listen.Input == "none" {
		return body, nil
	}
	if len(values) == 1 {
		switch strings.ToLower(strings.TrimSpace(values[0])) {
		case "", "identity":
			return body, nil
		case "gzip", "x-gzip":
			return gunzip(body, x.endpoint.body)
		}
	}
	x.w.Header()["Accept-Encoding"] = []string{"gzip"}
	return nil, &problem{status: http.StatusUnsupportedMediaType, kind: "content_encoding", title: "The content encoding is not supported",
		detail: "A body may be sent as it is or with Content-Encoding: gzip, once."}
}

func gunzip(body []byte, limit int64) ([]byte, *problem) {
	broken := &problem{status: http.StatusBadRequest, kind: "broken_body", title: "The body is incomplete", detail: "The body is not what gzip makes."}
	if len(body) == 0 {
		return nil, broken
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, broken
	}
	out, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil {
		return nil, broken
	}
	if int64(len(out)) > limit {
		return nil, tooLarge(limit)
	}
	return out, nil
}
