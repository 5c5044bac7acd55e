package examples

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/internal/test/program"
)

// controlPlane is a running `valence cloud`.
type controlPlane struct {
	t    *testing.T
	url  string
	data string
	stop func()
}

// startPlane starts a control plane and waits until it is ready.
func startPlane(t *testing.T) *controlPlane {
	t.Helper()
	p := &controlPlane{t: t, data: t.TempDir()}
	p.url = "http://" + freeAddress(t)
	p.start()
	return p
}

// start starts the control plane on its data folder; stop stops it.
func (p *controlPlane) start() {
	t := p.t
	t.Helper()
	out := &program.Output{}
	cmd := exec.Command(binary, "cloud", "--listen", strings.TrimPrefix(p.url, "http://"), "--data", p.data)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	p.stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the control plane's output:\n%s", out)
		}
	})
	for end := time.Now().Add(30 * time.Second); ; {
		if resp, err := http.Get(p.url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the control plane is not ready:\n%s", out)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// valence runs a command and returns its output.
func (p *controlPlane) valence(in string, args ...string) string {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), binary, args...)
	cmd.Stdin = strings.NewReader(in)
	cmd.Env = append(os.Environ(), "VALENCE_CLOUD_DATA="+p.data, "VALENCE_CLOUD_TOKEN_FILE="+filepath.Join(p.data, "admin.token"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("valence %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// joined starts an atom in an environment of the same name.
func (p *controlPlane) joined(name string) *atom {
	p.t.Helper()
	p.valence("", "cloud", "environments", "make", name)
	token := p.valence("", "cloud", "install-token", "--environment", name)
	data := p.t.TempDir()
	p.valence("", "join", p.url, "--token", token, "--name", name, "--data", data)
	cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data)
	return startUntil(p.t, cmd, data, "/healthz")
}

// records implements the CRM that has the records and the ERP that receives them.
type records struct {
	mu  sync.Mutex
	got map[string][]string
}

func (s *records) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch name := filepath.Base(r.URL.Path); r.Method {
	case http.MethodGet:
		if r.Header.Get("X-Api-Key") != "demo-crm-key" {
			http.Error(w, "missing API key", http.StatusUnauthorized)
			return
		}
		answer(w, map[string]any{"id": name, "company": "Müller " + name, "credit_limit": json.Number("12000.50")})
	case http.MethodPut:
		var doc map[string]any
		if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.got[name] = append(s.got[name], fmt.Sprint(doc["name"], " ", doc["credit"]))
		s.mu.Unlock()
		answer(w, map[string]any{})
	}
}

// TestFirewallRelay runs the relay example with a control plane and two atoms
// that only poll it: an event in the cloud becomes a record in the ERP.
func TestFirewallRelay(t *testing.T) {
	systems := &records{got: map[string][]string{}}
	server := httptest.NewServer(systems)
	t.Cleanup(server.Close)
	p := startPlane(t)
	relay := p.valence("", "cloud", "token", "--role", "operator", "--name", "relay")
	cloud, edge := p.joined("cloudside"), p.joined("edge-01")

	p.valence("", "cloud", "value", "--environment", "cloudside", "CLOUD_URL="+p.url, "ONPREM_ATOM=edge-01")
	p.valence(relay, "cloud", "secret", "CLOUD_TOKEN", "--environment", "cloudside")
	p.valence("demo-events-key", "cloud", "secret", "CRM_EVENTS_KEY", "--environment", "cloudside")
	p.valence("", "cloud", "value", "--environment", "edge-01", "CRM_URL="+server.URL, "ERP_URL="+server.URL)
	p.valence("demo-crm-key", "cloud", "secret", "CRM_KEY", "--environment", "edge-01")
	for environment, project := range map[string]string{"cloudside": "cloud", "edge-01": "onprem"} {
		p.valence("", "deploy", filepath.Join(folder, "firewall-relay", project), "--to", p.url, "--environment", environment, "--version", "1.0.0")
	}

	for i := range 20 {
		id := fmt.Sprintf("C-%d", i)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, cloud.listen+"/events/records",
			strings.NewReader(fmt.Sprintf(`{"event":"e%d","record":%q}`, i, id)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Crm-Key", "demo-events-key")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("event %d: got %s, want 200", i, resp.Status)
		}
	}
	edge.until("every record is in the ERP once", func() string {
		systems.mu.Lock()
		defer systems.mu.Unlock()
		for i := range 20 {
			id := fmt.Sprintf("C-%d", i)
			if got := systems.got[id]; len(got) != 1 || got[0] != fmt.Sprintf("MÜLLER C-%d 12000.5", i) {
				return fmt.Sprintf("%s: %q", id, got)
			}
		}
		return ""
	})
}
