package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
	"valence/processes/loader"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// run starts an atom on a project and stops it when the test ends.
func run(t *testing.T, o Options, yaml string) *Server {
	t.Helper()
	files := []processes.File{{Name: "app.yaml", Content: []byte(yaml)}}
	o.Catalog = &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")}
	p, problems := loader.Load(files, o.Catalog)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	o.Web.Address, o.Admin.Address, o.Grace = "127.0.0.1:0", "127.0.0.1:0", time.Second
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(&Project{p, files}); err != nil {
		t.Fatal(s.StopAfter(err))
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

const leaky = `
connection: hook
connector: http
url: ${env.BASE}/hook/${secret.TOKEN}
headers: { X-Api-Key: "${secret.KEY}" }
auth: { scheme: basic, user: me, password: "${secret.PASSWORD}" }
---
connection: down
connector: http
url: http://127.0.0.1:1/hook/${secret.TOKEN}
---
process: echo
listen: { path: /echo, output: json, auth: none }
steps:
  - call: hook.post
    with: { path: /echo }
  - reply: { ok: true }
---
process: caught
listen: { path: /caught, output: json, auth: none }
steps:
  - try:
      - call: ${doc.connection}.post
        with: { path: /fail }
    catch:
      - reply: { message: "${error.message}", body: "${error.body}" }
  - reply: {}
---
process: fails
listen: { path: /fails, output: json, auth: none }
steps:
  - call: hook.post
    with: { path: /fail }
  - reply: {}
---
process: later
listen: { path: /later, auth: none }
retry: { max_attempts: 1 }
steps:
  - call: down.post
    with: { path: /x }
`

// TestSecretsDoNotLeave checks that no message, record, log or answer contains
// a secret, although a destination echoes whatever it receives.
func TestSecretsDoNotLeave(t *testing.T) {
	secrets := map[string]string{"TOKEN": "tok/en+4711 xyz", "KEY": "key-0123456789abcdef", "PASSWORD": "pass word 8/15"}
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	destination := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/fail") {
			w.WriteHeader(http.StatusBadRequest)
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, "path": r.URL.Path, "raw": r.URL.EscapedPath()}); err != nil {
			t.Error(err)
		}
	}))
	defer destination.Close()
	t.Setenv("BASE", destination.URL)
	var log buffer
	data := t.TempDir()
	s := run(t, Options{Data: data, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, strings.ReplaceAll(leaky, "${doc.connection}", "hook"))

	texts := map[string]string{}
	do := func(name, method, target, body string) string {
		t.Helper()
		r, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+s.AdminToken())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
		return string(text)
	}
	listen, admin := s.Address().Listen, s.Address().Admin
	for _, path := range []string{"/echo", "/caught", "/fails", "/later"} {
		do("caller of "+path, http.MethodPost, listen+path, `{}`)
	}
	for i := 0; !strings.Contains(do("failed", http.MethodGet, admin+"/api/v1/failed", ""), `"later"`); i++ {
		if i == 500 {
			t.Fatal("the execution of later did not fail")
		}
		<-time.After(10 * time.Millisecond)
	}
	do("groups", http.MethodGet, admin+"/api/v1/failed/groups", "")
	do("connections", http.MethodGet, admin+"/api/v1/connections", "")
	do("metrics", http.MethodGet, admin+"/metrics", "")
	var list struct {
		Executions []struct{ Execution, Process string }
	}
	for i := 0; len(list.Executions) < 4; i++ {
		if i == 500 {
			t.Fatalf("got %d executions, want 4", len(list.Executions))
		}
		<-time.After(10 * time.Millisecond)
		if err := json.Unmarshal([]byte(do("executions", http.MethodGet, admin+"/api/v1/executions", "")), &list); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range list.Executions {
		do("record of "+x.Process, http.MethodGet, admin+"/api/v1/executions/"+x.Execution, "")
	}
	texts["log"] = log.String()
	if err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		texts[path] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		for secret, value := range secrets {
			for _, form := range []string{value, url.PathEscape(value), url.QueryEscape(value), base64.StdEncoding.EncodeToString([]byte(value))[:12], base64.StdEncoding.EncodeToString([]byte("me:" + value))[4:16]} {
				if strings.Contains(text, form) {
					t.Errorf("%s contains the secret %s as %q", name, secret, form)
				}
			}
		}
	}
	if got := texts["record of echo"]; !strings.Contains(got, "[secret]") {
		t.Errorf("record of echo: got %s, want the echo masked", got)
	}
	if got := texts["caller of /caught"]; !strings.Contains(got, "hook.post: POST /fail returned 400") {
		t.Errorf("caught: got %s, want the names of the connection and the operation", got)
	}
}
