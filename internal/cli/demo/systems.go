package demo

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// traceFunc prints a request that a system received.
type traceFunc func(format string, args ...any)

// shop is the system with the orders. It receives the invoice number of each.
type shop struct {
	key   string // API key
	trace traceFunc

	mu      sync.Mutex
	numbers map[int]string // invoice number by order
	writes  map[int]int    // number of writes by order
	reads   map[int]int    // number of reads by order
}

func newShop(trace traceFunc) *shop {
	return &shop{key: "demo-" + rand.Text(), trace: trace, numbers: map[int]string{}, writes: map[int]int{}, reads: map[int]int{}}
}

type orderItem struct {
	SKU   string      `json:"sku"`
	Qty   int         `json:"qty"`
	Price json.Number `json:"price"`
}

type order struct {
	ID       int `json:"id"`
	Customer struct {
		Name string `json:"name"`
	} `json:"customer"`
	Items     []orderItem `json:"items"`
	ERPNumber string      `json:"erp_number,omitempty"`
}

var customers = []string{"Ada Lovelace", "Grace Hopper", "Mary Shelley", "Emmy Noether"}

// order returns the order with an id; equal ids have equal content.
func (s *shop) order(id int) order {
	o := order{ID: id, ERPNumber: s.numbers[id]}
	o.Customer.Name = customers[id%len(customers)]
	for i := range 1 + id%3 {
		o.Items = append(o.Items, orderItem{
			SKU: fmt.Sprintf("SKU-%d", 10*(id%7)+i), Qty: 1 + (id+i)%4,
			Price: json.Number(fmt.Sprintf("%d.%02d", 9+i, (id*7)%100)),
		})
	}
	return o
}

// handler serves the shop's API.
func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", s.authorized(s.getOrder))
	mux.HandleFunc("PATCH /orders/{id}", s.authorized(s.patchOrder))
	return mux
}

func (s *shop) getOrder(w http.ResponseWriter, _ *http.Request, id int) {
	s.mu.Lock()
	o := s.order(id)
	s.reads[id]++
	s.mu.Unlock()
	s.trace("atom → shop   GET /orders/%d", id)
	writeJSON(w, http.StatusOK, o)
}

func (s *shop) patchOrder(w http.ResponseWriter, r *http.Request, id int) {
	var change struct {
		ERPNumber string `json:"erp_number"`
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(text, &change)
	}
	if err != nil || change.ERPNumber == "" {
		http.Error(w, "erp_number is missing", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.numbers[id] = change.ERPNumber
	s.writes[id]++
	s.mu.Unlock()
	s.trace("atom → shop   PATCH /orders/%d %s", id, text)
	writeJSON(w, http.StatusOK, map[string]any{"id": id})
}

// authorized checks the API key and parses the order's id.
func (s *shop) authorized(next func(http.ResponseWriter, *http.Request, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		switch {
		case r.Header.Get("X-Api-Key") != s.key:
			http.Error(w, "wrong API key", http.StatusUnauthorized)
		case err != nil || id < 1:
			http.Error(w, "no such order", http.StatusNotFound)
		default:
			next(w, r, id)
		}
	}
}

// invoice returns the invoice number of an order; empty if it has none.
func (s *shop) invoice(id int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.numbers[id]
}

// repeatedCalls returns how many reads and writes of n orders were repeats.
func (s *shop) repeatedCalls(first, n int) (reads, writes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		reads += max(0, s.reads[first+i]-1)
		writes += max(0, s.writes[first+i]-1)
	}
	return reads, writes
}

// erp is the system that creates invoices. It answers a repeated request, which
// has the same Idempotency-Key, with the first invoice.
type erp struct {
	trace traceFunc

	mu       sync.Mutex
	byKey    map[string]*invoice
	byOrder  map[int][]*invoice
	repeated int // number of requests with a known key
	created  int
}

func newERP(trace traceFunc) *erp {
	return &erp{trace: trace, byKey: map[string]*invoice{}, byOrder: map[int][]*invoice{}}
}

type invoice struct {
	Number   string      `json:"number"`
	OrderNo  int         `json:"order_no"`
	Customer string      `json:"customer"`
	Total    json.Number `json:"total"`
}

// handler serves the ERP's API.
func (e *erp) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invoices", e.create)
	mux.HandleFunc("GET /invoices", e.list)
	return mux
}

func (e *erp) list(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.URL.Query().Get("order_no"))
	if err != nil {
		http.Error(w, "order_no is missing", http.StatusBadRequest)
		return
	}
	e.trace("atom → erp    GET /invoices?order_no=%d", id)
	found := []*invoice{}
	e.mu.Lock()
	found = append(found, e.byOrder[id]...)
	e.mu.Unlock()
	writeJSON(w, http.StatusOK, found)
}

func (e *erp) create(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	in := &invoice{}
	if err == nil {
		err = json.Unmarshal(text, in)
	}
	if err != nil || key == "" || in.OrderNo == 0 {
		http.Error(w, "an invoice needs an order_no and an Idempotency-Key", http.StatusBadRequest)
		return
	}
	e.trace("atom → erp    POST /invoices %s", text)
	e.trace("              Idempotency-Key: %s", key)
	e.mu.Lock()
	if known, ok := e.byKey[key]; ok {
		e.repeated++
		in = known
	} else {
		e.created++
		in.Number = fmt.Sprintf("INV-%d", e.created)
		e.byKey[key] = in
		e.byOrder[in.OrderNo] = append(e.byOrder[in.OrderNo], in)
	}
	e.mu.Unlock()
	writeJSON(w, http.StatusCreated, in)
}

// invoices returns the numbers of an order's invoices.
func (e *erp) invoices(order int) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var numbers []string
	for _, in := range e.byOrder[order] {
		numbers = append(numbers, in.Number)
	}
	return numbers
}

// repeatedCalls returns the number of requests with a known Idempotency-Key.
func (e *erp) repeatedCalls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.repeated
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only if the atom was killed; it calls again
}
