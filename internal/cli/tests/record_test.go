package tests

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"valence/internal/cli/terminal"
	"valence/internal/document"
	"valence/internal/mask"
	"valence/processes"
)

// TestRecord records a process that calls a server, and expects the test with
// the answers and without the secret.
func TestRecord(t *testing.T) {
	const secret = "s3cr3t-of-the-erp"
	var attempts, keys atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Key") != secret:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/busy" && attempts.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "try later")
		case r.URL.Path == "/busy":
			w.Header().Set("Content-Type", "application/xml")
			w.Header().Set("X-Total", "7")
			w.Header().Set("Server", "nginx")
			w.Header().Set("Path", "/busy")
			w.Header().Set("Set-Cookie", "session=1")
			fmt.Fprint(w, "<order><id>7</id></order>")
		default:
			if r.Header.Get("Idempotency-Key") != "" {
				keys.Add(1)
			}
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "key %s", base64.StdEncoding.EncodeToString([]byte("erp:"+secret)))
		}
	}))
	defer server.Close()
	t.Setenv("ERP_URL", server.URL)
	t.Setenv("ERP_KEY", secret)
	dir := t.TempDir()
	write(t, dir, "app.yaml", `
# yaml-language-server: $schema=schema.json
process: order
description: The server of the ERP
listen: { path: /orders, input: json, output: json, auth: none }
steps:
  - call: erp.get
    with: { path: /busy }
    retry: { max_attempts: 2, backoff: 10ms }
  - set: { total: '${response.headers["x-total"]}', id: "${doc.order.id}" }
  - call: erp.post
    with: { path: /orders }
    body: { id: "${vars.id}", total: "${vars.total}", key: "${input.key}" }
  - reply: { id: "${vars.id}", said: "${doc}" }
    status: 201
---
connection: erp
connector: http
idempotent: key
url: ${env.ERP_URL}
headers: { X-Key: "${secret.ERP_KEY}" }
`)
	out := record(t, dir, "an order", `{"key": "`+secret+`", "password": "abc"}`)
	want := `# Recorded from real calls. Values, secrets and credentials are placeholders.
test: an order
target: order
input: {key: secret.ERP_KEY, password: "[secret]"}
mocks:
  erp.get:
    - {status: 503, reply: {file: fixtures/an-order/erp.get-1.txt}}
    - {reply: {file: fixtures/an-order/erp.get-2.xml}, headers: {X-Total: "7"}}
  erp.post: {reply: {file: fixtures/an-order/erp.post-1.txt}}
expect:
  status: completed
  calls:
    - erp.get: {with: {path: /busy}}
    - erp.post: {with: {path: /orders}, body: {id: "7", total: "7", key: secret.ERP_KEY}}
  reply: {id: "7", said: "key ZXJwOn[secret]"}
  reply_status: 201
`
	if got := read(t, dir, "an-order.test.yaml"); got != want {
		t.Errorf("got\n%s\nwant\n%s\n%s", got, want, out)
	}
	if got, want := read(t, dir, "fixtures/an-order/erp.get-2.xml"), "<order><id>7</id></order>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if text := read(t, name); strings.Contains(text, secret) || strings.Contains(text, "session") || strings.Contains(text, "127.0.0.1") {
				t.Errorf("got a secret, a cookie or an address in %s:\n%s", name, text)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := attempts.Load(); got != 2 {
		t.Errorf("got %d attempts, want 2", got)
	}
	if got := keys.Load(); got != 1 {
		t.Errorf("got %d calls with an idempotency key, want 1", got)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func record(t *testing.T, dir, name, doc string) string {
	t.Helper()
	var out strings.Builder
	c := &Command{Paths: []string{dir}, Format: "text"}
	c.Record, c.Document, c.Data = name, doc, filepath.Join(dir, "data")
	s := &terminal.Streams{In: strings.NewReader(""), Out: terminal.NewWriter(&out), Err: terminal.NewWriter(&out)}
	if err := c.Run(s); err != nil {
		t.Fatalf("got %v, want a recording:\n%s", err, out.String())
	}
	return out.String()
}

// TestRecordRedacts records values that the process redacts and credentials of
// all kinds, in each format. None is in a file.
func TestRecordRedacts(t *testing.T) {
	const card, login = "4111-2222-3333", "hunter2"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]string{
			"/json": `{"card":{"number":"` + card + `"},"tokens":3,"credentials":{"user":["` + login + `"],"on":true},"password":["` + login + `"]}`,
			"/xml":  `<card><number>` + card + `</number><pwd>` + login + `</pwd></card>`,
			"/csv":  "id,apiToken\n1," + login + "\n",
			"/text": "id=1 passphrase=" + login + "&x=2\nAuthorization: Bearer " + login + "\n",
		}[r.URL.Path]
		w.Header().Set("Content-Type", map[string]string{"/json": "application/json", "/xml": "application/xml", "/csv": "text/csv", "/text": "text/plain"}[r.URL.Path])
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusConflict)
			answer = `{"card":{"number":"` + card + `"}}`
		}
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	t.Setenv("ERP_URL", server.URL)
	const app = `
process: order
listen: { path: /orders, input: FORMAT, output: json, auth: none }
redact: [card.number]
steps:
  - call: erp.post
    with: { path: /json, query: { of: "${doc.card.number}" } }
    body: { card: { number: "${doc.card.number}" }, other: "${doc.card.number}", id: "${doc.card.id}" }
  - set: { number: "${doc.card.number}" }
  - call: erp.get
    with: { path: /xml }
  - call: erp.get
    with: { path: /csv }
  - call: erp.get
    with: { path: /text }
  - try:
      - call: erp.get
        with: { path: /fail }
    catch:
      - log: failed
  - reply: { card: { number: "${vars.number}" }, said: "${vars.number}" }
---
connection: erp
connector: http
url: ${env.ERP_URL}
`
	for format, input := range map[string]string{
		"json": `{"card":{"number":"` + card + `","id":"7"},"userToken":["` + login + `"]}`,
		"xml":  `<card><number>` + card + `</number><id>7</id><password>` + login + `</password></card>`,
	} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "app.yaml", strings.Replace(app, "FORMAT", format, 1))
			write(t, dir, "in."+format, input)
			out := record(t, dir, "an order", "@"+filepath.Join(dir, "in."+format))
			if err := os.Remove(filepath.Join(dir, "in."+format)); err != nil {
				t.Fatal(err)
			}
			all := ""
			if err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
				if err == nil && !d.IsDir() && !strings.HasSuffix(name, "app.yaml") {
					all += "-- " + name + "\n" + read(t, name)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			for _, hidden := range []string{card, login} {
				if strings.Contains(all, hidden) {
					t.Errorf("got %s in\n%s", hidden, all)
				}
			}
			for _, want := range []string{`body: {card: {number: "[redacted]"}, other: "[redacted]", id: "7"}`, `query: {of: "[redacted]"}`, `said: "[redacted]"`, "tokens: 3", "id=1 passphrase=[secret]&x=2", `"id,apiToken\r\n1,[secret]\r\n"`} {
				if !strings.Contains(all, want) {
					t.Errorf("got\n%s\nwant %s\n%s", all, want, out)
				}
			}
		})
	}
}

// TestRecordOfAnotherWay records a process that goes another way without the
// redacted value: the test fails, and does not have the value.
func TestRecordOfAnotherWay(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer server.Close()
	t.Setenv("ERP_URL", server.URL)
	dir := t.TempDir()
	write(t, dir, "app.yaml", `
process: order
listen: { path: /orders, input: json, output: json, auth: none }
redact: [card.number]
steps:
  - if: ${doc.card.number == "4111-2222"}
    then:
      - call: erp.post
        with: { path: /a }
        body: { of: "${doc.card.number}" }
  - reply: { done: true }
---
connection: erp
connector: http
url: ${env.ERP_URL}
`)
	var out strings.Builder
	c := &Command{Paths: []string{dir}, Format: "text"}
	c.Record, c.Document, c.Data = "an order", `{"card":{"number":"4111-2222"}}`, filepath.Join(dir, "data")
	s := &terminal.Streams{In: strings.NewReader(""), Out: terminal.NewWriter(&out), Err: terminal.NewWriter(&out)}
	if err := c.Run(s); err == nil {
		t.Errorf("got a test that passes, want one that fails:\n%s", out.String())
	}
	got := read(t, dir, "an-order.test.yaml")
	if strings.Contains(got, "4111") || !strings.Contains(got, "- erp.post\n") {
		t.Errorf("got\n%s\nwant the call without its body", got)
	}
}

// TestRecordWarns records runs without success: the tests are written, with a
// warning that names the status and why.
func TestRecordWarns(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // it is down
	t.Setenv("ERP_URL", server.URL)
	dir := t.TempDir()
	write(t, dir, "app.yaml", `
process: order
listen: { path: /orders, input: json, output: json, auth: none }
profile: order
steps:
  - call: erp.get
    with: { path: /a }
    retry: { max_attempts: 1 }
  - reply: { done: true }
---
profile: order
schema: { type: object, properties: { id: { type: string } } }
---
connection: erp
connector: http
url: ${env.ERP_URL}
`)
	for _, c := range []struct{ name, doc, want string }{
		{"down", `{"id":"7"}`, "warning: the test expects the status failed: "},
		{"bad", `{"id":7}`, "warning: the test expects the status rejected: "},
	} {
		out := record(t, dir, c.name, c.doc)
		if _, why, found := strings.Cut(out, c.want); !found || strings.HasPrefix(why, "\n") {
			t.Errorf("%s: got\n%s\nwant %s and why", c.name, out, c.want)
		}
		read(t, dir, c.name+".test.yaml")
	}
}

func TestNamesHeader(t *testing.T) {
	for _, c := range []struct {
		text, name string
		want       bool
	}{
		{"a: 1 # ${response.headers.Server}", "Server", false},
		{"a: ${doc.server}", "Server", false},
		{"a: the server ${response.headers.total}", "Server", false},
		{"a: ${response.headers.server_id}", "Server", false},
		{"a: '${ {\"k\": response.headers[\"x-total\"]} } text'", "X-Total", true},
		{"function: total\nparams: [h]\nreturns: '${h[\"x-total\"]}'", "X-Total", true},
		{"a: [{b: 'x ${env.A} ${response.headers.x_total}'}]", "X-Total", true},
		{"a: 1\n---\nb: \"${response?.headers?.[\\\"X-Total\\\"]}\"", "X-Total", true},
	} {
		if got := namesHeader(expressionsOf([]processes.File{{Name: "a.yaml", Content: []byte(c.text)}}), c.name); got != c.want {
			t.Errorf("%s in %s: got %v, want %v", c.name, c.text, got, c.want)
		}
	}
}

func TestSettled(t *testing.T) {
	for _, c := range []struct{ name, real, mock, want, leftOut string }{
		{"equal values are expected", `{"a":1,"b":["x"]}`, `{"a":1,"b":["x"]}`, `{"a":1,"b":["x"]}`, ""},
		{"values of this machine are placeholders", `{"url":"https://erp.example/x"}`, `{"url":"env.URL/x"}`, `{"url":"env.URL/x"}`, ""},
		{"a list is compared as a whole", `[{"a":1,"t":1},2]`, `[{"a":1,"t":2},3]`, ``, "at[0].t changes with each run, at[1] changes with each run"},
		{"lists of other lengths are left out", `{"a":[1]}`, `{"a":[1,2]}`, ``, "at.a changes with each run"},
		{"credentials are left out", `{"access_token":"t","to":1}`, `{"access_token":"t","to":1}`, `{"to":1}`, "at.access_token is a credential"},
		{"a redacted value is left out", `{"a":"[redacted]","b":"[redacted]"}`, `{"a":"x","b":"[redacted]"}`, `{"b":"[redacted]"}`, "at.a is redacted"},
		{"an author is no credential", `{"author":"a","tokens":3}`, `{"author":"a","tokens":3}`, `{"author":"a","tokens":3}`, ""},
		{"a field of one run only is left out", `{}`, `{"a":1}`, ``, "at.a is missing in the run with mocks, or in the recording"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &hider{masks: &mask.Set{}, placeholders: []string{"env.URL"}, parts: strings.NewReplacer("https://erp.example", "env.URL")}
			s := &settled{hide: h}
			got := ""
			if v, ok := s.value("at", document.Parse(c.real), document.Parse(c.mock)); ok {
				got = string(document.AppendJSON(nil, v))
			}
			if left := strings.Join(s.leftOut, ", "); got != c.want || left != c.leftOut {
				t.Errorf("got %s without %q, want %s without %q", got, left, c.want, c.leftOut)
			}
		})
	}
}
