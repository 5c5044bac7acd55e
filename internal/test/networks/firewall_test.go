package networks

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/internal/test/program"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(m, &binary)) }

// systems plays the CRM in the cloud and the ERP at the site.
type systems struct {
	mu   sync.Mutex
	puts map[string][]string // idempotency keys the ERP received, by record
}

func (s *systems) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := filepath.Base(r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPut {
		s.mu.Lock()
		s.puts[id] = append(s.puts[id], r.Header.Get("Idempotency-Key"))
		s.mu.Unlock()
		fmt.Fprint(w, "{}")
		return
	}
	fmt.Fprintf(w, `{"id":%q,"company":"c","credit_limit":1.50}`, id)
}

// world is the relay in a network.
type world struct {
	*network
	systems *systems
	folder  string
	plane   string // data folder
	ca      string
	client  *http.Client // from the cloud
}

func newWorld(t *testing.T, proxied bool) *world {
	t.Helper()
	w := &world{network: newNetwork(t, proxied), systems: &systems{puts: map[string][]string{}}, folder: t.TempDir()}
	w.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer(w.cloud)}}
	for ns, address := range map[string]string{w.cloud: cloudIP + ":8001", w.site: siteIP + ":8002"} {
		srv := &http.Server{Handler: w.systems, ReadHeaderTimeout: 10 * time.Second}
		ln := w.listen(ns, address)
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
	}
	cert, key := w.certificate()
	w.plane = filepath.Join(w.folder, "plane")
	w.start("control plane", w.cloud, nil, "cloud", "--listen", cloudIP+":9092", "--data", w.plane, "--tls-cert", cert, "--tls-key", key)
	w.until("the control plane is ready", func() string {
		_, err := os.Stat(filepath.Join(w.plane, "cloud.json"))
		if err != nil {
			return err.Error()
		}
		return ""
	})
	return w
}

// certificate creates a certificate for the control plane.
func (w *world) certificate() (cert, key string) {
	w.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "control plane"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(cloudIP)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		w.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, key = filepath.Join(w.folder, "cert.pem"), filepath.Join(w.folder, "key.pem")
	w.ca = cert
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return cert, key
}

// start starts the program in a namespace and stops it when the test ends.
func (w *world) start(what, ns string, env []string, args ...string) *exec.Cmd {
	w.t.Helper()
	out, err := os.Create(filepath.Join(w.folder, strings.ReplaceAll(what, " ", "-")+".log"))
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns, binary}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			w.t.Errorf("the %s does not stop on SIGTERM", what)
		}
		if text, err := os.ReadFile(out.Name()); err == nil && w.t.Failed() {
			w.t.Logf("the %s:\n%s", what, text)
		}
		out.Close()
	})
	return cmd
}

// valence runs a command in a namespace and returns its output.
func (w *world) valence(ns string, env []string, in string, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns, binary}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	cmd.Env = append(append(os.Environ(), "VALENCE_CLOUD_DATA="+w.plane, "VALENCE_CLOUD_CA="+w.ca,
		"VALENCE_CLOUD_TOKEN_FILE="+filepath.Join(w.plane, "admin.token")), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("valence %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) manage(in string, args ...string) string {
	w.t.Helper()
	return w.valence(w.cloud, nil, in, args...)
}

// join enrols an atom and starts it.
func (w *world) join(name, ns, listen string, env []string) {
	w.t.Helper()
	w.manage("", "cloud", "environments", "make", name)
	token := w.manage("", "cloud", "install-token", "--environment", name)
	data := filepath.Join(w.folder, name)
	w.valence(ns, env, "", "join", "https://"+cloudIP+":9092", "--token", token, "--name", name, "--data", data, "--ca", w.ca)
	if err := os.WriteFile(filepath.Join(data, "policy.yaml"), []byte("secret_files: ["+w.ca+"]\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.start("atom "+name, ns, env, "run", "--data", data, "--listen", listen, "--admin", "127.0.0.1:9091")
}

// deploy deploys both sides.
func (w *world) deploy() {
	w.t.Helper()
	relay := w.manage("", "cloud", "token", "--role", "operator", "--name", "relay")
	w.manage("", "cloud", "value", "--environment", "cloudside", "CLOUD_URL=https://"+cloudIP+":9092", "ONPREM_ATOM=edge-01", "connection.control-plane.ca="+w.ca)
	w.manage(relay, "cloud", "secret", "CLOUD_TOKEN", "--environment", "cloudside")
	w.manage("key", "cloud", "secret", "CRM_EVENTS_KEY", "--environment", "cloudside")
	w.manage("", "cloud", "value", "--environment", "edge-01", "CRM_URL=http://"+cloudIP+":8001", "ERP_URL=http://"+siteIP+":8002")
	w.manage("key", "cloud", "secret", "CRM_KEY", "--environment", "edge-01")
	for environment, project := range map[string]string{"cloudside": "cloud", "edge-01": "onprem"} {
		w.manage("", "deploy", filepath.Join("../../../examples/firewall-relay", project), "--to", "https://"+cloudIP+":9092", "--environment", environment, "--version", "1.0.0")
	}
}

// events posts the events from..to from the cloud.
func (w *world) events(from, to int) {
	w.t.Helper()
	for i := from; i < to; i++ {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+cloudIP+":9090/events/records",
			strings.NewReader(fmt.Sprintf(`{"event":"e%d","record":"C-%d"}`, i, i)))
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Crm-Key", "key")
		resp, err := w.client.Do(req)
		if err != nil {
			w.t.Fatalf("event %d: %v", i, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			w.t.Fatalf("event %d: got %s, want 200", i, resp.Status)
		}
	}
}

// arrived waits until the ERP holds n records, each written with one idempotency
// key.
func (w *world) arrived(n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%d records are in the ERP", n), func() string {
		w.systems.mu.Lock()
		defer w.systems.mu.Unlock()
		if len(w.systems.puts) < n {
			return fmt.Sprintf("there are %d", len(w.systems.puts))
		}
		return ""
	})
	w.systems.mu.Lock()
	defer w.systems.mu.Unlock()
	for id, keys := range w.systems.puts {
		for _, k := range keys {
			if k == "" || k != keys[0] {
				w.t.Errorf("%s was written by different executions: %q", id, keys)
			}
		}
	}
}

// recorded waits until the control plane holds exactly one record of each
// execution.
func (w *world) recorded(n int) {
	w.t.Helper()
	token, err := os.ReadFile(filepath.Join(w.plane, "admin.token"))
	if err != nil {
		w.t.Fatal(err)
	}
	pem, err := os.ReadFile(w.ca)
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer(w.cloud), TLSClientConfig: tlsOf(pool)}}
	w.until(fmt.Sprintf("there are %d records of executions", n), func() string {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "https://"+cloudIP+":9092/api/rest/v1/default/ExecutionRecord/query",
			strings.NewReader(`{"QueryFilter":{"expression":{"operator":"EQUALS","property":"processName","argument":["store-record"]}}}`))
		if err != nil {
			return err.Error()
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json")
		req.SetBasicAuth("BOOMI_TOKEN.admin", strings.TrimSpace(string(token)))
		resp, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		var list struct {
			NumberOfResults int
			Result          []struct{ Status string }
		}
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Sprint(resp.Status, " ", err)
		}
		complete := 0
		for _, r := range list.Result {
			if r.Status == "COMPLETE" {
				complete++
			}
		}
		if list.NumberOfResults != n || complete != n {
			return fmt.Sprintf("there are %d, %d of them complete", list.NumberOfResults, complete)
		}
		return ""
	})
}

func (w *world) until(what string, met func() string) {
	w.t.Helper()
	why := ""
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
		if why = met(); why == "" {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	w.t.Fatalf("not in time: %s: %s", what, why)
}

// closed checks that no connection from the cloud reaches the site.
func (w *world) closed() {
	w.t.Helper()
	for _, port := range []string{"8002", "9190"} {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		c, err := dialer(w.cloud)(ctx, "tcp", net.JoinHostPort(siteIP, port))
		cancel()
		if err == nil {
			c.Close()
			w.t.Errorf("from the cloud, port %s of the site can be reached", port)
		} else if !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			w.t.Errorf("the firewall answers instead of dropping: %v", err)
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// relay posts events before, during and after an interruption of the link.
func (w *world) relay() {
	w.t.Helper()
	w.deploy()
	w.closed()
	w.events(0, 10)
	w.arrived(10)
	w.events(10, 15)
	w.link("down") // at an arbitrary moment of their work
	w.events(15, 25)
	<-time.After(3 * time.Second)
	w.link("up")
	w.restore()
	w.events(25, 30)
	w.arrived(30)
	w.recorded(30)
	w.closed()
}

// restore adds the site's route again, which was removed with the link.
func (w *world) restore() {
	w.t.Helper()
	if err := exec.Command("ip", "netns", "exec", w.site, "ip", "route", "replace", "default", "via", siteGW).Run(); err != nil {
		w.t.Fatal(err)
	}
}

// TestThroughNAT runs the relay over outbound NAT while inbound packets are
// dropped.
func TestThroughNAT(t *testing.T) {
	w := newWorld(t, false)
	w.join("cloudside", w.cloud, cloudIP+":9090", nil)
	w.join("edge-01", w.site, siteIP+":9190", nil)
	w.relay()
}

// TestThroughProxy runs the relay through an authenticating proxy while nothing
// else is forwarded.
func TestThroughProxy(t *testing.T) {
	w := newWorld(t, true)
	w.proxy()
	through := "http://atom:s3cret@" + proxyAt
	w.join("cloudside", w.cloud, cloudIP+":9090", nil)
	w.join("edge-01", w.site, siteIP+":9190", []string{"HTTPS_PROXY=" + through, "HTTP_PROXY=" + through, "NO_PROXY=" + siteIP})
	w.relay()
}

// proxy starts a proxy on the firewall.
func (w *world) proxy() {
	w.t.Helper()
	file := filepath.Join(w.folder, "tinyproxy.conf")
	config := "Port 8888\nListen " + siteGW + "\nTimeout 600\nMaxClients 50\nLogLevel Connect\nLogFile \"" + filepath.Join(w.folder, "tinyproxy.log") + "\"\n" +
		"BasicAuth atom s3cret\nConnectPort 9092\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", w.firewall, "tinyproxy", "-d", "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	w.until("the proxy listens", func() string {
		c, err := dialer(w.site)(w.t.Context(), "tcp", proxyAt)
		if err != nil {
			return err.Error()
		}
		c.Close()
		return ""
	})
}
