// Command handler is the request/reply baseline: a handler written by hand with
// no framework.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"valence/internal/test/bench/baseline/order"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9001", "address to listen on")
	source := flag.String("source", "http://127.0.0.1:9100", "where /fetch and /soap get orders from")
	flag.Parse()
	fetch, soap := fetchOrder(*source+"/orders/"), soapOrder(*source+"/soap")
	log.Fatal(http.ListenAndServe(*listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path { // no router: the baseline pays only for the work it does
		case "/map":
			mapOrder(w, r)
		case "/fetch":
			fetch(w, r)
		case "/soap":
			soap(w, r)
		default:
			http.NotFound(w, r)
		}
	})))
}

func mapOrder(w http.ResponseWriter, r *http.Request) {
	b, err := order.Body(r)
	if err != nil || !gjson.ValidBytes(b) {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	order.Answer(w, order.Map(b))
}

func fetchOrder(source string) http.HandlerFunc {
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute},
		Timeout:   10 * time.Second,
	}
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := order.Body(r)
		if err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		record, err := get(client, source+gjson.GetBytes(b, "id").String())
		if err != nil || !gjson.ValidBytes(record) {
			http.Error(w, "bad answer", http.StatusBadGateway)
			return
		}
		order.Answer(w, order.Map(record))
	}
}

func get(client *http.Client, url string) ([]byte, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if n := resp.ContentLength; n > 0 {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	return io.ReadAll(resp.Body)
}
