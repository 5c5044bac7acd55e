package http

import (
	"bytes"
	"io"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/document"
)

var record = []byte(`{"id":"1","note":"` + strings.Repeat("x", 1000) + `"}`)

func recordServer(b *testing.B) string {
	return serve(b, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(record)
	})
}

// BenchmarkCall, compared with BenchmarkBare, measures the overhead of the
// connector.
func BenchmarkCall(b *testing.B) {
	c := connect(b, defaults(recordServer(b)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.do(b.Context(), &testCall{operation: "get", with: &with{Path: "/orders/1"}, Call: connectors.Call{CorrelationID: "c"}}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkCallPost(b *testing.B) {
	c := connect(b, defaults(recordServer(b)))
	doc := document.FromJSON(record)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.do(b.Context(), &testCall{operation: "post", with: &with{Path: "/orders"}, Call: connectors.Call{Body: doc, IdempotencyKey: "k"}}); err != nil {
				b.Error(err)
			}
		}
	})
}

func bareClient() *nethttp.Client {
	return &nethttp.Client{Transport: &nethttp.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024}, Timeout: 10 * time.Second}
}

func BenchmarkBare(b *testing.B) {
	url := recordServer(b)
	client := bareClient()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			bare(b, func() (*nethttp.Response, error) { return client.Get(url + "/orders/1") })
		}
	})
}

func BenchmarkBarePost(b *testing.B) {
	url := recordServer(b)
	client := bareClient()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			bare(b, func() (*nethttp.Response, error) {
				return client.Post(url+"/orders", "application/json", bytes.NewReader(record))
			})
		}
	})
}

func bare(b *testing.B, send func() (*nethttp.Response, error)) {
	resp, err := send()
	if err != nil {
		b.Error(err)
		return
	}
	body := make([]byte, resp.ContentLength)
	if _, err := io.ReadFull(resp.Body, body); err != nil {
		b.Error(err)
	}
	resp.Body.Close()
}
