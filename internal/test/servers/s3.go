package servers

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3Bucket is the bucket of an S3.
const S3Bucket = "orders"

// S3 is an object store in memory. Its clock is ahead and stands still.
type S3 struct {
	URL string

	backend *s3mem.Backend
	clock   gofakes3.TimeSource
	server  *httptest.Server
	answer  atomic.Pointer[http.HandlerFunc]
}

// NewS3 starts an object store. Close stops it.
func NewS3() (*S3, error) {
	s := &S3{clock: gofakes3.FixedTimeSource(time.Date(2099, 3, 2, 10, 0, 0, 0, time.UTC))}
	s.backend = s3mem.New(s3mem.WithTimeSource(s.clock))
	if err := s.backend.CreateBucket(S3Bucket); err != nil {
		return nil, err
	}
	store := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSkewLimit(0), gofakes3.WithTimeSource(s.clock)).Server()
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := s.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		store.ServeHTTP(w, r)
	}))
	s.URL = s.server.URL
	return s, nil
}

// Answer makes the store answer all requests with a handler; nil: as a store.
func (s *S3) Answer(h http.HandlerFunc) {
	if h == nil {
		s.answer.Store(nil)
		return
	}
	s.answer.Store(&h)
}

// Put writes an object.
func (s *S3) Put(key, text string) error {
	_, err := s.backend.PutObject(S3Bucket, key, map[string]string{"Last-Modified": s.clock.Now().Format(http.TimeFormat)}, strings.NewReader(text), int64(len(text)), nil)
	return err
}

// Get returns the content of an object. The caller closes it.
func (s *S3) Get(key string) (io.ReadCloser, error) {
	o, err := s.backend.GetObject(S3Bucket, key, nil)
	if err != nil {
		return nil, err
	}
	return o.Contents, nil
}

// Keys returns the keys of all objects, sorted.
func (s *S3) Keys() ([]string, error) {
	found, err := s.backend.ListBucket(S3Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, o := range found.Contents {
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// Close stops the store.
func (s *S3) Close() { s.server.Close() }
