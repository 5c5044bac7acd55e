package http

import (
	"encoding/base64"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// authority issues tokens T1, T2, … and serves a resource that accepts the
// latest one.
type oauthServer struct {
	url     string
	asked   atomic.Int64
	called  atomic.Int64
	current atomic.Value // string: the token that the resource accepts
	form    atomic.Value // url.Values of the last token request, with its Authorization
	answer  func(n int64) (status int, body string)
}

func newOAuthServer(t *testing.T) *oauthServer {
	s := &oauthServer{}
	s.current.Store("")
	s.answer = func(n int64) (int, string) {
		return 200, fmt.Sprintf(`{"access_token":"T%d","token_type":"Bearer","expires_in":3600}`, n)
	}
	s.url = serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/token" {
			n := s.asked.Add(1)
			_ = r.ParseForm()
			form := r.PostForm
			form.Set("Authorization", r.Header.Get("Authorization"))
			s.form.Store(form)
			status, body := s.answer(n)
			if status == 200 {
				s.current.Store(fmt.Sprintf("T%d", n))
			}
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return
		}
		s.called.Add(1)
		if r.Header.Get("Authorization") != "Bearer "+s.current.Load().(string) {
			w.WriteHeader(401)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	})
	return s
}

func (s *oauthServer) settings() *settings {
	set := defaults(s.url)
	set.Auth = authSettings{Scheme: schemeOAuth2, TokenURL: s.url + "/token", ClientID: "atom 7", ClientSecret: "s:&cret", ClientAuth: "basic",
		Scopes: []string{"read", "write"}, Audience: "erp", Params: []spec.KV{{Name: "tenant", Value: "t1"}}}
	return set
}

func TestOAuth2(t *testing.T) {
	s := newOAuthServer(t)
	c := connect(t, s.settings())
	for range 3 {
		r, err := c.do(t.Context(), call("post", &with{}, document.FromText("x")))
		if err != nil || r.Doc.Value() != "Bearer T1" {
			t.Fatalf("got %v %v, want Bearer T1", r, err)
		}
	}
	want := url.Values{"grant_type": {"client_credentials"}, "scope": {"read write"}, "audience": {"erp"}, "tenant": {"t1"},
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("atom+7:s%3A%26cret"))}}
	if got := s.form.Load().(url.Values); got.Encode() != want.Encode() {
		t.Errorf("token request: got %v, want %v", got, want)
	}
	// An expired token is replaced once, within the call.
	s.current.Store("gone")
	r, err := c.do(t.Context(), call("post", &with{}, document.FromText("x")))
	if err != nil || r.Doc.Value() != "Bearer T2" || s.asked.Load() != 2 || s.called.Load() != 5 {
		t.Fatalf("got %v %v, %d tokens, %d calls, want Bearer T2, 2 tokens, 5 calls", r, err, s.asked.Load(), s.called.Load())
	}
	// A resource that rejects every token receives exactly two requests.
	s.answer = func(n int64) (int, string) { s.current.Store("never"); return 200, `{"access_token":"X"}` }
	s.current.Store("never")
	s.called.Store(0)
	nope := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { s.called.Add(1); w.WriteHeader(401) })
	set := s.settings()
	set.URL = nope
	_, err = connect(t, set).do(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeStatus || f.Status != 401 || f.Retryable || s.called.Load() != 2 {
		t.Errorf("got %+v after %d calls, want status 401, not retryable, after 2", f, s.called.Load())
	}
	// A call that accepts 401 receives it.
	k := call("get", &with{}, nil)
	k.Accept = append(k.Accept, rangeOf(401))
	if r, err := connect(t, set).do(t.Context(), k); err != nil || r.Status != 401 {
		t.Errorf("got %v %v, want status 401", r, err)
	}
}

func TestOAuth2InBody(t *testing.T) {
	s := newOAuthServer(t)
	set := s.settings()
	set.Auth.ClientAuth = "body"
	if _, err := connect(t, set).do(t.Context(), call("get", &with{}, nil)); err != nil {
		t.Fatal(err)
	}
	got := s.form.Load().(url.Values)
	if got.Get("client_id") != "atom 7" || got.Get("client_secret") != "s:&cret" || got.Get("Authorization") != "" {
		t.Errorf("token request: got %v, want client_id and client_secret in the body", got)
	}
}

// TestOAuth2SingleFlight checks that concurrent calls share one token request.
func TestOAuth2SingleFlight(t *testing.T) {
	s := newOAuthServer(t)
	gate := make(chan struct{})
	s.answer = func(n int64) (int, string) {
		<-gate
		return 200, fmt.Sprintf(`{"access_token":"T%d","expires_in":"3600"}`, n)
	}
	c := connect(t, s.settings())
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			if _, err := c.do(t.Context(), call("get", &with{}, nil)); err != nil {
				t.Errorf("got %v, want nil", err)
			}
		})
	}
	close(gate)
	calls.Wait()
	if s.asked.Load() != 1 {
		t.Errorf("%d token requests, want 1", s.asked.Load())
	}
}

func TestOAuth2Failures(t *testing.T) {
	tests := []struct {
		status    int
		body      string
		code      string
		retryable bool
		message   string
	}{
		{401, `{"error":"invalid_client","error_description":"no such client"}`, codeAuth, false, `status 401 Unauthorized: "invalid_client", "no such client"`},
		{400, `{"error":"invalid_scope"}`, codeAuth, false, `status 400 Bad Request: "invalid_scope"`},
		{404, `<html>`, codeAuth, false, "status 404 Not Found"},
		{503, `later`, fault.CodeConnect, true, "status 503 Service Unavailable"},
		{429, `later`, fault.CodeConnect, true, "status 429 Too Many Requests"},
		{302, ``, codeAuth, false, "status 302 Found"},
		{200, ``, codeAuth, false, "the response is not JSON: "},
		{200, `<html>`, codeAuth, false, "the response is not JSON: "},
		{200, `{}`, codeAuth, false, "the response has no access_token"},
		{200, `[]`, codeAuth, false, "the response has no access_token"},
		{200, `{"access_token":{"a":1}}`, codeAuth, false, "the response has no access_token"},
		{200, `{"access_token":"a\r\nX: y"}`, codeAuth, false, "the access_token cannot be sent in a header"},
		{200, `{"access_token":"a","token_type":"mac"}`, codeAuth, false, `token_type "mac" is not bearer`},
		{200, `{"a":"` + strings.Repeat("x", 70000) + `"}`, codeAuth, false, "exceeds max_response"},
	}
	for _, test := range tests {
		s := newOAuthServer(t)
		s.answer = func(int64) (int, string) { return test.status, test.body }
		c := connect(t, s.settings())
		for range 3 {
			_, err := c.do(t.Context(), call("post", &with{}, document.FromText("x")))
			f := failure(t, err)
			if f.Code != test.code || f.Retryable != test.retryable || f.Status != 0 || f.Source != fault.FromConnector ||
				!strings.HasPrefix(f.Message, noToken+": ") || !strings.Contains(f.Message, test.message) {
				t.Errorf("%d %s: got %+v, want code %s, retryable %v, message %q", test.status, test.body, f, test.code, test.retryable, test.message)
			}
			if strings.Contains(f.Error(), "cret") {
				t.Errorf("got %v, want no secret in it", f)
			}
			f.Step = "each call has its own failure"
		}
		if s.asked.Load() != 1 || s.called.Load() != 0 {
			t.Errorf("%d %s: got %d token requests and %d calls within a second, want 1 and 0", test.status, test.body, s.asked.Load(), s.called.Load())
		}
	}
	set := defaults("http://127.0.0.1:1")
	set.Auth = authSettings{Scheme: schemeOAuth2, TokenURL: "http://127.0.0.1:1/token", ClientID: "a", ClientSecret: "b", ClientAuth: "basic"}
	_, err := connect(t, set).do(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeConnect || !f.Retryable {
		t.Errorf("got %+v, want %s, retryable", f, fault.CodeConnect)
	}
}

// TestOAuth2Renewal checks, on synthetic time, that a token is renewed in the
// background before it expires.
func TestOAuth2Renewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &connection{base: base{scheme: "http", host: "x"}}
		a := &authSettings{TokenURL: "http://x/token", ClientID: "a", ClientSecret: "b"}
		tk, err := newTokens(a, c)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		broken := false
		tk.ask = func() (string, time.Duration, *fault.Failure) {
			n++
			if broken {
				return "", 0, connectors.Failf(fault.CodeConnect, true, nil, "broken")
			}
			return fmt.Sprintf("T%d", n), 10 * time.Minute, nil
		}
		get := func(want string, asked int) {
			t.Helper()
			got, f := tk.get(t.Context(), "")
			synctest.Wait()
			if f != nil && want != "" || got != want || n != asked {
				t.Errorf("got %q, %v after %d requests; want %q after %d", got, f, n, want, asked)
			}
		}
		get("T1", 1)
		time.Sleep(8 * time.Minute)
		get("T1", 1)
		time.Sleep(61 * time.Second)
		get("T1", 2) // renewed in the background
		get("T2", 2)
		time.Sleep(9*time.Minute + time.Second)
		broken = true
		get("T2", 3) // the old one is good as long as it lasts
		get("T2", 3) // and a failed renewal is not repeated at once
		time.Sleep(2 * time.Second)
		get("T2", 4)
		time.Sleep(time.Minute)
		get("", 5)
		get("", 5)
		broken = false
		time.Sleep(time.Second)
		get("T6", 6)
		tk.close()
	})
}

func TestLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{"3600": time.Hour, "0.5": 500 * time.Millisecond, "": tokenLifetime, "0": tokenLifetime,
		"-1": tokenLifetime, "1e300": tokenLifetime, "soon": tokenLifetime, "NaN": tokenLifetime} {
		if got := lifetime(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
