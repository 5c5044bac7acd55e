package http

import (
	"context"
	"errors"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/fault"
)

const (
	hookKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	oldKey  = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

// names is a resolver with different results for each lookup.
type names struct {
	answers [][]string
	asked   atomic.Int32
}

func (n *names) LookupNetIP(context.Context, string, string) (out []netip.Addr, err error) {
	i := min(int(n.asked.Add(1))-1, len(n.answers)-1)
	if i < 0 || n.answers[i] == nil {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	for _, a := range n.answers[i] {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func openHooks(t *testing.T, r egress.Resolver, allow []string, secrets ...string) *callbackConnection {
	t.Helper()
	list, err := egress.Parse(allow)
	if err != nil {
		t.Fatal(err)
	}
	c, err := callbacks("test", r).Open(connectors.CallbackRules{"quote": {Allow: list, Secrets: secrets}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*callbackConnection)
}

func post(c *callbackConnection, url string) (*connectors.Result, *fault.Failure) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := c.post(ctx, &callbackWith{URL: url, Process: "quote", Execution: "x1", Status: "200"}, &connectors.Call{
		Body: document.FromJSON([]byte(`{"total":7}`)), IdempotencyKey: "k1", CorrelationID: "c1",
	})
	if err != nil {
		return nil, fault.AsFailure(err)
	}
	return r, nil
}

// hooks starts a receiver that counts its requests.
func hooks(t *testing.T, h nethttp.HandlerFunc) (s *httptest.Server, port string, reached *atomic.Int32) {
	reached = &atomic.Int32{}
	s = httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		reached.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	return s, port, reached
}

// TestCallbackSignature checks that the Standard Webhooks library accepts the
// signature with the new secret and, during rotation, with the old one.
func TestCallbackSignature(t *testing.T) {
	var body []byte
	var header nethttp.Header
	s, _, _ := hooks(t, func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ = httpclient.ReadAll(nil, r.Body, -1, 1<<20)
		header = r.Header
	})
	c := openHooks(t, net.DefaultResolver, []string{s.URL + "/hooks/"}, hookKey, oldKey)
	for range 2 {
		if _, f := post(c, s.URL+"/hooks/1"); f != nil {
			t.Fatalf("got %v, want no failure", f)
		}
		for _, key := range []string{hookKey, oldKey} {
			w, err := standardwebhooks.NewWebhook(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Verify(body, header); err != nil {
				t.Errorf("verify with %s: got %v, want nil", key, err)
			}
			if err := w.Verify([]byte(`{"total":8}`), header); err == nil {
				t.Error("verify another body: got nil, want an error")
			}
		}
		if header.Get("Webhook-Id") != "x1" || header.Get("Correlation-Id") != "c1" || header.Get("Content-Type") != "application/json" || header.Get("Idempotency-Key") != "k1" {
			t.Errorf("headers: got %v, want the id, correlation id, content type and idempotency key of the call", header)
		}
	}
}

// TestCallbackAddressIsTheCheckedOne checks that a delivery uses the checked address,
// regardless of later lookups, and never a private one.
func TestCallbackAddressIsTheCheckedOne(t *testing.T) {
	_, port, reached := hooks(t, func(nethttp.ResponseWriter, *nethttp.Request) {})
	url := "http://shop.example:" + port + "/hooks/"

	// The name is public at the first lookup and loopback at the second.
	rebinding := &names{answers: [][]string{{"93.184.216.34"}, {"127.0.0.1"}}}
	c := openHooks(t, rebinding, []string{url}, hookKey)
	if err := c.CheckCallback(context.Background(), "quote", url); err != nil {
		t.Fatal(err)
	}
	if _, f := post(c, url); f == nil || f.Code != codeRefused || f.Retryable {
		t.Errorf("got %v, want %s, not retryable", f, codeRefused)
	}
	if reached.Load() != 0 {
		t.Errorf("requests to the loopback address: got %d, want 0", reached.Load())
	}

	// Allowed by its address, the name is resolved once per delivery; the
	// dialer does not resolve it again.
	once := &names{answers: [][]string{{"127.0.0.1"}, {"169.254.169.254"}}}
	c = openHooks(t, once, []string{url, "127.0.0.1"}, hookKey)
	if _, f := post(c, url); f != nil {
		t.Errorf("got %v, want no failure", f)
	}
	if reached.Load() != 1 || once.asked.Load() != 1 {
		t.Errorf("got %d requests and %d lookups, want one of each", reached.Load(), once.asked.Load())
	}
	if _, f := post(c, url); f == nil || f.Code != codeRefused {
		t.Errorf("got %v, want %s", f, codeRefused)
	}
}

func TestCheckCallback(t *testing.T) {
	public := &names{answers: [][]string{{"93.184.216.34"}}}
	for _, c := range []struct {
		name    string
		dns     *names
		process string
		url     string
		refused bool
	}{
		{"allowed", public, "quote", "https://shop.example/hooks/1", false},
		{"elsewhere", public, "quote", "https://shop.example/", true},
		{"another process", public, "other", "https://shop.example/hooks/1", true},
		{"private", &names{answers: [][]string{{"10.1.2.3"}}}, "quote", "https://shop.example/hooks/1", true},
		{"partly private", &names{answers: [][]string{{"93.184.216.34", "::1"}}}, "quote", "https://shop.example/hooks/1", true},
		{"metadata", &names{answers: [][]string{{"169.254.169.254"}}}, "quote", "https://shop.example/hooks/1", true},
		{"unknown host", &names{answers: [][]string{nil}}, "quote", "https://shop.example/hooks/1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := openHooks(t, c.dns, []string{"https://shop.example/hooks/"}, hookKey).CheckCallback(context.Background(), c.process, c.url)
			if errors.Is(err, egress.ErrRefused) != c.refused || (err != nil) != c.refused {
				t.Errorf("got %v, want refused = %v", err, c.refused)
			}
		})
	}
}

// TestCallbackAnswers checks that redirects are not followed, and that every
// status except 2xx and 410 is retried.
func TestCallbackAnswers(t *testing.T) {
	_, secret, stolen := hooks(t, func(nethttp.ResponseWriter, *nethttp.Request) {})
	status := 200
	s, _, _ := hooks(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Location", "http://127.0.0.1:"+secret+"/")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
	})
	c := openHooks(t, net.DefaultResolver, []string{s.URL}, hookKey)
	for _, x := range []struct {
		status int
		code   string
		again  bool
	}{
		{200, "", false}, {204, "", false}, {301, fault.CodeRedirect, true}, {307, fault.CodeRedirect, true}, {308, fault.CodeRedirect, true},
		{404, fault.CodeStatus, true}, {410, fault.CodeStatus, false}, {429, fault.CodeStatus, true}, {500, fault.CodeStatus, true},
	} {
		status = x.status
		_, f := post(c, s.URL+"/x")
		if x.code == "" {
			if f != nil {
				t.Errorf("%d: got %v, want no failure", x.status, f)
			}
			continue
		}
		if f == nil || f.Code != x.code || f.Retryable != x.again || f.Status != x.status || f.RetryAfter != 7*time.Second {
			t.Errorf("%d: got %+v, want code %s, retryable %v, Retry-After 7s", x.status, f, x.code, x.again)
		}
	}
	if stolen.Load() != 0 {
		t.Errorf("followed redirects: got %d, want 0", stolen.Load())
	}
}

func TestCallbackSecrets(t *testing.T) {
	for _, s := range []string{"", "short", "whsec_c2hvcnQ=", "not base64 at all!"} {
		if _, err := callbacks("test", net.DefaultResolver).Open(connectors.CallbackRules{"quote": {Allow: &egress.List{}, Secrets: []string{s}}}, nil); err == nil || s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("secret %q: got %v, want an error without the secret", s, err)
		}
	}
}

func TestCallbackUsesNoProxy(t *testing.T) {
	_, port, proxied := hooks(t, func(nethttp.ResponseWriter, *nethttp.Request) {})
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:"+port)
	c := openHooks(t, &names{answers: [][]string{{"127.0.0.1"}}}, []string{"http://shop.example:1/", "127.0.0.1"}, hookKey)
	if _, f := post(c, "http://shop.example:1/"); f == nil || f.Code != fault.CodeConnect {
		t.Errorf("got %v, want %s", f, fault.CodeConnect)
	}
	if proxied.Load() != 0 {
		t.Errorf("requests to the proxy: got %d, want 0", proxied.Load())
	}
}
