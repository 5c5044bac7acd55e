package s3

import (
	"context"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// ifMatch is the ETag of the object that a request may change, in the context of
// the request. The library sends no such condition with a delete.
type ifMatch struct{}

// conditional sends the condition of a request.
type conditional struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (c conditional) RoundTrip(r *http.Request) (*http.Response, error) {
	if etag, ok := r.Context().Value(ifMatch{}).(string); ok {
		r = r.Clone(r.Context())
		r.Header.Set("If-Match", `"`+etag+`"`)
	}
	return c.RoundTripper.RoundTrip(r)
}

// replaced reports whether a store refused a request because the object is
// another one by now.
func replaced(err error) bool { return status(err) == http.StatusPreconditionFailed }

// removeIf deletes an object that still has an ETag. It succeeds if the object was
// replaced. It never deletes a version: in a bucket with versions, the one before
// it would become the object.
func (c *connection) removeIf(ctx context.Context, o object, etag string) error {
	remove := func(ctx context.Context) error {
		return c.store.RemoveObject(ctx, o.Bucket, o.Key, minio.RemoveObjectOptions{})
	}
	err := remove(context.WithValue(ctx, ifMatch{}, etag))
	switch {
	case replaced(err):
		return nil
	case status(err) == http.StatusNotImplemented: // some stores refuse the condition
		return remove(ctx)
	}
	return err
}
