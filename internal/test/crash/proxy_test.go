package crash

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// only is an authenticating HTTP proxy, the only route to a control plane.
type only struct {
	*httptest.Server
	to      string // target of every request
	open    atomic.Bool
	refused atomic.Int64
	passed  atomic.Int64
	mu      sync.Mutex
	conns   []net.Conn
}

func newOnly(t *testing.T, to string) *only {
	p := &only{to: to}
	p.open.Store(true)
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() { p.shut(); p.Close() })
	return p
}

func (p *only) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Proxy-Authorization") != "Basic ZWRnZTpzM2NyZXQ=" { // edge:s3cret
		p.refused.Add(1)
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodConnect || r.Host != "cloud.test:443" || !p.open.Load() {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	p.passed.Add(1)
	p.mu.Lock()
	p.conns = append(p.conns, here, there)
	p.mu.Unlock()
	io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { io.Copy(there, here); there.Close() }()
	go func() { io.Copy(here, there); here.Close() }()
}

// shut cuts every connection and rejects new ones.
func (p *only) shut() {
	p.open.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// certificate returns a certificate for name, issued by its own authority, and
// the authority in PEM.
func certificate(t *testing.T, name string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestThroughAProxy runs an atom whose only way out is an authenticating proxy
// to a control plane with a private certificate authority. The route is cut and
// restored: nothing is lost and nothing runs twice.
func TestThroughAProxy(t *testing.T) {
	j, dest := newJoined(t, rand.New(rand.NewPCG(1, 1)))
	cert, authority := certificate(t, "cloud.test")
	secure := httptest.NewUnstartedServer(j.line.Config.Handler)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	proxy := newOnly(t, secure.Listener.Addr().String())
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	join := func(as string, args ...string) ([]byte, error) {
		t.Setenv("HTTPS_PROXY", "http://"+as+"@"+proxy.Listener.Addr().String())
		args = append([]string{"join", "https://cloud.test", "--token", j.plane.InstallToken(t, "prod"), "--name", "edge-02", "--data", j.data, "--again"}, args...)
		return exec.Command(binary, args...).CombinedOutput()
	}
	if out, err := join("edge:wrong", "--ca", ca); err == nil || proxy.refused.Load() == 0 {
		t.Fatalf("a proxy that refuses: %s", out)
	}
	if out, err := join("edge:s3cret"); err == nil {
		t.Fatalf("an unknown authority was trusted: %s", out)
	}
	if out, err := join("edge:s3cret", "--ca", ca); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	atoms, err := j.plane.Fleet.Atoms(t.Context(), j.plane.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range atoms {
		if a.Name == "edge-02" {
			j.id = a.ID
		}
	}
	j.begin()
	_, d := j.plane.Deploy(t, j.environment, "relay", "1", versionOf(1))
	deadline := time.Now().Add(30 * time.Second)
	for active := false; !active; pause(20 * time.Millisecond) {
		x, err := j.plane.Deployments.Get(t.Context(), j.plane.Admin, d.ID)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, tail(j.out.String()))
		}
		for _, r := range x.Results {
			active = active || r.AtomID == j.id && r.State == "active"
		}
	}
	var requests []string
	for n := range 30 {
		if n == 10 {
			proxy.shut()
		}
		requests = append(requests, j.execute(n))
	}
	pause(300 * time.Millisecond)
	proxy.open.Store(true)
	for n, request := range requests {
		j.record(request)
		if _, keys := dest.got("/1/a/" + strconv.Itoa(n)); keys != 1 {
			t.Errorf("%d ran %d times", n, keys)
		}
	}
	if proxy.passed.Load() < 2 {
		t.Error("it did not go through the proxy")
	}
}
