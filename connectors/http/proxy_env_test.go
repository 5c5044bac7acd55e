package http

import (
	"fmt"
	nethttp "net/http"
	"os"
	"os/exec"
	"testing"

	"valence/connectors"
	"valence/internal/document"
)

// TestProxyFromEnvironment runs itself in a separate process, because the
// environment variables are read only once.
func TestProxyFromEnvironment(t *testing.T) {
	if os.Getenv("HTTP_PROXY") != "" && os.Getenv("CHILD") != "" {
		c, err := Connector("1").Open(defaults("http://erp.example"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.(*connection).do(t.Context(), &testCall{operation: "put", with: &with{Path: "/a"}, Call: connectors.Call{Body: document.FromText("x")}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("GOT %s\n", r.Doc.Body())
		return
	}
	plain := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) { fmt.Fprint(w, r.Method, " ", r.Host, r.URL.Path) })
	proxy, used := proxyServer(t, plain, 200)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyFromEnvironment$", "-test.v")
	child.Env = append(os.Environ(), "CHILD=1", "HTTP_PROXY="+proxy, "NO_PROXY=")
	out, err := child.CombinedOutput()
	if err != nil || !contains(lines(string(out)), "GOT PUT erp.example/a") || used.Load() != 1 {
		t.Fatalf("got %v, %d requests to the proxy, want 1:\n%s", err, used.Load(), out)
	}
}
