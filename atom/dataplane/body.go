package dataplane

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"valence/internal/budget"
	"valence/internal/problem"
)

// initialBodyBuffer is the most memory reserved before any of the body has
// arrived: declaring a large Content-Length costs the sender nothing.
const initialBodyBuffer = 64 << 10

// readBody returns the body without undoing its content encoding, up to the
// listener's limit.
func (req *request) readBody() ([]byte, *problem.Document) {
	r, limit := req.r, req.endpoint.maxBody
	length := r.ContentLength
	if length == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if length > limit {
		req.w.Header()["Connection"] = closing
		return nil, tooLarge(limit)
	}
	var body []byte
	var err error
	if length > 0 && length <= initialBodyBuffer {
		if err = req.memory.Reserve(int(length)); err == nil {
			body = make([]byte, length)
			_, err = io.ReadFull(r.Body, body)
		}
	} else {
		body, err = req.readLargeBody(length, limit)
	}
	switch {
	case err == nil:
		return body, nil
	case err == errTooLarge:
		req.w.Header()["Connection"] = closing
		return nil, tooLarge(limit)
	}
	req.w.Header()["Connection"] = closing
	if budget.Exhausted(err) {
		return nil, outOfMemory(err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, slowBodyProblem()
	}
	return nil, brokenBodyProblem()
}

func slowBodyProblem() *problem.Document {
	return &problem.Document{Status: http.StatusRequestTimeout, Code: "slow_body", Title: "Request body timeout",
		Detail: "The body arrived too slowly."}
}

func brokenBodyProblem() *problem.Document {
	return &problem.Document{Status: http.StatusBadRequest, Code: "broken_body", Title: "Incomplete request body",
		Detail: "The body ended early, or its transfer encoding is broken."}
}

var errTooLarge = errors.New("body exceeds the limit")

// readLargeBody reads a long body or one of unknown length into a growing
// buffer. It extends the read deadline as data arrives.
func (req *request) readLargeBody(length, limit int64) ([]byte, error) {
	if err := req.memory.Reserve(initialBodyBuffer); err != nil {
		return nil, err
	}
	body := make([]byte, 0, initialBodyBuffer)
	most := limit + 1
	if length > 0 {
		most = min(most, length+1)
	}
	extended := 0
	for {
		if len(body) == cap(body) {
			var err error
			if body, err = req.memory.Grow(body, most); err != nil {
				return nil, err
			}
		}
		n, err := req.r.Body.Read(body[len(body):cap(body)])
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
		if len(body)-extended >= initialBodyBuffer {
			extended = len(body)
			req.extend(len(body))
		}
	}
}

// extend extends the deadlines of a body of which n bytes have arrived.
func (req *request) extend(n int) {
	until := req.start.Add(bodyTimeout + time.Duration(n)*time.Second/minBodyRate)
	req.setReadDeadline(until)
	req.setWriteDeadline(until.Add(responseTimeout))
}

func (req *request) setReadDeadline(t time.Time) {
	if w, ok := req.w.(interface{ SetReadDeadline(time.Time) error }); ok {
		// If unsupported, the server's shorter deadline applies.
		_ = w.SetReadDeadline(t)
	}
}

// decompress undoes the content encoding. The decompressed body has the same
// size limit.
func (req *request) decompress(body []byte) ([]byte, *problem.Document) {
	values := req.r.Header["Content-Encoding"]
	if len(values) == 0 || req.endpoint.listen.Input == "none" {
		return body, nil
	}
	if len(values) == 1 {
		switch strings.ToLower(strings.TrimSpace(values[0])) {
		case "", "identity":
			return body, nil
		case "gzip", "x-gzip":
			return req.gunzip(body)
		}
	}
	req.w.Header()["Accept-Encoding"] = []string{"gzip"}
	return nil, &problem.Document{Status: http.StatusUnsupportedMediaType, Code: "content_encoding", Title: "Unsupported content encoding",
		Detail: "Send the body unencoded or with Content-Encoding: gzip, applied once."}
}

// gunzip decompresses a body. Both forms count until the request ends.
func (req *request) gunzip(body []byte) ([]byte, *problem.Document) {
	limit := req.endpoint.maxBody
	broken := &problem.Document{Status: http.StatusBadRequest, Code: "broken_body", Title: "Incomplete request body", Detail: "The body is not valid gzip data."}
	if len(body) == 0 {
		return nil, broken
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, broken
	}
	out, err := req.memory.ReadAll(z, limit)
	if budget.Exhausted(err) {
		return nil, outOfMemory(err)
	}
	if err != nil {
		return nil, broken
	}
	if int64(len(out)) > limit {
		return nil, tooLarge(limit)
	}
	return out, nil
}
