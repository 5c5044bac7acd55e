package dataplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/servercert"
)

// identity is a certificate and its key, both PEM.
type identity struct {
	cert, key string
	pair      tls.Certificate
}

func newIdentity(t *testing.T, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	i := identity{
		cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:  string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
	}
	if i.pair, err = tls.X509KeyPair([]byte(i.cert), []byte(i.key)); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i identity) write(t *testing.T, dir string) servercert.Files {
	t.Helper()
	c := servercert.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for file, text := range map[string]string{c.Cert: i.cert, c.Key: i.key} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (i identity) client(version string, own ...tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(i.cert))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: own}, ForceAttemptHTTP2: version == "HTTP/2.0"}}
}

func TestTLS(t *testing.T) {
	server, partner, stranger := newIdentity(t, "server"), newIdentity(t, "partner"), newIdentity(t, "stranger")
	files := server.write(t, t.TempDir())
	a := &fake{}
	certificate, err := servercert.Open(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Atom: a, Address: "127.0.0.1:0", TLS: certificate})
	s.Deploy([]*atom.DeployedProcess{on("/open"), on("/closed", guarded("partner", "mtls", map[string]any{"ca": partner.cert, "subject": "partner"}))})
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for _, c := range []struct {
		name, version, path string
		own                 []tls.Certificate
		status              int
	}{
		{"HTTP/1.1", "HTTP/1.1", "/open", nil, 200},
		{"HTTP/2", "HTTP/2.0", "/open", nil, 200},
		{"no certificate", "HTTP/2.0", "/closed", nil, 401},
		{"the partner's", "HTTP/2.0", "/closed", []tls.Certificate{partner.pair}, 200},
		{"the partner's, HTTP/1.1", "HTTP/1.1", "/closed", []tls.Certificate{partner.pair}, 200},
		{"a stranger's", "HTTP/1.1", "/closed", []tls.Certificate{stranger.pair}, 401},
		{"a stranger's, where nobody is asked", "HTTP/1.1", "/open", []tls.Certificate{stranger.pair}, 200},
		{"too large", "HTTP/2.0", "/open", nil, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := server.client(c.version, c.own...)
			defer client.CloseIdleConnections()
			body := "{}"
			if c.status == 413 {
				body = strings.Repeat(" ", 2<<20)
			}
			resp, err := client.Post("https://"+s.Addr()+c.path, "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || resp.Proto != c.version {
				t.Errorf("got %d %s %s, want status %v and Proto %q", resp.StatusCode, resp.Proto, text, c.status, c.version)
			}
			if c.status == 200 && c.path == "/closed" && a.last().Principal != "partner/CN=partner" {
				t.Errorf("principal %q", a.last().Principal)
			}
		})
	}
	if _, err := tls.Dial("tcp", s.Addr(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1: got a connection, want an error")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
