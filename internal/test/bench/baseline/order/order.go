// Package order holds the code that all baselines share: the order they exchange
// and the functions that read it from a request.
package order

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Size is the length of an order in bytes.
const Size = 1024

const beforeID = `{"order_id":"`

const afterID = `","customer":{"id":"C-48213","name":"Ana Oliveira","email":"ana.oliveira@example.com","phone":"+351 21 555 0199",` +
	`"address":{"street":"Rua do Ouro 114","city":"Lisboa","zip":"1100-063","country":"PT"}},"currency":"EUR","total":1289.45,` +
	`"status":"new","channel":"web","created":"2026-05-11T09:30:00Z","lines":[{"sku":"SKU-10021","desc":"Steel bracket 40mm",` +
	`"qty":12,"price":4.95},{"sku":"SKU-20417","desc":"Control unit B7","qty":1,"price":899.00},{"sku":"SKU-33310",` +
	`"desc":"Cable harness 2m","qty":5,"price":32.50}],"note":"`

// New returns an order of Size bytes with the given id.
func New(id string) []byte {
	pad := max(0, Size-len(beforeID)-len(id)-len(afterID)-2)
	b := make([]byte, 0, Size)
	b = append(b, beforeID...)
	b = append(b, id...)
	b = append(b, afterID...)
	b = append(b, strings.Repeat("x", pad)...)
	return append(b, '"', '}')
}

const beforeXML = `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><GetOrderResponse xmlns="urn:orders"><order_id>`

const afterXML = `</order_id><customer><id>C-48213</id><name>Ana Oliveira</name><email>ana.oliveira@example.com</email><phone>+351 21 555 0199</phone>` +
	`<address><street>Rua do Ouro 114</street><city>Lisboa</city><zip>1100-063</zip><country>PT</country></address></customer><currency>EUR</currency>` +
	`<total>1289.45</total><status>new</status><channel>web</channel><created>2026-05-11T09:30:00Z</created>` +
	`<line><sku>SKU-10021</sku><desc>Steel bracket 40mm</desc><qty>12</qty><price>4.95</price></line>` +
	`<line><sku>SKU-20417</sku><desc>Control unit B7</desc><qty>1</qty><price>899.00</price></line>` +
	`<line><sku>SKU-33310</sku><desc>Cable harness 2m</desc><qty>5</qty><price>32.50</price></line>` +
	`</GetOrderResponse></soap:Body></soap:Envelope>`

// Envelope returns the same order, with the given id and without its note, as a
// SOAP service answers it.
func Envelope(id string) []byte {
	b := make([]byte, 0, len(beforeXML)+len(id)+len(afterXML))
	return append(append(append(b, beforeXML...), id...), afterXML...)
}

// Body reads a request body.
func Body(r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n > 0 && n < 1<<20 {
		b := make([]byte, n)
		_, err := io.ReadFull(r.Body, b)
		return b, err
	}
	return io.ReadAll(r.Body)
}

// Answer writes JSON.
func Answer(w http.ResponseWriter, b []byte) {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	_, _ = w.Write(b)
}

var jsonType = []string{"application/json"}

var fields = []struct{ name, path string }{
	{"orderId", "order_id"}, {"customerId", "customer.id"}, {"customerName", "customer.name"}, {"email", "customer.email"},
	{"city", "customer.address.city"}, {"country", "customer.address.country"}, {"currency", "currency"}, {"total", "total"},
	{"lineCount", "lines.#"}, {"firstSku", "lines.0.sku"},
}

var paths = func() []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.path
	}
	return out
}()

// Map picks the ten fields of an order.
func Map(order []byte) []byte {
	out := make([]byte, 0, 320)
	for i, v := range gjson.GetManyBytes(order, paths...) {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		out = append(out, sep, '"')
		out = append(out, fields[i].name...)
		out = append(out, '"', ':')
		if v.Raw == "" {
			out = strconv.AppendInt(out, int64(v.Num), 10)
		} else {
			out = append(out, v.Raw...)
		}
	}
	return append(out, '}')
}
