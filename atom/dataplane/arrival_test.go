package dataplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"valence/atom"
	"valence/internal/convert"
	"valence/internal/traceparent"
)

func hexDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// fuzzRequest builds the request that the server would parse, or nil.
func fuzzRequest(target string, body []byte, contentType, encoding string) (*http.Request, bool) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, false
	}
	r := &http.Request{Method: "POST", URL: u, Proto: "HTTP/1.1", Header: http.Header{}, Body: http.NoBody, ContentLength: int64(len(body))}
	if len(body) > 0 {
		r.Body = readCloser{bytes.NewReader(body)}
	}
	if contentType != "" {
		r.Header["Content-Type"] = []string{contentType}
	}
	if encoding != "" {
		r.Header["Content-Encoding"] = []string{encoding}
	}
	return r, true
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func checkArrival(t *testing.T, in *atom.Message) {
	t.Helper()
	if data := in.Doc.Data(); data != "" {
		if err := convert.CheckJSON([]byte(data)); err != nil {
			t.Fatalf("the data view is not JSON: %v: %q, want no error", err, data)
		}
	}
	if !isToken(in.CorrelationID) || len(in.SHA256) != 64 {
		t.Fatalf("correlation %q, digest %q", in.CorrelationID, in.SHA256)
	}
	if traceparent.OrNew(in.Traceparent) != in.Traceparent {
		t.Fatalf("traceparent %q", in.Traceparent)
	}
}
