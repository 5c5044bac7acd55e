package http

import (
	"io"
	nethttp "net/http"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"valence/internal/document"
)

func TestDecode(t *testing.T) {
	const bom = "\xef\xbb\xbf"
	tests := []struct {
		body, kind, as string
		data           string // the data view
		media          string // the document's media type
	}{
		{`{"a":0.10,"n":12345678901234567890}`, "application/json", "", `{"a":0.10,"n":12345678901234567890}`, "application/json"},
		{`[1]`, "application/json; charset=utf-8", "", `[1]`, "application/json"},
		{`[1]`, `Application/JSON;charset="UTF8"`, "", `[1]`, "application/json"},
		{bom + `[1]`, "application/json", "", `[1]`, "application/json"},
		{`{"status":1}`, "application/problem+json", "", `{"status":1}`, "application/json"},
		{`[1]`, "text/json", "", `[1]`, "application/json"},
		{`[1]`, "text/html", "json", `[1]`, "application/json"},
		{`[1]`, "", "json", `[1]`, "application/json"},
		{`<a b="1">x</a>`, "application/xml", "", `{"a":{"@b":"1","#text":"x"}}`, "application/xml"},
		{`<a>x</a>`, "application/soap+xml; charset=utf-8", "", `{"a":"x"}`, "application/soap+xml; charset=utf-8"},
		{`<a>x</a>`, "text/plain", "xml", `{"a":"x"}`, "application/xml"},
		{"a,b\n1,2\n", "text/csv", "", `"a,b\n1,2\n"`, "text/csv"},
		{"grüße", "text/plain; charset=utf-8", "", `"grüße"`, "text/plain; charset=utf-8"},
		{bom + "x", "text/plain", "", `"x"`, "text/plain"},
		{"gr\xfc\xdfe", "text/plain; charset=ISO-8859-1", "", `"grüße"`, "text/plain; charset=utf-8"},
		{"gr\xfc\xdfe \x80", "text/plain; charset=windows-1252", "", `"grüße €"`, "text/plain; charset=utf-8"},
		{"\xd2\xc5\xd3\xd4", "text/html; charset=koi8-r", "", `"рест"`, "text/html; charset=utf-8"},
		{"[\"\xfc\"]", "application/json; charset=iso-8859-1", "", `["ü"]`, "application/json"},
		{"<a>\xfc</a>", "text/xml; charset=iso-8859-1", "", `{"a":"ü"}`, "text/xml; charset=utf-8"},
		{"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>ü</a>", "text/xml; charset=utf-8", "", `{"a":"ü"}`, "text/xml; charset=utf-8"},
		{"a=%FC", "application/x-www-form-urlencoded; charset=windows-1252", "", `{"a":"ü"}`, "application/x-www-form-urlencoded; charset=windows-1252"},
		{"gr\xfc\xdfe", "text/plain", "binary", ``, "text/plain"},
		{"x", "", "text", `"x"`, "text/plain; charset=utf-8"},
		{"a=1&b=2", "application/x-www-form-urlencoded", "", `{"a":"1","b":"2"}`, "application/x-www-form-urlencoded"},
		{"\x00\xff", "image/png", "", ``, "image/png"},
		{"x", "", "", ``, octets},
		{"x", "nonsense;;;", "", ``, "nonsense;;;"},
		{`{"a":1}`, "application/json", "binary", ``, "application/json"},
	}
	for _, test := range tests {
		d, f := (&with{Response: test.as}).decode(t.Context(), []byte(test.body), test.kind, "GET x")
		if f != nil {
			t.Errorf("%q as %q: got %v, want no failure", test.body, test.kind, f)
			continue
		}
		if d.Data() != test.data || d.MediaType() != test.media || !utf8.Valid(d.Body()) && test.as != "binary" && test.media != "image/png" {
			t.Errorf("%q as %q: got data %q, media type %q, body %q, want data %q, media type %q", test.body, test.kind, d.Data(), d.MediaType(), d.Body(), test.data, test.media)
		}
	}
	for _, test := range []struct{ body, kind, as, charset, want string }{
		{"gr\xfc\xdfe", "text/plain", "", "", "GET x: the response is not valid TEXT: line 1, column 3: invalid UTF-8 byte 0xfc"},
		{"gr\xfc\xdfe", "text/plain; charset=utf-8", "", "windows-1252", "GET x: the response is not valid TEXT: line 1, column 3: invalid UTF-8 byte 0xfc"},
		{"[\"\xfc\"]", "application/json", "", "", "GET x: the response is not valid JSON: line 1, column 3 (/0): invalid UTF-8 byte 0xfc"},
		{"x", "text/plain; charset=klingon", "", "", "GET x: the response is not valid TEXT: the charset klingon is not supported"},
		{"ab\n\x81\x20", "text/plain; charset=shift_jis", "", "", "GET x: the response is not valid TEXT: line 2, column 1: byte 0x81 is not valid shift_jis"},
	} {
		if d, f := (&with{Response: test.as, Charset: test.charset}).decode(t.Context(), []byte(test.body), test.kind, "GET x"); f == nil || f.Message != test.want {
			t.Errorf("%q as %q: got %v, %v, want %s", test.body, test.kind, d, f, test.want)
		}
	}
	if d, f := (&with{Charset: "windows-1252"}).decode(t.Context(), []byte("gr\xfc\xdfe"), "text/plain", "GET x"); f != nil || d.Data() != `"grüße"` {
		t.Errorf("default charset: got %v, %v, want grüße", d, f)
	}
	for _, kind := range []string{"application/json", "application/xml", "text/plain", ""} {
		if d, f := (&with{}).decode(t.Context(), nil, kind, "GET x"); f != nil || d != document.Empty {
			t.Errorf("nothing as %q: got %v %v, want the empty document", kind, d, f)
		}
	}
}

func TestGzip(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Method != nethttp.MethodHead && r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s: got Accept-Encoding %q, want gzip", r.Method, r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", r.URL.Query().Get("as"))
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(nethttp.StatusCreated)
		case "/error":
			w.WriteHeader(nethttp.StatusConflict)
			_, _ = io.WriteString(w, packed("taken"))
		case "/plain":
			_, _ = io.WriteString(w, "{}")
		default:
			_, _ = io.WriteString(w, packed(`{"a":1}`))
		}
	})
	c := connect(t, defaults(url))
	for path, want := range map[string]string{"/?as=gzip": `{"a":1}`, "/?as=X-GZip": `{"a":1}`, "/empty?as=gzip": "null", "/plain?as=identity": "{}"} {
		r, err := c.do(t.Context(), call("get", &with{Path: path}, nil))
		if err != nil || r.Doc.Data() != want {
			t.Errorf("%s: got %v %v, want %s", path, r, err, want)
		}
	}
	_, err := c.do(t.Context(), call("get", &with{Path: "/error?as=gzip"}, nil))
	if f := failure(t, err); f.Status != 409 || string(f.Body) != "taken" {
		t.Errorf("got %+v, want status 409 with its body", f)
	}
	if _, err := c.do(t.Context(), call("head", &with{Path: "/?as=gzip"}, nil)); err != nil {
		t.Errorf("HEAD: got %v, want nil", err)
	}
}

// TestPython calls an independent HTTP server.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Logf("not run: no python3 on this machine")
		return
	}
	dir := t.TempDir()
	server := exec.CommandContext(t.Context(), python, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", dir)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(line[:n]), "port ")
	port, _, _ := strings.Cut(rest, " ")
	writeFile(t, dir, "order 1.json", `{"id":1}`)
	c := connect(t, defaults("http://127.0.0.1:"+port))
	for range 3 {
		r, err := c.do(t.Context(), call("get", &with{Path: "/order 1.json"}, nil))
		if err != nil || r.Doc.Data() != `{"id":1}` {
			t.Fatalf("got %v %v, want {\"id\":1}", r, err)
		}
	}
	_, err = c.do(t.Context(), call("get", &with{Path: "/none"}, nil))
	if f := failure(t, err); f.Status != 404 {
		t.Errorf("got %+v, want status 404", f)
	}
	_, err = c.do(t.Context(), call("post", &with{Path: "/order"}, document.FromText("x")))
	if f := failure(t, err); f.Status != 501 || f.Retryable {
		t.Errorf("got %+v, want status 501, not retryable", f)
	}
}
