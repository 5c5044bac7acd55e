package processes

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// manyProcesses makes a project of n processes of about 1.5 KiB.
func manyProcesses(n int) []File {
	const one = `process: p%[1]d
description: The shop says only that an order changed.
listen:
  path: /shop/orders/p%[1]d
  input: json
  auth: none
profile: order
dedupe: { key: '${request.headers["X-Event-Id"]}', window: 24h }
track: { order: "${doc.id}" }
steps:
  - name: order
    call: shop.get
    with: { path: "/orders/${doc.id}" }
  - if: ${len(doc.items) == 0}
    then:
      - stop: nothing to invoice
  - map:
      order_no: ${doc.id}
      customer: ${upper(doc.customer.name)}
      country: ${doc.customer.country ?? "PT"}
      total: ${sum(doc.items, .price * .qty)}
      lines:
        $each: ${doc.items}
        sku: ${item.sku}
        qty: ${item.qty}
  - for_each: ${doc.lines}
    as: line
    steps:
      - log: line ${line.sku} of ${steps.order.id}
  - try:
      - call: shop.post
        with: { path: /invoices }
    catch:
      - log: failed with ${error.message}
  - set: { done: "${true}" }
  - call: shop.post
    with: { path: "/orders/${input.id}" }
    body: { erp_number: "${doc.number}", synced_at: "${now()}", done: "${vars.done}" }
`
	files := []File{{"shared.yaml", []byte("connection: shop\nconnector: web\nurl: http://x\n---\nprofile: order\nschema: { type: object }\n")}}
	for i := range n {
		files = append(files, File{fmt.Sprintf("p%d.yaml", i), []byte(strings.ReplaceAll(one, "%[1]d", fmt.Sprint(i)))})
	}
	return files
}

// BenchmarkLoad2000 tells the time for 2,000 processes and the memory that
// they keep.
func BenchmarkLoad2000(b *testing.B) {
	files, cat := manyProcesses(2000), testCatalog()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var p *Project
	b.ReportAllocs()
	for b.Loop() {
		var problems any
		p, problems = Load(files, cat)
		if len(p.Processes) != 2000 {
			b.Fatal(problems)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-kept")
	runtime.KeepAlive(p)
}
