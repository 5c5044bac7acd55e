package http

import (
	"net/url"
	"strings"
	"testing"

	"valence/internal/spec"
)

func TestJoin(t *testing.T) {
	q := []spec.KV{{Name: "q", Value: "a b&c=d"}, {Name: "empty", Value: ""}}
	tests := []struct {
		base, path string
		query      []spec.KV
		want       string // the URL, or why not
	}{
		{"https://x.example", "", nil, "https://x.example/"},
		{"https://x.example/", "", nil, "https://x.example/"},
		{"https://x.example/api", "", nil, "https://x.example/api"},
		{"https://x.example/api/", "", nil, "https://x.example/api/"},
		{"https://x.example/api/", "/", nil, "https://x.example/api/"},
		{"https://x.example/api", "/orders/1", nil, "https://x.example/api/orders/1"},
		{"https://x.example/api", "orders/1/", nil, "https://x.example/api/orders/1/"},
		{"https://x.example:8443/a%20b", "/c", nil, "https://x.example:8443/a%20b/c"},
		{"https://x.example/api?v=1", "/o?w=2", q, "https://x.example/api/o?v=1&w=2&q=a+b%26c%3Dd&empty="},
		{"https://x.example", "/o?a=x y&b=ä", nil, "https://x.example/o?a=x%20y&b=%C3%A4"},
		{"https://x.example", "/a b/ü;v=1/(x)'!*,=@:$&+", nil, "https://x.example/a%20b/%C3%BC;v=1/(x)'!*,=@:$&+"},
		{"https://x.example", "/orders/A%2FB", nil, "https://x.example/orders/A%2FB"},
		{"https://x.example", "/orders/50%25", nil, "https://x.example/orders/50%25"},
		{"https://x.example", "/orders/a%3Fb%23c", nil, "https://x.example/orders/a%3Fb%23c"},
		{"https://x.example", "/orders('1')/$value", nil, "https://x.example/orders('1')/$value"},
		{"https://x.example", "/v1.2/...", nil, "https://x.example/v1.2/..."},
		{"https://x.example", "/[1]{2}|^`<>\"", nil, "https://x.example/%5B1%5D%7B2%7D%7C%5E%60%3C%3E%22"},

		{"https://x.example/api", "//evil.example/", nil, "has an empty segment (//)"},
		{"https://x.example/api", "/a//b", nil, "has an empty segment (//)"},
		{"https://x.example/api", "https://evil.example/", nil, "has an empty segment (//)"},
		{"https://x.example/api", "https:evil", nil, "must not name a scheme or host: it is relative to the connection's url"},
		{"https://x.example/api", "x:80/evil", nil, "must not name a scheme or host: it is relative to the connection's url"},
		{"https://x.example/api", "..", nil, "must not contain . or .. segments"},
		{"https://x.example/api", "/../admin", nil, "must not contain . or .. segments"},
		{"https://x.example/api", "/a/./b", nil, "must not contain . or .. segments"},
		{"https://x.example/api", "/a/..;v=1/b", nil, "must not contain . or .. segments"},
		{"https://x.example/api", "/%2e%2e/admin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", "/.%2E/admin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", "/%252e%252e/admin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", "/..%2Fadmin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", "/a%2F..%2F..%2Fadmin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", "/..%5cadmin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", "/..%3bx/admin", nil, "must not contain encoded . or .. segments"},
		{"https://x.example/api", `/..\admin`, nil, "contains a backslash"},
		{"https://x.example/api", "/a\x00b", nil, "contains a control character"},
		{"https://x.example/api", "/a%00b", nil, "contains an encoded control character"},
		{"https://x.example/api", "/a%2500b", nil, "contains an encoded control character"},
		{"https://x.example/api", "/a\r\nX: y", nil, "contains a control character"},
		{"https://x.example/api", "/a%0d%0aX", nil, "contains an encoded control character"},
		{"https://x.example/api", "/a%zz", nil, "contains a % that does not encode a byte"},
		{"https://x.example/api", "/a%2", nil, "contains a % that does not encode a byte"},
		{"https://x.example/api", "/a#b", nil, "contains a fragment (#…)"},
		{"https://x.example/api", "/a\xff", nil, "is not valid UTF-8"},
		{"https://x.example/api", "/a?b=%0", nil, "contains a % that does not encode a byte"},
		{"https://x.example/api", "/a?b=1\r\nX: y", nil, "contains a control character"},
		{"https://x.example/api", "/a?b#c", nil, "contains a fragment (#…)"},
	}
	for _, test := range tests {
		b, why := parseBase(test.base)
		if why != "" {
			t.Fatalf("got %s, want a valid base", why)
		}
		u, f := b.join(test.path, test.query, "")
		if f != nil {
			if !strings.HasSuffix(f.Message, " "+test.want) || f.Code != codeCall || f.Retryable {
				t.Errorf("%s + %q: %v, want %s", test.base, test.path, f, test.want)
			}
			continue
		}
		if u.String() != test.want {
			t.Errorf("%s + %q: %s, want %s", test.base, test.path, u, test.want)
		}
	}
}

func TestBase(t *testing.T) {
	tests := []struct{ url, want string }{
		{"http://x", ""},
		{"HTTPS://X:1/p?q=1", ""},
		{"ftp://x", "url must start with http:// or https://"},
		{"x.example", "url must start with http:// or https://"},
		{"", "url must start with http:// or https://"},
		{"http://", "url has no host"},
		{"http://:80", "url has no host"},
		{"http:x", "url has no host"},
		{"http://u:p@x", "url must not contain a user or password: use auth with scheme: basic"},
		{"http://x/#f", "url must not contain a fragment (#…)"},
		{"http://x/a/../b", "url must not contain . or .. segments"},
		{"http://x/%2e%2e/b", "url must not contain encoded . or .. segments"},
		{"http://x/a//b", "url has an empty segment (//)"},
		{"http://x y/", "url is not a valid URL"},
		{"http://x/\x00", "url is not a valid URL"},
	}
	for _, test := range tests {
		if _, why := parseBase(test.url); why != test.want {
			t.Errorf("%q: %q, want %q", test.url, why, test.want)
		}
	}
}

// FuzzJoin checks that every URL stays on the host and below the base, no
// matter how often it is decoded.
func FuzzJoin(f *testing.F) {
	for _, s := range []string{"/orders/1", "..", "/%2e%2e/", "//x", "/a%252fb", `\..\`, "/a?b=c#d", "http://x/", "/\x00", "/ü/%c3%bc"} {
		f.Add(s)
	}
	b, _ := parseBase("https://x.example/api")
	f.Fuzz(func(t *testing.T, path string) {
		u, failure := b.join(path, nil, "")
		if failure != nil {
			return
		}
		text := u.String()
		back, err := url.Parse(text)
		if err != nil || back.Host != "x.example" || back.Scheme != "https" || back.Fragment != "" || back.User != nil {
			t.Fatalf("%q: got %q (%v), want the host of the base", path, text, err)
		}
		line := u.RequestURI()
		if strings.ContainsAny(line, " \r\n\x00#") || !strings.HasPrefix(line, "/api") {
			t.Fatalf("%q: got request line %q, want it below /api", path, line)
		}
		for p := back.EscapedPath(); ; {
			for segment := range strings.FieldsFuncSeq(p, func(r rune) bool { return r == '/' || r == '\\' }) {
				if segment == ".." || segment == "." {
					t.Fatalf("%q: got %q, want no dot segments", path, text)
				}
			}
			next, err := url.PathUnescape(p)
			if err != nil || next == p {
				return
			}
			p = next
		}
	})
}
