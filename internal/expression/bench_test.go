package expression

import (
	"strconv"
	"testing"

	"github.com/tidwall/gjson"

	"valence/internal/document"
)

// benchOrder is the 1 KiB order of the project's benchmarks.
const benchOrder = `{"order_id":4711,"created":"2026-03-01T12:30:15Z","customer":{"id":77,"name":"Ada Lovelace","email":"ada@shop.example","address":{"street":"Long Street 12","city":"London","zip":"02134","country":"GB"}},"currency":"EUR","total":1249.90,"lines":[{"sku":"A-100","name":"Keyboard, mechanical","qty":2,"price":89.95,"tax":19},{"sku":"A-200","name":"Mouse, \"silent\"","qty":1,"price":49.00,"tax":19},{"sku":"B-300","name":"Monitor 27 inches","qty":3,"price":299.00,"tax":19},{"sku":"C-400","name":"Cable USB-C 2 m","qty":5,"price":12.80,"tax":19},{"sku":"D-500","name":"Desk lamp","qty":1,"price":60.00,"tax":7}],"shipping":{"method":"express","tracking":null,"insured":true},"notes":"Please ring twice. The door is on the left side of the building, behind the big oak tree.","tags":["new","priority","web","b2c"],"source":{"channel":"web","campaign":"spring","referrer":"https://shop.example/landing?utm=1"}}`

func mappingOf(kv ...string) *Node {
	n := &Node{Kind: Mapping}
	for i := 0; i < len(kv); i += 2 {
		n.Keys = append(n.Keys, Key{Name: kv[i], Value: text(kv[i+1])})
	}
	return n
}

func benchTemplate(b *testing.B, n *Node) *Template {
	t, problems := CompileTemplate(n, nil)
	if len(problems) > 0 {
		b.Fatalf("got %v, want no problems", problems)
	}
	return t
}

var tenFields = []string{
	"orderId", "${doc.order_id}", "customerId", "${doc.customer.id}", "customerName", "${doc.customer.name}",
	"email", "${doc.customer.email}", "city", "${doc.customer.address.city}", "country", "${doc.customer.address.country}",
	"currency", "${doc.currency}", "total", "${doc.total}", "lineCount", "${len(doc.lines)}", "firstSku", "${doc.lines[0].sku}",
}

// BenchmarkTemplateTenFields is the mapping of the W1 benchmark.
func BenchmarkTemplateTenFields(b *testing.B) {
	t := benchTemplate(b, mappingOf(tenFields...))
	env := &Env{Names: names{"doc": document.Parse(benchOrder)}}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = t.Append(dst[:0], env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBaselineTenFields is the same mapping written by hand.
func BenchmarkBaselineTenFields(b *testing.B) {
	paths := []string{"order_id", "customer.id", "customer.name", "customer.email", "customer.address.city", "customer.address.country", "currency", "total", "lines.#", "lines.0.sku"}
	body := []byte(benchOrder)
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = append(dst[:0], '{')
		for i, v := range gjson.GetManyBytes(body, paths...) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, '"'), tenFields[2*i]...), '"', ':')
			if v.Raw == "" {
				dst = strconv.AppendInt(dst, int64(v.Num), 10)
			} else {
				dst = append(dst, v.Raw...)
			}
		}
		dst = append(dst, '}')
	}
}

func BenchmarkTemplateEach(b *testing.B) {
	lines := mappingOf("$each", "${doc.lines}", "sku", "${item.sku}", "qty", "${item.qty}", "sum", "${item.qty * item.price}")
	t := benchTemplate(b, &Node{Kind: Mapping, Keys: []Key{{Name: "lines", Value: lines}}})
	env := &Env{Names: names{"doc": document.Parse(benchOrder)}}
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = t.Append(dst[:0], env); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEval(b *testing.B) {
	for _, s := range []string{
		"${doc.customer.name}", "${doc.total > 100 and doc.currency == \"EUR\"}", "${sum(doc.lines, .price * .qty)}",
		"${upper(doc.customer.name)}", "/orders/${doc.order_id}", "${filter(doc.lines, .qty > 1) | map(.sku) | join(\",\")}",
	} {
		b.Run(s, func(b *testing.B) {
			e, problems := Compile(text(s), nil)
			if len(problems) > 0 {
				b.Fatalf("got %v, want no problems", problems)
			}
			env := &Env{Names: names{"doc": document.Parse(benchOrder)}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Eval(env); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	n := mappingOf(tenFields...)
	b.ReportAllocs()
	for b.Loop() {
		CompileTemplate(n, nil)
	}
}
