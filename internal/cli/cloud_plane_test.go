package cli

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	expect(t, exitFailed, "no control plane answers at https://127.0.0.1:", "cloud", "token", "list", "--data", data)

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
	expect(t, exitFailed, "no control plane answers", "cloud", "token", "list", "--data", data, "--ca", old)
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
