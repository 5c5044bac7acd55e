package editor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sourcegraph/jsonrpc2"

	"valence/internal/cli/project"
	"valence/internal/lsp"
)

// client is an editor with one workspace folder.
type client struct {
	t       *testing.T
	dir     string
	conn    *jsonrpc2.Conn
	in      io.Closer
	orderly chan bool

	mu       sync.Mutex
	problems map[string][]lsp.Diagnostic // by file name
	versions map[string]int              // of the latest diagnostics
	changed  chan struct{}               // closed and replaced with each message
	texts    map[string]string
	version  int
}

// start starts a server on a folder with files, and initializes it.
func start(t *testing.T, files map[string]string) *client {
	t.Helper()
	return startWith(t, files, func(*lsp.Server) {}, nil)
}

// startWith is start with a server that is set up, and with initialization options.
func startWith(t *testing.T, files map[string]string, setUp func(*lsp.Server), options any) *client {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, dir: dir, orderly: make(chan bool, 1), problems: map[string][]lsp.Diagnostic{}, versions: map[string]int{}, changed: make(chan struct{}), texts: map[string]string{}}
	for name, text := range files {
		c.write(name, text)
	}
	fromClient, toServer := io.Pipe()
	fromServer, toClient := io.Pipe()
	c.in = toServer
	server := lsp.New(project.Catalog(), "test")
	setUp(server)
	go func() {
		c.orderly <- server.Run(context.Background(), fromClient, toClient)
		_ = toClient.Close()
	}()
	c.conn = jsonrpc2.NewConn(context.Background(), jsonrpc2.NewBufferedStream(joined{fromServer, toServer}, jsonrpc2.VSCodeObjectCodec{}), jsonrpc2.HandlerWithError(c.handle))
	t.Cleanup(func() { _ = c.conn.Close() }) // a test may have closed it
	c.call("initialize", map[string]any{"workspaceFolders": []any{map[string]any{"uri": c.uri(""), "name": "test"}}, "capabilities": map[string]any{}, "initializationOptions": options}, nil)
	c.notify("initialized", map[string]any{})
	return c
}

// joined is the client's end of two pipes.
type joined struct {
	io.Reader
	io.WriteCloser
}

func (c *client) handle(_ context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) (any, error) {
	if r.Method != "textDocument/publishDiagnostics" {
		return nil, nil
	}
	var p struct {
		URI         string
		Version     int
		Diagnostics []lsp.Diagnostic
	}
	if err := json.Unmarshal(*r.Params, &p); err != nil {
		return nil, err
	}
	u, err := url.Parse(p.URI)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Rel(c.dir, u.Path)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems[name], c.versions[name] = p.Diagnostics, p.Version
	close(c.changed)
	c.changed = make(chan struct{})
	return nil, nil
}

func (c *client) uri(name string) string {
	return (&url.URL{Scheme: "file", Path: filepath.Join(c.dir, name)}).String()
}

func (c *client) write(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		c.t.Fatal(err)
	}
}

// call makes a request that must succeed.
func (c *client) call(method string, params, result any) {
	c.t.Helper()
	if err := c.try(method, params, result); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

func (c *client) try(method string, params, result any) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	return c.conn.Call(ctx, method, params, result)
}

func (c *client) notify(method string, params any) {
	c.t.Helper()
	if err := c.conn.Notify(c.t.Context(), method, params); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// open opens a file with a text that may differ from the one on disk.
func (c *client) open(name, text string) {
	c.t.Helper()
	c.version++
	c.texts[name] = text
	c.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": c.uri(name), "languageId": "yaml", "version": c.version, "text": text}})
}

// edit replaces the first occurrence of a part of an open file, as one change.
func (c *client) edit(name, old, with string) {
	c.t.Helper()
	text := c.texts[name]
	i := strings.Index(text, old)
	if i < 0 {
		c.t.Fatalf("%s has no %q", name, old)
	}
	c.version++
	c.texts[name] = text[:i] + with + text[i+len(old):]
	c.notify("textDocument/didChange", map[string]any{
		"textDocument":   map[string]any{"uri": c.uri(name), "version": c.version},
		"contentChanges": []any{map[string]any{"range": map[string]any{"start": at(text, i), "end": at(text, i+len(old))}, "text": with}},
	})
}

// at returns the position of a byte offset, in UTF-16 code units.
func at(text string, offset int) map[string]any {
	before := text[:offset]
	line := strings.LastIndex(before, "\n") + 1
	units := 0
	for _, r := range before[line:] {
		units++
		if r >= 0x10000 {
			units++
		}
	}
	return map[string]any{"line": strings.Count(before, "\n"), "character": units}
}

// diagnostics waits for the diagnostics of the current version of a file.
func (c *client) diagnostics(name string) []lsp.Diagnostic {
	c.t.Helper()
	return c.until(name, func([]lsp.Diagnostic, int) bool { return c.versions[name] == c.version })
}

// until waits until the diagnostics of a file satisfy a condition.
func (c *client) until(name string, ok func(list []lsp.Diagnostic, version int) bool) []lsp.Diagnostic {
	c.t.Helper()
	deadline := time.After(time.Minute)
	for {
		c.mu.Lock()
		list, version, changed := c.problems[name], c.versions[name], c.changed
		fine := ok(list, version)
		c.mu.Unlock()
		if fine {
			return list
		}
		select {
		case <-changed:
		case <-deadline:
			c.t.Fatalf("%s: got %v after a minute, want other diagnostics", name, list)
		}
	}
}

// cut returns a text without its marker ‸, and the position of the marker.
func cut(t *testing.T, text string) (string, map[string]any) {
	t.Helper()
	before, after, ok := strings.Cut(text, "‸")
	if !ok {
		t.Fatalf("got no marker in %q", text)
	}
	return before + after, at(before+after, len(before))
}
