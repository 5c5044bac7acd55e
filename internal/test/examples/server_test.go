package examples

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"valence/internal/test/program"
)

// languageServer is the YAML language server that editors use, driven over its
// standard input and output (Language Server Protocol 3.17).
type languageServer struct {
	t     *testing.T
	in    io.WriteCloser
	out   *textproto.Reader
	notes *program.Output
	next  int
	// schemas is the editor setting `yaml.schemas`: files by schema.
	schemas map[string]string
}

// message is a request (id and method), a notification (method only) or a
// response (id only).
type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  any             `json:"result,omitempty"`
}

// incoming is a received message whose parameters are not decoded yet.
type incoming struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Error  json.RawMessage
}

// diagnostic is a problem that an editor underlines.
type diagnostic struct {
	Line    int // from 1
	Message string
}

// startLanguageServer installs the server if necessary and starts it.
func startLanguageServer(t *testing.T, schemas map[string]string) *languageServer {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed, and the YAML language server needs it: run `make setup`, or install Node.js 18 or newer with npm", program)
		}
	}
	cmd := exec.Command("node", filepath.Join(installed(t, "languageserver", "the YAML language server"), "node_modules", "yaml-language-server", "bin", "yaml-language-server"), "--stdio")
	s := &languageServer{t: t, notes: &program.Output{}, schemas: schemas}
	cmd.Stderr = s.notes
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in, s.out = in, textproto.NewReader(bufio.NewReader(out))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	s.open()
	return s
}

// installed returns a folder with the packages that package-lock.json of a source
// folder fixes. An existing installation is reused.
func installed(t *testing.T, source, what string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("../../../.cache", filepath.Base(source)))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(dir, "installed")
	if have, err := os.ReadFile(done); err == nil && string(have) == string(lock) {
		return dir
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join(source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot install %s: %v\n%s", what, err, out)
	}
	if err := os.WriteFile(done, lock, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open does the handshake and waits until the server has requested its settings.
// From then on the server checks opened files.
func (s *languageServer) open() {
	s.t.Helper()
	s.request("initialize", map[string]any{
		"processId": nil, "rootUri": nil,
		"capabilities": map[string]any{"workspace": map[string]any{"configuration": true, "didChangeConfiguration": map[string]any{"dynamicRegistration": true}}},
	})
	s.wait(func(m *incoming) bool { return m.Method == "" })
	s.send(message{Method: "initialized", Params: map[string]any{}})
	s.wait(func(m *incoming) bool { return m.Method == "workspace/configuration" })
}

// check opens a file and returns the diagnostics of the server.
func (s *languageServer) check(file string) []diagnostic {
	s.t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	uri := (&url.URL{Scheme: "file", Path: path}).String()
	s.send(message{Method: "textDocument/didOpen", Params: map[string]any{
		"textDocument": map[string]any{"uri": uri, "languageId": "yaml", "version": 1, "text": string(text)},
	}})
	var published struct {
		URI         string
		Diagnostics []struct {
			Range   struct{ Start struct{ Line int } }
			Message string
		}
	}
	s.wait(func(m *incoming) bool {
		if m.Method != "textDocument/publishDiagnostics" {
			return false
		}
		if err := json.Unmarshal(m.Params, &published); err != nil {
			s.t.Fatal(err)
		}
		return published.URI == uri
	})
	var found []diagnostic
	for _, d := range published.Diagnostics {
		found = append(found, diagnostic{d.Range.Start.Line + 1, d.Message})
	}
	return found
}

func (s *languageServer) request(method string, params any) {
	s.t.Helper()
	s.next++
	s.send(message{ID: json.RawMessage(strconv.Itoa(s.next)), Method: method, Params: params})
}

func (s *languageServer) send(m message) {
	s.t.Helper()
	m.JSONRPC = "2.0"
	b, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(s.in, "Content-Length: %d\r\n\r\n%s", len(b), b); err != nil {
		s.t.Fatalf("the language server has ended: %v\n%s", err, s.notes)
	}
}

// wait reads messages and answers requests of the server until one matches.
func (s *languageServer) wait(found func(*incoming) bool) {
	s.t.Helper()
	for {
		header, err := s.out.ReadMIMEHeader()
		if err != nil {
			s.t.Fatalf("the language server has ended: %v\n%s", err, s.notes)
		}
		n, err := strconv.Atoi(header.Get("Content-Length"))
		if err != nil {
			s.t.Fatal(err)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(s.out.R, b); err != nil {
			s.t.Fatal(err)
		}
		var m incoming
		if err := json.Unmarshal(b, &m); err != nil {
			s.t.Fatal(err)
		}
		if m.Error != nil {
			s.t.Fatalf("language server: got %s, want nil Error", m.Error)
		}
		if m.Method != "" && m.ID != nil {
			s.answer(&m)
		}
		if found(&m) {
			return
		}
	}
}

// answer sends the settings that the server requests, and an empty result for any
// other request.
func (s *languageServer) answer(m *incoming) {
	s.t.Helper()
	reply := message{ID: m.ID, Result: map[string]any{}}
	if m.Method == "workspace/configuration" {
		var asked struct{ Items []struct{ Section string } }
		if err := json.Unmarshal(m.Params, &asked); err != nil {
			s.t.Fatal(err)
		}
		settings := make([]any, len(asked.Items))
		for i, item := range asked.Items {
			settings[i] = map[string]any{}
			if item.Section == "yaml" {
				settings[i] = map[string]any{"validate": true, "schemas": s.schemas, "schemaStore": map[string]any{"enable": false}}
			}
		}
		reply.Result = settings
	}
	s.send(reply)
}
