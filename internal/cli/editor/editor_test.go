package editor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sourcegraph/jsonrpc2"

	"valence/internal/lsp"
)

const connections = `connection: shop
connector: http
url: http://shop.example
idempotent: key
---
connection: erp
connector: http
url: http://erp.example
idempotent: key
`

const orders = `process: orders
listen: { path: /orders, input: json, auth: none }
dedupe: { key: "${doc.id}", window: 1h }
steps:
  - name: order
    call: shop.get
    with: { path: "/orders/${doc.id}" }
  - call: erp.post
    with: { path: /invoices }
`

// TestDiagnosticsFollowTheText checks that unsaved text overlays the files, with
// incremental changes in UTF-16 positions.
func TestDiagnosticsFollowTheText(t *testing.T) {
	c := start(t, map[string]string{"connections.yaml": connections, "orders.yaml": orders})
	c.open("orders.yaml", orders)
	if got := c.diagnostics("orders.yaml"); len(got) != 0 {
		t.Fatalf("got %v, want no problems", got)
	}
	c.edit("orders.yaml", "process: orders\n", "process: orders\ndescription: 🙂🙂 Grüße\n")
	c.edit("orders.yaml", "Grüße", "Grüsse")
	c.edit("orders.yaml", "call: erp.post", "call: erb.post")
	got := c.diagnostics("orders.yaml")
	if len(got) != 1 || got[0].Code != "unknown-component" || got[0].Range.Start.Line != 8 || got[0].Range.Start.Character != 10 || !strings.Contains(got[0].Message, "did you mean `erp`?") {
		t.Fatalf("got %v, want an unknown connection in line 8", got)
	}
	// The connection is renamed in another, unsaved buffer.
	c.open("connections.yaml", strings.Replace(connections, "connection: erp", "connection: erb", 1))
	c.until("orders.yaml", func(list []lsp.Diagnostic, _ int) bool { return len(list) == 0 })
	// Closing it brings back the file on disk.
	c.notify("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": c.uri("connections.yaml")}})
	c.until("orders.yaml", func(list []lsp.Diagnostic, _ int) bool { return len(list) == 1 })
	// A file that exists only in the editor counts too.
	c.open("more.yaml", "connection: erb\nconnector: http\nurl: http://erb.example\nidempotent: key\n")
	c.until("orders.yaml", func(list []lsp.Diagnostic, _ int) bool { return len(list) == 0 })
}

// TestDiagnosticsOfUnfinishedText checks each prefix of a file, as it is while it
// is being written, and other malformed text. The server must answer all of them.
func TestDiagnosticsOfUnfinishedText(t *testing.T) {
	c := start(t, map[string]string{"connections.yaml": connections})
	c.open("orders.yaml", "")
	texts := []string{"\x00\xff", "process", "process:\n\t- x", "\ufeffprocess: a\r\nsteps: []\r\n", "{{{{", "- - - -", "a: |\n\n", "process: x\nsteps:\n  - call: \"", "---\n---\n", strings.Repeat("[", 5000), strings.Repeat("a:\n ", 500)}
	for i := 0; i < len(orders); i += 7 {
		texts = append(texts, orders[:i])
	}
	for _, text := range texts {
		c.version++
		c.notify("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": c.uri("orders.yaml"), "version": c.version}, "contentChanges": []any{map[string]any{"text": text}}})
		for _, method := range []string{"documentSymbol", "completion", "hover", "definition", "references", "codeAction", "formatting"} {
			var got json.RawMessage
			c.call("textDocument/"+method, map[string]any{"textDocument": map[string]any{"uri": c.uri("orders.yaml")}, "position": map[string]any{"line": strings.Count(text, "\n"), "character": 3}, "context": map[string]any{}}, &got)
		}
	}
	c.diagnostics("orders.yaml")
}

// TestOtherYAMLIsIgnored checks that files of other programs get no diagnostics,
// and that each project of a workspace is checked alone.
func TestOtherYAMLIsIgnored(t *testing.T) {
	c := start(t, map[string]string{
		"compose.yaml": "services: {}\n", "ci/build.yaml": "project: shop\nname: build\ndescription: x\n", "ci/deploy.yaml": "name: x\n---\nenvironment: { name: prod }\ntest: []\n", "one/connections.yaml": connections, "one/flows/orders.yaml": orders, "two/orders.yaml": orders,
	})
	c.open("compose.yaml", "services: [\n")
	c.open("ci/build.yaml", "project: shop\nname: build\nstages: [\n")
	c.open("one/flows/orders.yaml", orders)
	if got := c.diagnostics("one/flows/orders.yaml"); len(got) != 0 {
		t.Errorf("got %v for a project with folders, want no problems", got)
	}
	c.open("two/orders.yaml", orders)
	if got := c.diagnostics("two/orders.yaml"); len(got) != 2 {
		t.Errorf("got %v for a project without connections, want two unknown ones", got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range []string{"compose.yaml", "ci/build.yaml"} {
		if got := c.problems[name]; len(got) != 0 {
			t.Errorf("got %v for %s of another program, want nothing", got, name)
		}
	}
}

func TestSymbols(t *testing.T) {
	c := start(t, nil)
	c.open("orders.yaml", orders+"  - if: ${doc.a}\n    then:\n      - log: hi\n---\nfunction: net\nparams: [a]\nreturns: ${a}\n---\nprocess: half\nsteps:\n  - call: sho")
	var got []lsp.DocumentSymbol
	c.call("textDocument/documentSymbol", map[string]any{"textDocument": map[string]any{"uri": c.uri("orders.yaml")}}, &got)
	var names []string
	var list func(prefix string, all []lsp.DocumentSymbol)
	list = func(prefix string, all []lsp.DocumentSymbol) {
		for _, s := range all {
			names = append(names, fmt.Sprintf("%s%s|%s", prefix, s.Name, s.Detail))
			list(prefix+" ", s.Children)
		}
	}
	list("", got)
	want := "orders|process\n order|call shop.get\n call|erp.post\n if|${doc.a}\n  log|hi\nnet|function\nhalf|process\n call|sho"
	if text := strings.Join(names, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestProtocol checks the life cycle, unknown methods, cancellation and wrong parameters.
func TestProtocol(t *testing.T) {
	c := start(t, nil)
	code := func(err error) int64 {
		var e *jsonrpc2.Error
		if !errors.As(err, &e) {
			t.Fatalf("got %v, want an error of the protocol", err)
		}
		return e.Code
	}
	if got := code(c.try("textDocument/unheardOf", nil, nil)); got != jsonrpc2.CodeMethodNotFound {
		t.Errorf("got the code %d for an unknown method, want %d", got, jsonrpc2.CodeMethodNotFound)
	}
	if got := code(c.try("textDocument/documentSymbol", []int{1}, nil)); got != jsonrpc2.CodeInvalidParams {
		t.Errorf("got the code %d for wrong parameters, want %d", got, jsonrpc2.CodeInvalidParams)
	}
	c.notify("$/unheardOf", nil)
	c.notify("$/cancelRequest", map[string]any{"id": 12345})
	c.notify("textDocument/didChange", "nonsense")
	c.notify("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": "untitled:x"}})
	c.call("shutdown", nil, nil)
	if got := code(c.try("textDocument/documentSymbol", nil, nil)); got != jsonrpc2.CodeInvalidRequest {
		t.Errorf("got the code %d after the shutdown, want %d", got, jsonrpc2.CodeInvalidRequest)
	}
	c.notify("exit", nil)
	if !<-c.orderly {
		t.Error("got a disorderly end, want an orderly one")
	}
}

// TestClientVanishes checks that the server ends with its client.
func TestClientVanishes(t *testing.T) {
	c := start(t, map[string]string{"connections.yaml": connections})
	c.open("orders.yaml", orders)
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	if <-c.orderly {
		t.Error("got an orderly end, want a disorderly one")
	}
	var e *jsonrpc2.Error
	if err := c.try("shutdown", nil, nil); err == nil || errors.As(err, &e) || errors.Is(err, io.EOF) {
		t.Errorf("got %v, want a closed connection", err)
	}
}
