// Command sink is the destination of the benchmarks. It counts the orders it
// receives, serves orders, and can hold its responses back.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// sink counts orders by id, so that repeated deliveries show.
type sink struct {
	shards [64]struct {
		mu  sync.Mutex
		ids map[string]int
	}
	count, last atomic.Int64
}

// stats is the response body of /stats.
type stats struct {
	Count  int64 `json:"count"`
	Unique int64 `json:"unique"`
	Last   int64 `json:"last"` // when the last order arrived, in nanoseconds since 1970
}

func main() {
	listen := flag.String("listen", "127.0.0.1:9100", "address to listen on")
	flag.Parse()
	s := &sink{}
	s.reset()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sink", s.take)
	mux.HandleFunc("POST /hold", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) { order.Answer(w, order.New(r.PathValue("id"))) })
	mux.HandleFunc("POST /soap", soap)
	mux.HandleFunc("GET /stats", s.stats)
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { s.reset() })
	log.Fatal(http.ListenAndServe(*listen, mux))
}

var idKey = []byte(`"order_id":"`)

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	b, err := order.Body(r)
	i := bytes.Index(b, idKey)
	if err != nil || i < 0 {
		http.Error(w, "no order", http.StatusBadRequest)
		return
	}
	id := b[i+len(idKey):]
	id = id[:max(0, bytes.IndexByte(id, '"'))]
	if len(id) == 0 {
		http.Error(w, "no order", http.StatusBadRequest)
		return
	}
	shard := &s.shards[id[len(id)-1]%64]
	shard.mu.Lock()
	shard.ids[string(id)]++
	shard.mu.Unlock()
	s.count.Add(1)
	s.last.Store(time.Now().UnixNano())
	order.Answer(w, taken)
}

// soap serves orders by SOAP.
func soap(w http.ResponseWriter, r *http.Request) {
	b, err := order.Body(r)
	_, id, ok := bytes.Cut(b, []byte("id>"))
	id, _, closed := bytes.Cut(id, []byte("</"))
	if err != nil || !ok || !closed {
		http.Error(w, "no id", http.StatusBadRequest)
		return
	}
	out := order.Envelope(string(id))
	w.Header()["Content-Type"] = []string{"text/xml; charset=utf-8"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(out))}
	_, _ = w.Write(out)
}

var taken = []byte(`{"ok":true}`)

func (s *sink) reset() {
	for i := range s.shards {
		s.shards[i].mu.Lock()
		s.shards[i].ids = map[string]int{}
		s.shards[i].mu.Unlock()
	}
	s.count.Store(0)
	s.last.Store(0)
}

func (s *sink) stats(w http.ResponseWriter, _ *http.Request) {
	out := stats{Count: s.count.Load(), Last: s.last.Load()}
	for i := range s.shards {
		s.shards[i].mu.Lock()
		out.Unique += int64(len(s.shards[i].ids))
		s.shards[i].mu.Unlock()
	}
	_ = json.NewEncoder(w).Encode(out)
}
