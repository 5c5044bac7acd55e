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
	"valence/internal/blob"
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
	r, in, err := decoded(resp, limit)
	if err != nil || r == nil {
		return nil, err
	}
	if in == nil {
		return ReadAll(memory, r, resp.ContentLength, limit)
	}
	b, err := ReadAll(memory, r, -1, limit)
	if err != nil && err != ErrTooLarge && !budget.Exhausted(err) {
		return b, in.cause(err)
	}
	return b, err
}

// ReadContent is ReadBody for binary content, which is stored if it is large and
// ctx has a scope of package blob. The caller returns the capacity of bytes in
// memory.
func ReadContent(ctx context.Context, memory *budget.Share, resp *nethttp.Response, limit int64) (*blob.Content, error) {
	encoded := resp.Header.Get("Content-Encoding") != ""
	if !blob.Open(ctx) || !encoded && resp.ContentLength >= 0 && resp.ContentLength <= blob.Threshold {
		b, err := ReadBody(memory, resp, limit)
		return &blob.Content{Bytes: b, Size: int64(len(b))}, err
	}
	if !encoded && resp.ContentLength > limit {
		return nil, ErrTooLarge
	}
	r, in, err := decoded(resp, limit)
	if err != nil || r == nil {
		return &blob.Content{}, err
	}
	const reading = 2 * blob.Threshold // while it is not known whether it is large
	if err := memory.Reserve(reading); err != nil {
		return nil, err
	}
	defer memory.Return(reading)
	c, err := blob.Read(ctx, r, limit)
	var known *fault.Failure
	switch {
	case errors.As(err, &known):
		return nil, err
	case err != nil && in != nil:
		return nil, in.cause(err)
	case err != nil:
		return nil, err
	case c.Size > limit:
		return nil, ErrTooLarge
	}
	return c, memory.Reserve(cap(c.Bytes))
}

// decoded returns a reader of the decompressed body, or nil if that is empty. in
// is the body of a compressed response.
func decoded(resp *nethttp.Response, limit int64) (r io.Reader, in *connectionReader, err error) {
	encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch encoding {
	case "", "identity":
		return resp.Body, nil, nil
	case "gzip", "x-gzip":
	default:
		return nil, nil, &EncodingError{encoding}
	}
	if resp.ContentLength == 0 {
		return nil, nil, nil
	}
	if resp.ContentLength > limit {
		return nil, nil, ErrTooLarge
	}
	in = &connectionReader{r: resp.Body, left: limit}
	z, err := gzip.NewReader(in)
	if err == io.EOF && !in.any {
		return nil, nil, nil // an empty body, as after HEAD
	}
	if err != nil {
		return nil, nil, in.cause(err)
	}
	return z, in, nil
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
	var known *fault.Failure // of the store
	var encoding *EncodingError
	var pack *gzipError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, ErrTooLarge):
		return connectors.Failf(fault.CodeTooLarge, false, err, "%s: the response exceeds max_response (%d bytes)", what, limit)
	case errors.As(err, &encoding), errors.As(err, &pack):
		return connectors.Failf(fault.CodeAnswer, false, err, "%s: cannot decompress the response: %v", what, err)
	}
	return classify(ctx, err, phase{connected: true, answered: true}, what)
}
