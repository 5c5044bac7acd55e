package expression

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"valence/internal/document"
)

// TestSharing checks that compiled templates are safe for concurrent use and
// that evaluations do not see each other's values.
func TestSharing(t *testing.T) {
	tmpl, problems := CompileTemplate(yamlNode(t, "id: ${doc.id}\nlines:\n  $each: ${doc.items}\n  n: ${item.n}/${index}/${doc.id}\nsum: ${sum(doc.items, .n)}\nu: ${uuid()}\nl: ${uniq(map(doc.items, .n))}"), nil)
	if problems != nil {
		t.Fatalf("got %v, want no problems", problems)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				id := g*1000 + i
				doc := fmt.Sprintf(`{"id":%d,"items":[{"n":%d},{"n":1}]}`, id, id)
				e := &Env{Names: names{"doc": document.Raw(doc)}, UUID: func(site string, n int) string { return fmt.Sprint(id, n) }}
				out, err := tmpl.Append(nil, e)
				list := fmt.Sprintf("[%d,1]", id)
				if id == 1 {
					list = "[1]"
				}
				want := fmt.Sprintf(`{"id":%d,"lines":[{"n":"%d/0/%d"},{"n":"1/1/%d"}],"sum":%d,"u":"%d 0","l":%s}`, id, id, id, id, id+1, id, list)
				if err != nil || string(out) != want {
					t.Errorf("got %s %v, want %s", out, err, want)
				}
			}
		})
	}
	wg.Wait()
}

// TestTemplateAllocatesNothing checks the template of the W1 benchmark.
func TestTemplateAllocatesNothing(t *testing.T) {
	tmpl, problems := CompileTemplate(mappingOf(tenFields...), nil)
	if problems != nil {
		t.Fatalf("got %v, want no problems", problems)
	}
	e := &Env{Names: names{"doc": document.Parse(benchOrder)}}
	dst := make([]byte, 0, 1024)
	least := 1.0 // under the race detector, sync.Pool drops some items
	for range 50 {
		least = min(least, testing.AllocsPerRun(1, func() { dst, _ = tmpl.Append(dst[:0], e) }))
	}
	if least > 0 {
		t.Errorf("allocations: got %v, want 0", least)
	}
	want := `{"orderId":4711,"customerId":77,"customerName":"Ada Lovelace","email":"ada@shop.example","city":"London","country":"GB","currency":"EUR","total":1249.90,"lineCount":5,"firstSku":"A-100"}`
	if string(dst) != want {
		t.Errorf("got %s, want %s", dst, want)
	}
}

// TestCompiledIsSmall limits the memory of compiled templates.
func TestCompiledIsSmall(t *testing.T) {
	const templates = 1000
	var before, after runtime.MemStats
	kept := make([]*Template, templates)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		kept[i], _ = CompileTemplate(mappingOf(tenFields...), nil)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / templates
	runtime.KeepAlive(kept)
	t.Logf("%d bytes for ten fields", each)
	if each > 24<<10 {
		t.Errorf("got %d bytes for ten fields, want at most %d", each, 24<<10)
	}
}
