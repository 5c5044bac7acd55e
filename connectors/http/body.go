package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"sync"

	"valence/connectors/content"
	"valence/connectors/httpclient"
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// payload is the body of a request: parts in memory, and stored files, which are
// opened again for each request.
type payload []part

// part is a part of a payload. File is nil if it is in memory.
type part struct {
	bytes []byte
	file  *blob.File
}

// inMemory returns the payload of bytes.
func inMemory(b []byte) payload {
	if len(b) == 0 {
		return nil
	}
	return payload{{bytes: b}}
}

// stored returns the payload of a file. It fails if a stored file is missing.
func stored(f *blob.File) (payload, *fault.Failure) {
	if err := f.Stat(); err != nil {
		return nil, fault.AsFailure(err)
	}
	return payload{{file: f}}, nil
}

// size returns the length of the body.
func (p payload) size() (n int64) {
	for _, e := range p {
		if n += int64(len(e.bytes)); e.file != nil {
			n += e.file.Size
		}
	}
	return n
}

// bytes returns the body, in which stored files are described.
func (p payload) bytes() []byte {
	if len(p) == 1 && p[0].file == nil {
		return p[0].bytes
	}
	var b []byte
	for _, e := range p {
		if b = append(b, e.bytes...); e.file != nil {
			b = fmt.Appendf(b, "[%d bytes of a stored file]", e.file.Size)
		}
	}
	return b
}

// open returns a reader of the body.
func (p payload) open() *bodyReader { return &bodyReader{rest: p} }

// bodyReader reads a payload. A transport may use it after the request has
// failed.
type bodyReader struct {
	mu      sync.Mutex
	rest    payload
	current io.ReadCloser
	err     error // of a stored file
	closed  bool
}

// Read implements io.Reader.
func (r *bodyReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.closed:
			return 0, nethttp.ErrBodyReadAfterClose
		case r.err != nil:
			return 0, r.err
		case r.current == nil && len(r.rest) == 0:
			return 0, io.EOF
		case r.current == nil:
			next := r.rest[0]
			r.rest = r.rest[1:]
			r.current = io.NopCloser(bytes.NewReader(next.bytes))
			if next.file != nil {
				if r.current, r.err = next.file.Open(); r.err != nil {
					r.current = nil
					continue
				}
			}
		}
		n, err := r.current.Read(b)
		if err == io.EOF {
			err = r.current.Close()
			r.current = nil
		}
		r.err = err
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close implements io.Closer.
func (r *bodyReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.current == nil {
		return nil
	}
	current := r.current
	r.current = nil
	return current.Close()
}

// failure returns why a stored file could not be read, or nil.
func (r *bodyReader) failure() *fault.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	var f *fault.Failure
	if !errors.As(r.err, &f) {
		return nil
	}
	return f
}

// encodeStored encodes a document that refers to stored files: alone or as parts
// of multipart/form-data they are streamed, for all other formats they are read
// into memory.
func encodeStored(ctx context.Context, d *document.Document, w *with, ns convert.Namespaces) (payload, string, *fault.Failure) {
	switch {
	case w.Format == formatMultipart:
		return asMultipart(ctx, d)
	case w.Format == formatBinary, w.Format == "" && blob.IsReference(d):
		f, err := blob.Body(ctx, d)
		if err != nil {
			return nil, "", fault.AsFailure(err)
		}
		if !f.Stored() { // an object with other content
			break
		}
		body, failed := stored(f)
		return body, f.MediaType, failed
	}
	d, err := blob.Inline(ctx, d)
	if err != nil {
		return nil, "", fault.AsFailure(err)
	}
	return encodeAs(ctx, d, w, ns)
}

// stores reports whether a response is stored if it is large.
func (w *with) stores(contentType string) bool {
	if w.Pages != nil {
		return false
	}
	format := w.Response
	if format == "" {
		format = content.FormatOf(content.MediaType(contentType))
	}
	return format == formatBinary
}

// read reads a response as a document. The failure for one that does not match
// its Content-Type has the beginning of the body.
func (c *connection) read(ctx context.Context, resp *nethttp.Response, r *request, w *with) (*document.Document, *fault.Failure) {
	memory := budget.From(ctx)
	contentType := resp.Header.Get("Content-Type")
	var body []byte
	var err error
	if w.stores(contentType) {
		var received *blob.Content
		received, err = httpclient.ReadContent(ctx, memory, resp, c.maxResponse)
		if err == nil && received.Name != "" {
			return document.FromValue(received.Reference("", contentType)), nil
		}
		if received != nil {
			body = received.Bytes
		}
	} else {
		body, err = httpclient.ReadBody(memory, resp, c.maxResponse)
	}
	defer memory.Return(cap(body))
	if err != nil {
		return nil, httpclient.BodyFailure(ctx, err, r.String(), c.maxResponse)
	}
	doc, f := w.decode(ctx, body, contentType, r.String())
	if f != nil {
		f.Body = head(body)
	}
	return doc, f
}
