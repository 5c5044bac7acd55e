package http

import (
	"context"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"valence/internal/document"
	"valence/internal/fault"
)

// echo responds with the request it received, including credentials.
func echo(w nethttp.ResponseWriter, r *nethttp.Request) {
	b := make([]byte, 100)
	n, _ := r.Body.Read(b)
	fmt.Fprintf(w, "%s %s auth=%s own=%s key=%s cid=%s body=%s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"),
		r.Header.Get("X-Own"), r.Header.Get("Idempotency-Key"), r.Header.Get("Correlation-Id"), b[:n])
}

func TestRedirects(t *testing.T) {
	other := serve(t, echo)
	home := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		to, status := r.URL.Query().Get("to"), 302
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		if to == "" {
			echo(w, r)
			return
		}
		if to == "none" {
			w.WriteHeader(status)
			return
		}
		w.Header().Set("Location", strings.ReplaceAll(to, "OTHER", other))
		w.WriteHeader(status)
	})
	tests := []struct {
		name, op, query string
		sends           bool
		want            string // the answer, or a part of the failure
		status          int
	}{
		{"same host", "get", "to=/a?x=1", false, "GET /a?x=1 auth=Bearer T own=o key= cid=C body=", 200},
		{"relative", "get", "to=b", false, "GET /b auth=Bearer T own=o key= cid=C body=", 200},
		{"with a fragment", "get", "to=/a%23f", false, "GET /a auth=Bearer T own=o key= cid=C body=", 200},
		{"301", "get", "to=/a&status=301", false, "GET /a auth=Bearer T own=o key= cid=C body=", 200},
		{"303", "get", "to=/a&status=303", false, "GET /a auth=Bearer T own=o key= cid=C body=", 200},
		{"307", "get", "to=/a&status=307", false, "GET /a auth=Bearer T own=o key= cid=C body=", 200},
		{"308 head", "head", "to=/a&status=308", false, "", 200},
		{"other host gets no credentials", "get", "to=OTHER/a", false, "GET /a auth= own= key= cid=C body=", 200},
		{"other host, protocol-relative", "get", "to=//127.0.0.2:1/a", false, "connect", 0},
		{"no Location", "get", "to=none", false, "returned 302: redirect without Location", 302},
		{"to a file", "get", "to=file:///etc/passwd", false, `returned 302: redirect to "file:///etc/passwd", which is not an HTTP URL`, 302},
		{"to a user", "get", "to=http://u:p@x/", false, "which is not an HTTP URL", 302},
		{"to nonsense", "get", "to=http://%25zz/", false, "which is not an HTTP URL", 302},
		{"to a mailbox", "get", "to=mailto:x@y", false, "which is not an HTTP URL", 302},
		{"300 is no redirect", "get", "to=/a&status=300", false, "returned 300 Multiple Choices", 300},
		{"post", "post", "to=/a&status=307", false, "returned 307: redirects of POST are not followed (redirects: { sends: true } allows it)", 307},
		{"delete", "delete", "to=/a", false, "returned 302: redirects of DELETE are not followed", 302},
		{"post 307", "post", "to=/a&status=307", true, "POST /a auth=Bearer T own=o key=K cid=C body=hello", 200},
		{"post 308", "post", "to=/a&status=308", true, "POST /a auth=Bearer T own=o key=K cid=C body=hello", 200},
		{"post 303", "post", "to=/a&status=303", true, "GET /a auth=Bearer T own=o key= cid=C body=", 200},
		{"post 303 to another host", "post", "to=OTHER/a&status=303", true, "GET /a auth= own= key= cid=C body=", 200},
		{"post 302", "post", "to=/a&status=302", true, "returned 302: the status does not say whether to repeat POST", 302},
		{"post to another host", "post", "to=OTHER/a&status=307", true, "returned 307: redirect of POST to another host", 307},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := defaults(home)
			s.Headers = kvs("X-Own", "o")
			s.Auth = authSettings{Scheme: schemeBearer, Token: "T"}
			s.Redirects.Sends = test.sends
			k := call(test.op, &with{Path: "/start?" + test.query}, nil)
			if test.op == "post" {
				k.Body = document.FromText("hello")
			}
			k.IdempotencyKey, k.CorrelationID = "K", "C"
			r, err := connect(t, s).do(t.Context(), k)
			if test.status == 200 {
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := r.Doc.Value().(string); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
				return
			}
			f := failure(t, err)
			if f.Status != test.status || f.Retryable && f.Code != fault.CodeConnect || !strings.Contains(f.Error(), test.want) {
				t.Errorf("got %+v, want status %d, message %q", f, test.status, test.want)
			}
		})
	}
}

func TestRedirectLoops(t *testing.T) {
	n := 0
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		n++
		nethttp.Redirect(w, r, fmt.Sprintf("/%d", n), nethttp.StatusFound)
	})
	for _, most := range []int{0, 1, 5} {
		n = 0
		s := defaults(url)
		s.Redirects.Max = most
		_, err := connect(t, s).do(t.Context(), call("get", &with{}, nil))
		f := failure(t, err)
		if f.Code != fault.CodeRedirect || f.Retryable || f.Status != 302 || n != most+1 ||
			!strings.HasSuffix(f.Message, fmt.Sprintf("returned 302: more than %d redirects", most)) {
			t.Errorf("got %+v after %d requests, want %s after %d", f, n, fault.CodeRedirect, most+1)
		}
	}
}

// TestRedirectAccepted checks that a call that accepts 3xx receives the
// redirect itself.
func TestRedirectAccepted(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		nethttp.Redirect(w, r, "/x", nethttp.StatusSeeOther)
	})
	k := call("post", &with{}, document.FromText("x"))
	k.Accept = append(k.Accept, rangeOf(303))
	r, err := connect(t, defaults(url)).do(t.Context(), k)
	if err != nil || r.Status != 303 || r.Headers.Get("Location") != "/x" {
		t.Errorf("got %v %v, want the redirect to /x", r, err)
	}
}

// TestRedirectBack checks that a URL chosen by another host is not called with
// credentials.
func TestRedirectBack(t *testing.T) {
	var home, other string
	home = serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) { nethttp.Redirect(w, r, other, nethttp.StatusFound) })
	other = serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		nethttp.Redirect(w, r, home+"/delete-all", nethttp.StatusFound)
	})
	_, err := connect(t, defaults(home)).do(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeRedirect || !strings.HasSuffix(f.Message, "redirect back from another host") {
		t.Errorf("got %+v, want %s from another host", f, fault.CodeRedirect)
	}
}

func TestRedirectDowngrade(t *testing.T) {
	plain := serve(t, echo)
	s := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		nethttp.Redirect(w, r, plain, nethttp.StatusFound)
	}))
	t.Cleanup(s.Close)
	set := defaults(s.URL)
	set.TLS.CA = certificatePEM(s.Certificate())
	_, err := connect(t, set).do(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeRedirect || !strings.HasSuffix(f.Message, "redirect from https to http") {
		t.Errorf("got %+v, want %s from https to http", f, fault.CodeRedirect)
	}
}

// TestRedirectsToPrivateAddresses checks which addresses a redirect may lead to.
func TestRedirectsToPrivateAddresses(t *testing.T) {
	tests := []struct {
		address  string
		loopback bool
		ok       bool
	}{
		{"93.184.216.34:80", false, true},
		{"10.1.2.3:80", false, true},
		{"127.0.0.1:80", false, false},
		{"127.0.0.1:80", true, true},
		{"[::1]:80", false, false},
		{"[::ffff:127.0.0.1]:80", false, false},
		{"169.254.169.254:80", false, false},
		{"169.254.169.254:80", true, false},
		{"[fe80::1]:80", true, false},
		{"0.0.0.0:80", true, false},
		{"224.0.0.1:80", true, false},
	}
	for _, test := range tests {
		if err := guard(test.loopback, false)(t.Context(), "tcp", test.address, nil); (err == nil) != test.ok {
			t.Errorf("%s (loopback %v): got %v, want allowed = %v", test.address, test.loopback, err, test.ok)
		}
	}
	for url, want := range map[string]bool{"http://localhost:1": true, "http://127.9.9.9": true, "http://[::1]:80": true, "http://[::1]": true, "http://10.0.0.1": false, "http://x": false} {
		b, _ := parseBase(url)
		if b.loopback() != want {
			t.Errorf("%s: got loopback %v, want %v", url, !want, want)
		}
	}
	public := context.WithValue(t.Context(), fromPublic{}, true)
	for address, ok := range map[string]bool{
		"93.184.216.34:80": true, "10.1.2.3:80": false, "192.168.1.1:80": false, "100.64.0.1:80": false, "[fd00::1]:80": false, "[::ffff:10.0.0.1]:80": false,
		"[2606:2800:220:1:248:1893:25c8:1946]:80": true,
	} {
		if err := guard(false, false)(public, "tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s from a public server: got %v, want allowed = %v", address, err, ok)
		}
		if err := guard(false, true)(public, "tcp", address, nil); err != nil {
			t.Errorf("%s with private: true: got %v, want nil", address, err)
		}
	}
	// A dial of the transport knows who redirected, and is rejected before
	// anything is sent.
	through := connect(t, defaults("http://x.example"))
	to := &request{method: "GET", url: must(through.base.join("", nil, "")), base: &through.base, headers: through.foreignHeaders, foreign: true, fromPublic: true}
	to.url.Host = "10.1.2.3:9"
	if _, f := through.send(t.Context(), to); f == nil || f.Code != fault.CodeRedirect || f.Retryable || !strings.Contains(f.Message, "redirects: { private: true }") {
		t.Errorf("from a public server: got %+v, want %s, not retryable", f, fault.CodeRedirect)
	}
	// The guard rejects the request before it is sent.
	c := connect(t, defaults("http://x.example"))
	r := &request{method: "GET", url: must(c.base.join("", nil, "")), base: &c.base, headers: c.foreignHeaders, foreign: true}
	r.url.Host = netip.MustParseAddrPort("169.254.169.254:80").String()
	if _, f := c.send(t.Context(), r); f == nil || f.Code != fault.CodeRedirect || f.Retryable {
		t.Errorf("got %+v, want %s, not retryable", f, fault.CodeRedirect)
	}
}

func must[T any](v T, f *fault.Failure) T {
	if f != nil {
		panic(f)
	}
	return v
}

// Bytes that a URL cannot contain are encoded in a Location; the others stay as
// they are.
func TestLocationIsMadeValid(t *testing.T) {
	for location, want := range map[string]string{
		"/ok?q=a b":                "/ok?q=a%20b",
		"/ok?u=http://a b/c d":     "/ok?u=http://a%20b/c%20d",
		"/ok/a b":                  "/ok/a%20b",
		" /ok?q=Müller ":           "/ok?q=M%C3%BCller",
		"/ok?q=a%20b%2Bc%2F&r=x+y": "/ok?q=a%20b%2Bc%2F&r=x+y",
		"/ok/a%2Fb/100%":           "/ok/a%2Fb/100%25",
		"ok?{x}|\"y\"":             "/ok?%7Bx%7D%7C%22y%22",
		`\x`:                       "/%5Cx",
		"?z#fragment":              "/start?z",
	} {
		c, asked := pageServer(t, page(302, "", "Location", location), page(200, `{}`))
		_, err := c.do(context.Background(), &testCall{operation: "get", with: &with{Path: "/start"}})
		if err != nil || len(*asked) != 2 || (*asked)[1] != want {
			t.Errorf("%s: got %v, %v, want %s", location, *asked, err, want)
		}
	}
	for _, location := range []string{"/" + strings.Repeat("x", 9000), "http://[::1/x", "mailto:a@b.example"} {
		c, asked := pageServer(t, page(302, "", "Location", location))
		_, err := c.do(context.Background(), &testCall{operation: "get", with: &with{Path: "/start"}})
		if err == nil || !strings.Contains(err.Error(), "redirect to") {
			t.Errorf("%.40s: got %v, %v, want a refused redirect", location, *asked, err)
		}
	}
}
