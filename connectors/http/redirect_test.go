package http

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"valence/internal/document"
	"valence/internal/fault"
)

// echo answers with the request it got, the credentials in it included.
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
		{"no Location", "get", "to=none", false, "answered 302: a redirect without Location", 302},
		{"to a file", "get", "to=file:///etc/passwd", false, `answered 302: a redirect to "file:///etc/passwd", which is no address of a web service`, 302},
		{"to a user", "get", "to=http://u:p@x/", false, "which is no address of a web service", 302},
		{"to nonsense", "get", "to=http://%25zz/", false, "which is no address of a web service", 302},
		{"to a mailbox", "get", "to=mailto:x@y", false, "which is no address of a web service", 302},
		{"300 is no redirect", "get", "to=/a&status=300", false, "answered 300 Multiple Choices", 300},
		{"post", "post", "to=/a&status=307", false, "answered 307: redirects of POST are not followed (redirects: { sends: true } allows it)", 307},
		{"delete", "delete", "to=/a", false, "answered 302: redirects of DELETE are not followed", 302},
		{"post 307", "post", "to=/a&status=307", true, "POST /a auth=Bearer T own=o key=K cid=C body=hello", 200},
		{"post 308", "post", "to=/a&status=308", true, "POST /a auth=Bearer T own=o key=K cid=C body=hello", 200},
		{"post 303", "post", "to=/a&status=303", true, "GET /a auth=Bearer T own=o key= cid=C body=", 200},
		{"post 303 to another host", "post", "to=OTHER/a&status=303", true, "GET /a auth= own= key= cid=C body=", 200},
		{"post 302", "post", "to=/a&status=302", true, "answered 302: it does not say whether POST is to be sent again", 302},
		{"post to another host", "post", "to=OTHER/a&status=307", true, "answered 307: a redirect of POST to another host", 307},
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
			r, err := connect(t, s).Call(t.Context(), k)
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
				t.Errorf("got %+v", f)
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
		_, err := connect(t, s).Call(t.Context(), call("get", &with{}, nil))
		f := failure(t, err)
		if f.Code != fault.CodeRedirect || f.Retryable || f.Status != 302 || n != most+1 ||
			!strings.HasSuffix(f.Message, fmt.Sprintf("answered 302: more than %d redirects", most)) {
			t.Errorf("after %d requests: %+v", n, f)
		}
	}
}

// TestRedirectAccepted: a call that accepts 3xx wants the redirect itself.
func TestRedirectAccepted(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		nethttp.Redirect(w, r, "/x", nethttp.StatusSeeOther)
	})
	k := call("post", &with{}, document.FromText("x"))
	k.Accept = append(k.Accept, rangeOf(303))
	r, err := connect(t, defaults(url)).Call(t.Context(), k)
	if err != nil || r.Status != 303 || r.Headers.Get("Location") != "/x" {
		t.Errorf("%v %v", r, err)
	}
}

// TestRedirectBack: what another host says about us is not signed with our name.
func TestRedirectBack(t *testing.T) {
	var home, other string
	home = serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) { nethttp.Redirect(w, r, other, nethttp.StatusFound) })
	other = serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		nethttp.Redirect(w, r, home+"/delete-all", nethttp.StatusFound)
	})
	_, err := connect(t, defaults(home)).Call(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeRedirect || !strings.HasSuffix(f.Message, "a redirect that comes back from another host") {
		t.Errorf("%+v", f)
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
	_, err := connect(t, set).Call(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeRedirect || !strings.HasSuffix(f.Message, "a redirect from https to http") {
		t.Errorf("%+v", f)
	}
}

func TestGuard(t *testing.T) {
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
		if err := guard(test.loopback)("tcp", test.address, nil); (err == nil) != test.ok {
			t.Errorf("%s (loopback %v): %v", test.address, test.loopback, err)
		}
	}
	for url, want := range map[string]bool{"http://localhost:1": true, "http://127.9.9.9": true, "http://[::1]:80": true, "http://[::1]": true, "http://10.0.0.1": false, "http://x": false} {
		b, _ := parseBase(url)
		if b.loopback() != want {
			t.Errorf("%s: loopback %v", url, !want)
		}
	}
	// The guard is in force: it stops the request before it is sent.
	c := connect(t, defaults("http://x.example"))
	r := &request{method: "GET", url: must(c.base.join("", nil, "")), headers: c.foreign, away: true}
	r.url.Host = netip.MustParseAddrPort("169.254.169.254:80").String()
	if _, f := c.send(t.Context(), r); f == nil || f.Code != fault.CodeRedirect || f.Retryable {
		t.Errorf("%+v", f)
	}
}

func must[T any](v T, f *fault.Failure) T {
	if f != nil {
		panic(f)
	}
	return v
}
