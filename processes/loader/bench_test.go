package loader

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"valence/processes"
)

// manyProcesses returns a project of n processes of about 1.5 KiB each.
func manyProcesses(n int) []processes.File {
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
	files := []processes.File{{Name: "shared.yaml", Content: []byte("connection: shop\nconnector: web\nurl: http://x\n---\nprofile: order\nschema: { type: object }\n")}}
	for i := range n {
		files = append(files, processes.File{Name: fmt.Sprintf("p%d.yaml", i), Content: []byte(strings.ReplaceAll(one, "%[1]d", fmt.Sprint(i)))})
	}
	return files
}

// BenchmarkLoad2000 measures the time and memory of loading 2,000 processes.
func BenchmarkLoad2000(b *testing.B) {
	files, cat := manyProcesses(2000), testCatalog()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var p *processes.Project
	b.ReportAllocs()
	for b.Loop() {
		var problems any
		p, problems = Load(files, cat)
		if len(p.Processes) != 2000 {
			b.Fatalf("got %v, want 2000", problems)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-live")
	runtime.KeepAlive(p)
}
