package httpclient

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"strconv"
	"strings"

	"valence/connectors"
	"valence/internal/budget"
	"valence/internal/fault"
	"valence/internal/spec"
)

// ErrTooLarge is the error of reading at the limit.
var ErrTooLarge = errors.New("too large")

// maxPreallocated is the largest announced length that is allocated up front. A
// server may announce more than it sends.
const maxPreallocated = 1 << 20

// ReadAll reads a body to its end. It returns ErrTooLarge after limit bytes. The
// caller returns the capacity of the result to the memory of the request.
func ReadAll(memory *budget.Share, r io.Reader, announced, limit int64) ([]byte, error) {
	if announced > limit {
		return nil, ErrTooLarge
	}
	if announced == 0 {
		return nil, nil
	}
	if announced > 0 && announced <= maxPreallocated {
		if err := memory.Reserve(int(announced)); err != nil {
			return nil, err
		}
		b := make([]byte, announced)
		_, err := io.ReadFull(r, b)
		return b, unexpectedEOF(err)
	}
	var buf []byte
	for {
		if int64(len(buf)) > limit {
			return buf[:limit], ErrTooLarge
		}
		if len(buf) == cap(buf) {
			grown, err := memory.Grow(buf, limit+1)
			if err != nil {
				return buf, err
			}
			buf = grown
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

// unexpectedEOF returns err with io.EOF replaced by io.ErrUnexpectedEOF.
func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadBody reads and decompresses a response. limit applies both to the bytes
// received and to the decompressed bytes.
func ReadBody(memory *budget.Share, resp *nethttp.Response, limit int64) ([]byte, error) {
	encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch encoding {
	case "", "identity":
		return ReadAll(memory, resp.Body, resp.ContentLength, limit)
	case "gzip", "x-gzip":
	default:
		return nil, &EncodingError{encoding}
	}
	if resp.ContentLength == 0 {
		return nil, nil
	}
	if resp.ContentLength > limit {
		return nil, ErrTooLarge
	}
	in := &connectionReader{r: resp.Body, left: limit}
	z, err := gzip.NewReader(in)
	if err != nil {
		if err == io.EOF && !in.any {
			return nil, nil // an empty body, as after HEAD
		}
		return nil, in.cause(err)
	}
	b, err := ReadAll(memory, z, -1, limit)
	if err != nil && err != ErrTooLarge && !budget.Exhausted(err) {
		return b, in.cause(err)
	}
	return b, err
}

// EncodingError reports a Content-Encoding that was not requested.
type EncodingError struct{ name string }

// Error returns the message.
func (e *EncodingError) Error() string {
	return "unsupported Content-Encoding " + strconv.Quote(spec.Clip(e.name))
}

// gzipError reports a body that is not valid gzip.
type gzipError struct{ err error }

func (e *gzipError) Error() string { return "not gzip: " + e.err.Error() }

// connectionReader remembers read errors of the connection, because gzip.Reader
// does not distinguish them from invalid data.
type connectionReader struct {
	r    io.Reader
	left int64
	any  bool
	err  error
}

func (r *connectionReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.any = r.any || n > 0
	if r.left -= int64(n); r.left < 0 {
		err = ErrTooLarge
	}
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

func (r *connectionReader) cause(err error) error {
	if r.err != nil {
		return r.err
	}
	return &gzipError{err}
}

// BodyFailure returns the failure for a body that could not be read completely.
func BodyFailure(ctx context.Context, err error, what string, limit int64) *fault.Failure {
	if f := connectors.Interrupted(ctx, what); f != nil {
		return f
	}
	if budget.Exhausted(err) {
		return budget.Failure(err)
	}
	var encoding *EncodingError
	var pack *gzipError
	switch {
	case errors.Is(err, ErrTooLarge):
		return connectors.Failf(fault.CodeTooLarge, false, err, "%s: the response exceeds max_response (%d bytes)", what, limit)
	case errors.As(err, &encoding), errors.As(err, &pack):
		return connectors.Failf(fault.CodeAnswer, false, err, "%s: cannot decompress the response: %v", what, err)
	}
	return classify(ctx, err, phase{connected: true, answered: true}, what)
}
