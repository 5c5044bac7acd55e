package dataplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"time"

	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/problem"
)

// uploads reports whether the body is read as a stream, so that large files in it
// are stored instead of held in memory.
func (req *request) uploads() bool {
	e, r := req.endpoint, req.r
	if e.listen.Input != "multipart" && e.listen.Input != "binary" || req.server.options.Blobs == nil {
		return false
	}
	return (r.ContentLength > blob.Threshold || r.ContentLength < 0) && len(r.Header["Content-Encoding"]) == 0
}

// receive reads a body as a stream and returns its document and the hex digest of
// the body. Stored files belong to the request until it ends.
func (req *request) receive(c contentType) (*document.Document, string, *problem.Document) {
	e := req.endpoint
	if req.r.ContentLength > e.maxBody {
		req.w.Header()["Connection"] = closing
		return nil, "", tooLarge(e.maxBody)
	}
	req.scope()
	body := &upload{req: req, digest: sha256.New()}
	doc, err := body.document(c)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // the rest after the last part
	}
	if err != nil {
		req.w.Header()["Connection"] = closing
		return nil, "", body.refusal(err)
	}
	return doc, hex.EncodeToString(body.digest.Sum(nil)), nil
}

// scope returns the context of the request, in which stored files live until the
// request ends.
func (req *request) scope() context.Context {
	if req.scoped == nil {
		req.scoped, req.release = blob.Begin(blob.Into(req.r.Context(), req.server.options.Blobs))
	}
	return req.scoped
}

// upload is the body of a request. It extends the read deadline as data arrives.
type upload struct {
	req      *request
	digest   hash.Hash
	size     int64
	extended int64
	err      error // of the body
}

// Read implements io.Reader.
func (u *upload) Read(b []byte) (int, error) {
	n, err := u.req.r.Body.Read(b)
	u.digest.Write(b[:n])
	if u.size += int64(n); u.size > u.req.endpoint.maxBody {
		n, err = 0, errTooLarge
	}
	if u.size-u.extended >= initialBodyBuffer {
		u.extended = u.size
		u.req.extend(int(u.size))
	}
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}

// document reads the body.
func (u *upload) document(c contentType) (*document.Document, error) {
	e, ctx := u.req.endpoint, u.req.context()
	if e.listen.Input == "multipart" {
		data, err := partsToJSON(ctx, c.params["boundary"], u, e.listen.Charset, &u.req.memory)
		if err != nil {
			return nil, err
		}
		return document.FromJSON(data), nil
	}
	content, err := blob.Read(ctx, u, e.maxBody)
	if err != nil {
		return nil, err
	}
	if content.Name != "" {
		return document.FromValue(content.Reference("", c.header)), nil
	}
	if err := u.req.memory.Reserve(len(content.Bytes)); err != nil {
		return nil, err
	}
	return convert.Decode(ctx, content.Bytes, convert.Received{Format: e.listen.Input, ContentType: c.header})
}

// refusal returns the problem for a body that was not received.
func (u *upload) refusal(err error) *problem.Document {
	var known *fault.Failure
	switch {
	case errors.Is(u.err, errTooLarge):
		return tooLarge(u.req.endpoint.maxBody)
	case errors.Is(u.err, os.ErrDeadlineExceeded):
		return slowBodyProblem()
	case u.err != nil:
		return brokenBodyProblem()
	case budget.Exhausted(err):
		return outOfMemory(err)
	case errors.As(err, &known) && known.Code == fault.CodeUnavailable:
		return unavailable(time.Second)
	case errors.As(err, &known) && known.Code == fault.CodeTooLarge:
		return &problem.Document{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Title: "Request body too large", Detail: known.Message + "."}
	}
	return invalidBody("multipart/form-data", err)
}
