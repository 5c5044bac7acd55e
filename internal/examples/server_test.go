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
)

// languageServer is the language server for YAML that editors use, driven
// over its standard input and output (Language Server Protocol 3.17).
type languageServer struct {
	t     *testing.T
	in    io.WriteCloser
	out   *textproto.Reader
	notes *output
	next  int
	// schemas is the setting `yaml.schemas` of an editor: files by schema.
	schemas map[string]string
}

// message is a request, which has an id and a method, a notification, which
// has a method alone, or an answer, which has an id alone.
type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  any             `json:"result,omitempty"`
}

// incoming is a message whose parameters are still to be read.
type incoming struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Error  json.RawMessage
}

// diagnostic is a line that an editor underlines.
type diagnostic struct {
	Line    int // from 1
	Message string
}

// startLanguageServer installs the server, where it is not yet, and starts it.
func startLanguageServer(t *testing.T, schemas map[string]string) *languageServer {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is needed to run the language server for YAML, and is not here: `make setup` installs it where it may; otherwise install Node.js 18 or newer with npm", program)
		}
	}
	cmd := exec.Command("node", filepath.Join(installLanguageServer(t), "node_modules", "yaml-language-server", "bin", "yaml-language-server"), "--stdio")
	s := &languageServer{t: t, notes: &output{}, schemas: schemas}
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

// installLanguageServer gives the folder that holds the server. The versions
// are fixed by package-lock.json, and what is installed is kept.
func installLanguageServer(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../.cache/languageserver")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.ReadFile("languageserver/package-lock.json")
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
		b, err := os.ReadFile(filepath.Join("languageserver", name))
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
		t.Fatalf("npm cannot install the language server for YAML: %v\n%s", err, out)
	}
	if err := os.WriteFile(done, lock, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// open does the handshake, and goes on until the server has asked for its
// settings: from then on it checks what is opened.
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

// check opens a file and gives what the server finds in it.
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
		s.t.Fatalf("the language server is gone: %v\n%s", err, s.notes)
	}
}

// wait reads messages, answering what the server asks, until one is found.
func (s *languageServer) wait(found func(*incoming) bool) {
	s.t.Helper()
	for {
		header, err := s.out.ReadMIMEHeader()
		if err != nil {
			s.t.Fatalf("the language server is gone: %v\n%s", err, s.notes)
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
			s.t.Fatalf("the language server answers %s", m.Error)
		}
		if m.Method != "" && m.ID != nil {
			s.answer(&m)
		}
		if found(&m) {
			return
		}
	}
}

// answer gives the server the settings it asks for; any other question of its
// gets an empty answer.
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
