package controlplane_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/internal/cli"
	"valence/internal/cli/controlplane"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/test/testcert"
)

// start starts a control plane and returns the function that stops it.
func start(t *testing.T, c *controlplane.Command) (stop func()) {
	t.Helper()
	end, err := controlplane.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

// run runs a command line and returns its exit code and output.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = cli.Main(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// expect fails unless a command line ends with the exit code and prints the text.
func expect(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	got, out, errs := run(args...)
	if got != code || !strings.Contains(out+errs, text) {
		t.Errorf("%v: got exit code %d and\n%s%swant %d and %q", args, got, out, errs, code, text)
	}
}

func TestControlPlaneWithTLS(t *testing.T) {
	cert, key := testcert.New(t)
	data := filepath.Join(t.TempDir(), "plane")
	defer start(t, &controlplane.Command{Listen: "0.0.0.0:0", Data: data, TLSCert: cert, TLSKey: key})()
	list := []string{"cloud", "token", "list", "--data", data}
	with := func(more ...string) []string { return append(list[:len(list):len(list)], more...) }
	expect(t, clierror.ExitOK, "admin", with("--ca", cert)...)
	expect(t, clierror.ExitFailed, "try: --ca FILE with the CA certificate", list...)
	at, _ := datafolder.ReadCloudAddress(data)
	plain := strings.Replace(at.URL, "https:", "http:", 1)
	expect(t, clierror.ExitFailed, "it may require TLS\ntry: "+at.URL, with("--url", plain)...)
	expect(t, clierror.ExitUsage, "try: --url "+at.URL+"\n", with("--url", at.URL+"/api/rest/v1/default")...)
	expect(t, clierror.ExitFailed, "it may require TLS\ntry: "+at.URL, "join", plain, "--token", "vi_x", "--data", t.TempDir())
	token := filepath.Join(t.TempDir(), "ci.token")
	if err := os.WriteFile(token, []byte("vt_01234567890123456789012345678901234567890"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(t, clierror.ExitFailed, "other users can read the token in "+token+"\ntry: chmod 600 "+token, with("--ca", cert, "--token-file", token)...)
	expect(t, clierror.ExitFailed, "is wrong, expired or revoked", "deploy", "../../../examples/xml-to-json", "--to", at.URL, "--ca", cert, "--environment", "x", "--version", "1", "--token-file", token)

	old := replaceCertificate(t, cert, key)
	var stderr string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // the server checks the files once a second
		code, _, errs := run(with("--ca", cert)...)
		if stderr = errs; code == clierror.ExitOK {
			break
		}
	}
	if stderr != "" {
		t.Fatalf("the new certificate is not used: %s", stderr)
	}
	expect(t, clierror.ExitFailed, "try: --ca FILE", with("--ca", old)...)
}

// replaceCertificate replaces the certificate in the files and returns a copy
// of the old one.
func replaceCertificate(t *testing.T, cert, key string) (old string) {
	t.Helper()
	before, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	old = filepath.Join(t.TempDir(), "old.pem")
	if err := os.WriteFile(old, before, 0o600); err != nil {
		t.Fatal(err)
	}
	next, nextKey := testcert.New(t)
	for from, to := range map[string]string{next: cert, nextKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return old
}

func TestLostAdminTokenIsReplaced(t *testing.T) {
	data := filepath.Join(t.TempDir(), "plane")
	restart := func() func() {
		return start(t, &controlplane.Command{Listen: "127.0.0.1:0", Data: data})
	}
	restart()()
	path := filepath.Join(data, controlplane.TokenFile)
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	restart()()
	if again, err := os.ReadFile(path); err != nil || string(again) != string(first) {
		t.Errorf("a start changed the token: got %q, %v, want %q", again, err, first)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	defer restart()()
	expect(t, clierror.ExitOK, "the token file was missing", "cloud", "audit", "--data", data)
}

func TestMetricsNeedATokenForAllEnvironments(t *testing.T) {
	data := filepath.Join(t.TempDir(), "plane")
	defer start(t, &controlplane.Command{Listen: "127.0.0.1:0", Data: data})()
	expect(t, clierror.ExitOK, "", "cloud", "environments", "make", "test", "--data", data)
	a, _ := datafolder.ReadCloudAddress(data)
	for want, args := range map[int][]string{200: {}, 401: {"--environment", "test"}} {
		code, token, errs := run(append([]string{"cloud", "token", "--role", "viewer", "--name", "x", "--data", data}, args...)...)
		if code != clierror.ExitOK {
			t.Fatalf("got %q, want %v", errs, clierror.ExitOK)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("token with %v: got status %d, want %d", args, resp.StatusCode, want)
		}
	}
}

// Browsers send stored credentials with requests of other sites. Programs send
// no header about sites.
func TestCrossSiteRequestsAreRejected(t *testing.T) {
	data := filepath.Join(t.TempDir(), "plane")
	defer start(t, &controlplane.Command{Listen: "127.0.0.1:0", Data: data})()
	a, _ := datafolder.ReadCloudAddress(data)
	token, err := os.ReadFile(filepath.Join(data, controlplane.TokenFile))
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
			r.Header.Set("Content-Type", "text/plain") // a type that HTML forms can send
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.StatusCode; got != want && !(want == 200 && got == http.StatusConflict) {
				t.Errorf("%s with %s: got status %d, want %d", path, header, got, want)
			}
		}
	}
}
