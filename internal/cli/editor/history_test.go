package editor

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/admin"
	"valence/atom/server"
	atomclient "valence/internal/cli/client"
	"valence/internal/cli/project"
	"valence/internal/datafolder"
	"valence/internal/lsp"
	"valence/processes"
	"valence/processes/loader"
)

const priced = `process: price
steps:
  - map: { total: "${doc.net * 2}", key: "${doc.key}" }
  - set: { half: "${doc.total / 2}" }
  - log: ${doc.key}
  - if: ${doc.total > 10}
    then:
      - map: { sum: "${doc.total}" }
      - log: ${doc.sum} ${input.net} ${vars.half} ${doc.other ?? 0}
  - log: ${doc.after ?? doc.sum}
---
test: t
target: price
input: { net: 3.10, other: 1 }
---
connection: shop
connector: http
url: http://127.0.0.1:1
headers: { X-Key: "${secret.SHOP_KEY}" }
`

// hover returns the description of the name before a mark.
func (c *client) hover(name, text string) string {
	c.t.Helper()
	text, position := cut(c.t, text)
	c.open(name, text)
	var got lsp.Hover
	c.call("textDocument/hover", map[string]any{"textDocument": map[string]any{"uri": c.uri(name)}, "position": position}, &got)
	if got.Contents == nil {
		return ""
	}
	return got.Contents.Value
}

// marked puts the mark into the last occurrence of a part of the process.
func pricedAt(part string) string {
	i := strings.LastIndex(priced, part) + len(part) - 1
	return priced[:i] + "‸" + priced[i:]
}

// TestRecordedValues shows values of an execution of a running atom.
func TestRecordedValues(t *testing.T) {
	const secret = "a-secret-of-the-shop"
	t.Setenv("SHOP_KEY", secret)
	files := []processes.File{{Name: "p.yaml", Content: []byte(priced)}}
	p, problems := loader.Load(files, project.Catalog())
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	data := filepath.Join(t.TempDir(), "data")
	atom, err := server.Open(server.Options{Data: data, Admin: server.AdminOptions{Address: "127.0.0.1:0"}, Grace: time.Second,
		Version: "test", Catalog: project.Catalog(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := atom.Start(&server.Project{Project: p, Files: files}); err != nil {
		t.Fatal(atom.StopAfter(err))
	}
	t.Cleanup(func() { _ = atom.StopAfter(nil) }) // the test has ended
	api := atomclient.NewAtom(atom.Address().Admin, atom.AdminToken())
	text, err := api.Call(t.Context(), http.MethodPost, "/processes/price/executions", map[string]any{"document": map[string]any{"net": 21, "key": secret}})
	if err != nil {
		t.Fatal(err)
	}
	var receipt struct{ Execution string }
	if err := json.Unmarshal(text, &receipt); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		text, err := api.Call(t.Context(), http.MethodGet, "/executions/"+receipt.Execution, nil)
		if err != nil {
			t.Fatal(err)
		}
		var x struct{ Status string }
		if err := json.Unmarshal(text, &x); err != nil {
			t.Fatal(err)
		}
		if x.Status == "completed" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %s, want a completed execution", text)
		}
	}
	cmd := &Command{}
	cmd.Data = "no-such-folder"
	c := startWith(t, map[string]string{"p.yaml": priced}, func(s *lsp.Server) { s.Read(cmd.history, lsp.Atom{Data: "nowhere"}) },
		map[string]any{"data": data})
	for part, want := range map[string]string{
		"${doc.net": "`21`", "${doc.total": "`42`", "${doc.sum": "`42`", "${input.net": "`21`", "${vars.half": "`21`", "${doc.key": "`\"[secret]\"`",
	} {
		got := ""
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && !strings.Contains(got, "Last recorded value"); {
			got = c.hover("p.yaml", pricedAt(part)) // the first answers may come before the history
		}
		if !strings.Contains(got, "Last recorded value: "+want+" (execution "+receipt.Execution+", ") {
			t.Errorf("%s: got %q, want %s of %s", part, got, want, receipt.Execution)
		}
	}
	for _, part := range []string{"${doc.other", "doc.sum}"} {
		if got := c.hover("p.yaml", pricedAt(part)); strings.Contains(got, "Last recorded") {
			t.Errorf("%s: got %q, want no value: it was not recorded, or a step of a list may have made it", part, got)
		}
	}
}

// TestFixtureValues shows values of tests, without waiting for an atom that does
// not answer.
func TestFixtureValues(t *testing.T) {
	began := make(chan struct{}, 1)
	release := make(chan struct{})
	history := func(ctx context.Context, _ lsp.Atom, _ string) (*lsp.Execution, error) {
		began <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return &lsp.Execution{ID: "x1", Input: json.RawMessage(`{"net":5}`)}, nil
	}
	c := startWith(t, map[string]string{"p.yaml": priced}, func(s *lsp.Server) { s.Read(history, lsp.Atom{}) }, nil)
	start := time.Now()
	got := c.hover("p.yaml", pricedAt("${doc.net"))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("got an answer after %s, want one within 2s", took)
	}
	if !strings.Contains(got, "Value in a test: `3.10`") {
		t.Errorf("got %q, want the value of the test", got)
	}
	<-began
	close(release)
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(got, "Last recorded value: `5`"); {
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want the recorded value", got)
		}
		got = c.hover("p.yaml", pricedAt("${doc.net"))
	}
}

// TestHistoryTrustsNoDataFolder reads the history of data folders that could be
// those of a hostile workspace.
func TestHistoryTrustsNoDataFolder(t *testing.T) {
	const secret, local = "token-of-the-user-0123456789abcdef", "token-of-the-folder-0123456789abcdef"
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VALENCE_TOKEN", secret)
	for _, test := range []struct {
		name, host, want string
		explicit         bool
	}{
		{name: "an address elsewhere", host: "hostile.example"},
		{name: "a name below localhost", host: "localhost.hostile.example"},
		{name: "all addresses", host: "0.0.0.0"},
		{name: "an address of this machine", host: "127.0.0.1", want: local},
		{name: "an address of the user", host: "hostile.example", explicit: true, want: secret},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				_, _ = io.WriteString(w, `{"executions":[]}`) // the client reports a failure
			}))
			defer server.Close()
			data := t.TempDir()
			address := strings.Replace(server.URL, "127.0.0.1", test.host, 1)
			if err := (datafolder.AtomAddress{Admin: address}).Write(data); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(data, admin.TokenFile), []byte(local), 0o600); err != nil {
				t.Fatal(err)
			}
			of, cmd := lsp.Atom{Data: data}, &Command{}
			if test.explicit {
				of.Admin = server.URL
			} else {
				cmd.TokenFile = tokenFile
			}
			_, err := cmd.history(t.Context(), of, "price")
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got the token %q and %v, want %q", got, err, test.want)
			}
		})
	}
}
