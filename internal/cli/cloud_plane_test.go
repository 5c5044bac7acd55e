package cli

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/internal/agent"
)

// begin starts a control plane; the function stops it.
func begin(t *testing.T, o *cloudRunCmd) (stop func()) {
	t.Helper()
	o.Retention, o.Rate = time.Hour, 100
	p, err := openPlane(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.start(context.Background()); err != nil {
		t.Fatal(p.finish(err))
	}
	return func() {
		if err := p.finish(nil); err != nil {
			t.Error(err)
		}
	}
}

// expect runs a command line and holds its end against what it is to be.
func expect(t *testing.T, code int, shown string, args ...string) {
	t.Helper()
	var out, errs strings.Builder
	got := Main(args, strings.NewReader(""), &out, &errs)
	if got != code || !strings.Contains(out.String()+errs.String(), shown) {
		t.Errorf("%v: exit code %d\n%s%s", args, got, &out, &errs)
	}
}

func TestControlPlaneWithTLS(t *testing.T) {
	cert, key := certificate(t)
	data := filepath.Join(t.TempDir(), "plane")
	stop := begin(t, &cloudRunCmd{Listen: "0.0.0.0:0", Data: data, TLSCert: cert, TLSKey: key})
	expect(t, exitDone, "admin", "cloud", "token", "list", "--data", data, "--ca", cert)
	expect(t, exitFailed, "try: --ca FILE with the certificate of its authority", "cloud", "token", "list", "--data", data)
	at, _ := readCloudAddress(data)
	plain := strings.Replace(at.URL, "https:", "http:", 1)
	expect(t, exitFailed, "it may be one that asks for TLS\ntry: "+at.URL, "cloud", "token", "list", "--data", data, "--url", plain)
	expect(t, exitUsage, "try: --url "+at.URL+"\n", "cloud", "token", "list", "--data", data, "--url", at.URL+"/api/rest/v1/default")
	expect(t, exitFailed, "it may be one that asks for TLS\ntry: "+at.URL, "join", plain, "--token", "vi_x", "--data", t.TempDir())
	token := filepath.Join(t.TempDir(), "ci.token")
	if err := os.WriteFile(token, []byte("vt_01234567890123456789012345678901234567890"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, exitFailed, "may be read by others\ntry: chmod 600 "+token, "cloud", "token", "list", "--data", data, "--ca", cert, "--token-file", token)
	expect(t, exitFailed, "is wrong, has expired, or was revoked", "deploy", "../../examples/xml-to-json", "--to", at.URL, "--ca", cert, "--environment", "x", "--version", "1", "--token-file", token)

	// A certificate that replaces it is taken without a restart.
	before, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(t.TempDir(), "old.pem")
	if err := os.WriteFile(old, before, 0o600); err != nil {
		t.Fatal(err)
	}
	next, nextKey := certificate(t)
	for from, to := range map[string]string{next: cert, nextKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // it looks once a second
		var out, errs strings.Builder
		if Main([]string{"cloud", "token", "list", "--data", data, "--ca", cert}, strings.NewReader(""), &out, &errs) == exitDone {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the new certificate is not taken: %s", &errs)
		}
	}
	expect(t, exitFailed, "try: --ca FILE", "cloud", "token", "list", "--data", data, "--ca", old)
	stop()
}

// Who has the data folder and has lost the token gets another one.
func TestAdminTokenIsMadeAgain(t *testing.T) {
	data := filepath.Join(t.TempDir(), "plane")
	begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: data})()
	path := filepath.Join(data, cloudTokenFile)
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: data})()
	if same, err := os.ReadFile(path); err != nil || string(same) != string(first) {
		t.Errorf("a start changed the token: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	stop := begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: data})
	expect(t, exitDone, "the file with the token was gone", "cloud", "audit", "--data", data)
	stop()
}

// TestMetricsAreAboutAll: a token of one environment does not get what is counted
// of all.
func TestMetricsAreAboutAll(t *testing.T) {
	data := filepath.Join(t.TempDir(), "plane")
	defer begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: data})()
	expect(t, exitDone, "", "cloud", "environments", "make", "test", "--data", data)
	a, _ := readCloudAddress(data)
	for want, args := range map[int][]string{200: {}, 401: {"--environment", "test"}} {
		var out, errs strings.Builder
		if code := Main(append([]string{"cloud", "token", "--role", "viewer", "--name", "x", "--data", data}, args...), strings.NewReader(""), &out, &errs); code != exitDone {
			t.Fatal(errs.String())
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(out.String()))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%v: %d, want %d", args, resp.StatusCode, want)
		}
	}
}

// TestOtherSites: a browser that knows a token does nothing with it that another
// site has it post; programs say nothing of sites.
func TestOtherSites(t *testing.T) {
	data := filepath.Join(t.TempDir(), "plane")
	defer begin(t, &cloudRunCmd{Listen: "127.0.0.1:0", Data: data})()
	a, _ := readCloudAddress(data)
	token, err := os.ReadFile(filepath.Join(data, cloudTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/rest/v1/default/Environment", "/api/v1/default/environments"} {
		for header, want := range map[string]int{"Sec-Fetch-Site: cross-site": 403, "Origin: https://evil.example": 403, "Sec-Fetch-Site: same-origin": 200, "X: y": 200} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+path, strings.NewReader(`{"name":"`+header+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth("BOOMI_TOKEN.admin", strings.TrimSpace(string(token)))
			name, value, _ := strings.Cut(header, ": ")
			r.Header.Set(name, value)
			r.Header.Set("Content-Type", "text/plain") // which a form can send
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.StatusCode; got != want && !(want == 200 && got == http.StatusConflict) {
				t.Errorf("%s with %s: %d, want %d", path, header, got, want)
			}
		}
	}
}

// What a proxy says is told as what the proxy said.
func TestProxyThatDoesNotConnect(t *testing.T) {
	status := http.StatusProxyAuthRequired
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer proxy.Close()
	host := strings.TrimPrefix(proxy.URL, "http://")
	err := &url.Error{Op: "Post", Err: &agent.ProxyError{Host: host, Status: status}}
	if said := reachError("https://cloud.example", err); !strings.Contains(said.Error(), "the proxy "+host+" does not connect us: 407") {
		t.Error(said)
	}
	u, _ := url.Parse(proxy.URL)
	for _, status = range []int{http.StatusProxyAuthRequired, http.StatusForbidden} {
		c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u), OnProxyConnectResponse: agent.ProxyAnswer}}
		_, err := c.Get("https://cloud.example")
		if refused := (*agent.ProxyError)(nil); !errors.As(err, &refused) || refused.Status != status || refused.Host != host {
			t.Errorf("%v", err)
		}
	}
}

func TestExposedDataFolder(t *testing.T) {
	data := t.TempDir()
	for name, c := range map[string]struct {
		folder, file os.FileMode
		told         string
	}{
		"own":      {0o700, 0o600, ""},
		"readable": {0o755, 0o600, ""},
		"written":  {0o770, 0o600, "chmod 700"},
		"anybody":  {0o777, 0o600, "chmod 700"},
		"the key":  {0o700, 0o644, "secrets.key: chmod 600"},
	} {
		file := filepath.Join(data, cloudKeyFile)
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(file, c.file), os.Chmod(data, c.folder)); err != nil {
			t.Fatal(err)
		}
		if told := exposed(data, cloudKeyFile); (told == "") != (c.told == "") || !strings.Contains(told, c.told) {
			t.Errorf("%s: %q", name, told)
		}
	}
}
