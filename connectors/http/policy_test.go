package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/egress"
)

// policyWith returns the policy of packages on an atom.
func policyWith(t *testing.T, text string) *access.Policy {
	t.Helper()
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, access.File), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := access.Deployed(data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHostsAreJudgedAtTheDial checks that a connection reaches only the hosts of
// the policy: by its URL, a redirect, a token endpoint or a proxy, and by the
// addresses that a name has when it is dialed.
func TestHostsAreJudgedAtTheDial(t *testing.T) {
	reached := false
	other := serve(t, func(nethttp.ResponseWriter, *nethttp.Request) { reached = true })
	home := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/away" {
			nethttp.Redirect(w, r, other, nethttp.StatusFound)
		}
	})
	port := home[strings.LastIndexByte(home, ':')+1:]
	byPort := "hosts: [\"127.0.0.1:" + port + "\"]\n"
	for _, c := range []struct {
		name, policy, url, path string
		open, ok                bool
	}{
		{"an allowed address", byPort, home, "/", true, true},
		{"another port", byPort, other, "/", false, false},
		{"a redirect", byPort, home, "/away", true, false},
		{"a name with an allowed address", "hosts: [127.0.0.0/8, \"::1\"]\n", "http://localhost:" + port, "/", true, true},
		{"a name with another address", "hosts: [10.0.0.0/8]\n", "http://localhost:" + port, "/", true, false},
		{"another name", "hosts: [erp]\n", "http://localhost:" + port, "/", false, false},
		{"a name without a dot", "hosts: [erp.example]\n", "http://erp", "/", false, false},
		{"an allowed name", "hosts: [localhost]\n", "http://localhost:" + port, "/", true, true},
		{"no policy", "", home, "/away", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			reached = false
			conn, err := open(defaults(c.url), "1", nil, policyWith(t, c.policy))
			if (err == nil) != c.open {
				t.Fatalf("open: got %v, want opened = %v", err, c.open)
			}
			if err != nil {
				var refusal *access.Refusal
				if !errors.As(err, &refusal) || !strings.Contains(refusal.Hint, "`hosts:`") {
					t.Errorf("got %v, want a refusal that names hosts", err)
				}
				return
			}
			defer conn.Close()
			_, err = conn.do(t.Context(), call("get", &with{Path: c.path}, nil))
			if (err == nil) != c.ok {
				t.Errorf("got %v, want allowed = %v", err, c.ok)
			}
			if !c.ok {
				if f := failure(t, err); f.Code != codeRefused || f.Retryable || reached {
					t.Errorf("got %+v, reached %v, want %s, not retryable", f, reached, codeRefused)
				}
			}
		})
	}
	t.Run("a token endpoint", func(t *testing.T) {
		reached = false
		s := defaults(home)
		s.Auth = authSettings{Scheme: schemeOAuth2, TokenURL: other, ClientID: "a", ClientSecret: "b"}
		if _, err := open(s, "1", nil, policyWith(t, byPort)); err == nil {
			t.Error("got nil, want a refusal")
		}
		s.Auth.TokenURL = home + "/away"
		s.Redirects.Sends = true
		conn, err := open(s, "1", nil, policyWith(t, byPort))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.do(t.Context(), call("get", &with{}, nil)); err == nil || reached {
			t.Errorf("a redirect: got %v, reached %v, want an error", err, reached)
		}
	})
	t.Run("a proxy", func(t *testing.T) {
		asked := ""
		proxy := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) { asked = r.URL.Host }))
		defer proxy.Close()
		through := func(*nethttp.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
		conn, err := open(defaults("http://erp.example"), "1", through, policyWith(t, "hosts: [erp.example]\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.do(t.Context(), call("get", &with{}, nil)); err != nil || asked != "erp.example" {
			t.Errorf("an allowed host: got %v, asked for %q, want erp.example", err, asked)
		}
		asked = ""
		byAddress, err := open(defaults("http://erp.example"), "1", through, policyWith(t, "hosts: [10.0.0.0/8]\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer byAddress.Close()
		if _, err := byAddress.do(t.Context(), call("get", &with{}, nil)); err == nil || asked != "" {
			t.Errorf("a host whose address is unknown: got %v, asked for %q, want a refusal", err, asked)
		}
	})
	t.Run("a callback", func(t *testing.T) {
		reached = false
		allow, err := egress.Parse([]string{home, other})
		if err != nil {
			t.Fatal(err)
		}
		c, err := openCallbacks(connectors.CallbackRules{"quote": {Allow: allow, Policy: policyWith(t, byPort), Secrets: []string{hookKey}}}, "test", &names{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.CheckCallback(t.Context(), "quote", home+"/x"); err != nil {
			t.Errorf("an allowed host: got %v, want nil", err)
		}
		if err := c.CheckCallback(t.Context(), "quote", other+"/x"); !errors.Is(err, egress.ErrRefused) || strings.Contains(err.Error(), access.File) {
			t.Errorf("another host: got %v, want ErrRefused without the reason", err)
		}
		_, err = c.post(context.Background(), &callbackWith{URL: other, Process: "quote", Execution: "1"}, &connectors.Call{Body: document.Empty})
		if f := failure(t, err); f.Code != codeRefused || reached {
			t.Errorf("another host: got %+v, reached %v, want %s", f, reached, codeRefused)
		}
	})
	t.Run("a certificate of the machine", func(t *testing.T) {
		s := defaults(home)
		s.TLS.CA = "/etc/ssl/certs/ca-certificates.crt"
		var refusal *access.Refusal
		if _, err := open(s, "1", nil, policyWith(t, "")); !errors.As(err, &refusal) || !strings.Contains(refusal.Hint, "`secret_files:`") {
			t.Errorf("got %v, want a refusal that names secret_files", err)
		}
	})
}
