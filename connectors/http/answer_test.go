package http

import (
	"io"
	nethttp "net/http"
	"os/exec"
	"strings"
	"testing"

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
		{"gr\xfc\xdfe", "text/plain; charset=ISO-8859-1", "", `"grüße"`, "text/plain; charset=ISO-8859-1"},
		{"gr\xfc\xdfe", "text/plain", "", ``, "text/plain"},
		{"gr\xfc\xdfe", "text/plain; charset=utf-8", "", ``, "text/plain; charset=utf-8"},
		{"x", "text/plain; charset=koi8-r", "", ``, "text/plain; charset=koi8-r"},
		{"x", "", "text", `"x"`, "text/plain; charset=utf-8"},
		{"a=1&b=2", "application/x-www-form-urlencoded", "", `{"a":"1","b":"2"}`, "application/x-www-form-urlencoded"},
		{"\x00\xff", "image/png", "", ``, "image/png"},
		{"x", "", "", ``, octets},
		{"x", "nonsense;;;", "", ``, "nonsense;;;"},
		{`{"a":1}`, "application/json", "binary", ``, "application/json"},
	}
	for _, test := range tests {
		d, f := decode([]byte(test.body), test.kind, test.as, "GET x")
		if f != nil {
			t.Errorf("%q as %q: %v", test.body, test.kind, f)
			continue
		}
		if d.Data() != test.data || d.MediaType() != test.media || string(d.Body()) != strings.TrimPrefix(test.body, bom) && string(d.Body()) != test.body {
			t.Errorf("%q as %q: data %q, media type %q, body %q", test.body, test.kind, d.Data(), d.MediaType(), d.Body())
		}
	}
	for _, kind := range []string{"application/json", "application/xml", "text/plain", ""} {
		if d, f := decode(nil, kind, "", "GET x"); f != nil || d != document.Empty {
			t.Errorf("nothing as %q: %v %v", kind, d, f)
		}
	}
}

func TestReadAll(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100000, exact, exact + 1, exact + 100000} {
		text := strings.Repeat("x", size)
		for _, announced := range []int64{-1, int64(size)} {
			for _, limit := range []int64{int64(size), int64(size) + 1, 1 << 30} {
				b, err := readAll(strings.NewReader(text), announced, limit)
				if err != nil || string(b) != text {
					t.Errorf("%d bytes, announced %d, limit %d: %d bytes, %v", size, announced, limit, len(b), err)
				}
			}
			if size > 0 {
				if b, err := readAll(strings.NewReader(text), announced, int64(size)-1); err != errTooLarge || len(b) > size-1 {
					t.Errorf("%d bytes, announced %d, limit below: %d bytes, %v", size, announced, len(b), err)
				}
			}
		}
		if _, err := readAll(strings.NewReader(text), int64(size)+1, 1<<30); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes of %d: %v", size, size+1, err)
		}
	}
}

func TestGzip(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Method != nethttp.MethodHead && r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s: Accept-Encoding %q", r.Method, r.Header.Get("Accept-Encoding"))
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
		r, err := c.Call(t.Context(), call("get", &with{Path: path}, nil))
		if err != nil || r.Doc.Data() != want {
			t.Errorf("%s: %v %v", path, r, err)
		}
	}
	_, err := c.Call(t.Context(), call("get", &with{Path: "/error?as=gzip"}, nil))
	if f := failure(t, err); f.Status != 409 || string(f.Body) != "taken" {
		t.Errorf("%+v", f)
	}
	if _, err := c.Call(t.Context(), call("head", &with{Path: "/?as=gzip"}, nil)); err != nil {
		t.Error(err)
	}
}

// TestPython calls a server that nobody here wrote.
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
		r, err := c.Call(t.Context(), call("get", &with{Path: "/order 1.json"}, nil))
		if err != nil || r.Doc.Data() != `{"id":1}` {
			t.Fatalf("%v %v", r, err)
		}
	}
	_, err = c.Call(t.Context(), call("get", &with{Path: "/none"}, nil))
	if f := failure(t, err); f.Status != 404 {
		t.Errorf("%+v", f)
	}
	_, err = c.Call(t.Context(), call("post", &with{Path: "/order"}, document.FromText("x")))
	if f := failure(t, err); f.Status != 501 || f.Retryable {
		t.Errorf("%+v", f)
	}
}
