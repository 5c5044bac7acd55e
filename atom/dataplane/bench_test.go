package dataplane

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"

	"github.com/gorilla/mux"
)

// BenchmarkServe compares a listener with an instant atom to a hand-written
// handler, without a network.
func BenchmarkServe(b *testing.B) {
	body := `{"id":4711,"customer":{"name":"Ada"},"note":"` + strings.Repeat("x", 950) + `"}`
	answer := document.FromJSON([]byte(`{"order_no":4711,"customer":"ADA"}`))
	run := func(name string, h http.Handler, path string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", path, strings.NewReader(body))
				r.Header["Content-Type"] = []string{"application/json"}
				w := &discard{h: http.Header{}}
				h.ServeHTTP(w, r)
				if w.status != 0 && w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
	router := mux.NewRouter()
	router.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10<<20)); err != nil {
			http.Error(w, "", 400)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer.Body())
	}).Methods("POST")
	run("handwritten", router, "/orders")
	s := New(Options{Atom: instant{reply: &atom.Reply{Execution: "x1", Doc: answer}}})
	s.Deploy([]*atom.DeployedProcess{on("/orders", replies("json")), on("/orders/{id}", replies("json")), on("/events")})
	run("request-reply", s, "/orders")
	run("capture", s, "/orders/4711")
	run("fire-and-forget", s, "/events")
}

type instant struct {
	*fake
	reply *atom.Reply
}

func (i instant) Request(context.Context, *atom.DeployedProcess, *atom.Message) (*atom.Reply, error) {
	return i.reply, nil
}

func (i instant) Accept(_ context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Acknowledgement, error) {
	return &atom.Acknowledgement{Execution: "x1", Process: d.Process.Name, Status: "accepted", ReceivedAt: in.Received, SHA256: in.SHA256,
		Location: "/executions/x1", ReplyToken: "secret", CorrelationID: in.CorrelationID}, nil
}

func (instant) Follow(context.Context, string, string, string) (*atom.Progress, error) {
	return nil, store.ErrUnknown
}

func (instant) KnowsCallback(string) bool { return false }

func (instant) DeliverCallback(context.Context, string, *document.Document) (bool, error) {
	return false, store.ErrUnknown
}

type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
