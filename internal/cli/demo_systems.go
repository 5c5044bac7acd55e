package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// shop is the system that orders come from: it holds them, says when one has
// changed, and takes the ERP's number back.
type shop struct {
	key     string
	told    func(format string, args ...any) // of every request, while the story is told
	mu      sync.Mutex
	numbers map[int]string // what was written back, by order
	writes  map[int]int    // how often
	reads   map[int]int    // how often an order was fetched
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

// order makes the order with a number, always the same one.
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

// handler is the shop's API.
func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", s.with(func(w http.ResponseWriter, _ *http.Request, id int) {
		s.mu.Lock()
		o := s.order(id)
		s.reads[id]++
		s.mu.Unlock()
		s.told("atom → shop   GET /orders/%d", id)
		answerJSON(w, http.StatusOK, o)
	}))
	mux.HandleFunc("PATCH /orders/{id}", s.with(func(w http.ResponseWriter, r *http.Request, id int) {
		var change struct {
			ERPNumber string `json:"erp_number"`
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
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
		s.told("atom → shop   PATCH /orders/%d %s", id, text)
		answerJSON(w, http.StatusOK, map[string]any{"id": id})
	}))
	return mux
}

// with lets through who has the key, and reads the order's number.
func (s *shop) with(serve func(http.ResponseWriter, *http.Request, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		switch {
		case r.Header.Get("X-Api-Key") != s.key:
			http.Error(w, "the key is wrong", http.StatusUnauthorized)
		case err != nil || id < 1:
			http.Error(w, "there is no such order", http.StatusNotFound)
		default:
			serve(w, r, id)
		}
	}
}

// written gives the ERP's number of an order, "" if none was written back.
func (s *shop) written(id int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.numbers[id]
}

// erp is the system that invoices are made in. It recognises a repeated
// request by its Idempotency-Key, and answers it with the first invoice.
type erp struct {
	told     func(format string, args ...any)
	mu       sync.Mutex
	byKey    map[string]*invoice
	byOrder  map[int][]*invoice
	repeated int // requests whose key was known already
	made     int
}

type invoice struct {
	Number   string      `json:"number"`
	OrderNo  int         `json:"order_no"`
	Customer string      `json:"customer"`
	Total    json.Number `json:"total"`
}

// handler is the ERP's API.
func (e *erp) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invoices", e.create)
	mux.HandleFunc("GET /invoices", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.URL.Query().Get("order_no"))
		if err != nil {
			http.Error(w, "order_no is missing", http.StatusBadRequest)
			return
		}
		e.told("atom → erp    GET /invoices?order_no=%d", id)
		found := []*invoice{}
		e.mu.Lock()
		found = append(found, e.byOrder[id]...)
		e.mu.Unlock()
		answerJSON(w, http.StatusOK, found)
	})
	return mux
}

func (e *erp) create(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	in := &invoice{}
	if err == nil {
		err = json.Unmarshal(text, in)
	}
	if err != nil || key == "" || in.OrderNo == 0 {
		http.Error(w, "an invoice needs an order_no and an Idempotency-Key", http.StatusBadRequest)
		return
	}
	e.told("atom → erp    POST /invoices %s", text)
	e.told("              Idempotency-Key: %s", key)
	e.mu.Lock()
	known, again := e.byKey[key]
	if again {
		e.repeated++
		in = known
	} else {
		e.made++
		in.Number = fmt.Sprintf("INV-%d", e.made)
		e.byKey[key] = in
		e.byOrder[in.OrderNo] = append(e.byOrder[in.OrderNo], in)
	}
	e.mu.Unlock()
	answerJSON(w, http.StatusCreated, in)
}

// invoices gives the numbers of an order's invoices.
func (e *erp) invoices(order int) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var numbers []string
	for _, in := range e.byOrder[order] {
		numbers = append(numbers, in.Number)
	}
	return numbers
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error means that the atom is gone: it asks again
}
