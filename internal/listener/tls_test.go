package listener

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
	"testing/synctest"
	"time"

	"valence/atom"
)

// identity is a certificate with its key, both as PEM.
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

func (i identity) write(t *testing.T, dir string) Certificate {
	t.Helper()
	c := Certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
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
	s := New(Options{Atom: a, Address: "127.0.0.1:0", TLS: &files})
	s.Deploy([]*atom.Deployed{on("/open"), on("/closed", guarded("partner", "mtls", map[string]any{"ca": partner.cert, "subject": "partner"}))})
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
				t.Errorf("got %d %s %s", resp.StatusCode, resp.Proto, text)
			}
			if c.status == 200 && c.path == "/closed" && a.last().Principal != "partner/CN=partner" {
				t.Errorf("principal %q", a.last().Principal)
			}
		})
	}
	if _, err := tls.Dial("tcp", s.Addr(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCertificateReload(t *testing.T) {
	one, two := newIdentity(t, "one"), newIdentity(t, "two")
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var lines strings.Builder
		r := &reloader{files: one.write(t, dir), log: slog.New(slog.NewTextHandler(&lines, nil))}
		expect := func(when, name string) {
			t.Helper()
			c, err := r.current()
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil || leaf.Subject.CommonName != name {
				t.Errorf("%s: got %q, %v", when, leaf.Subject.CommonName, err)
			}
		}
		touch := func(n int) { // files differ by their time, which a coarse clock may not show
			at := time.Now().Add(time.Duration(n) * time.Hour)
			for _, f := range []string{r.files.Cert, r.files.Key} {
				if err := os.Chtimes(f, at, at); err != nil {
					t.Fatal(err)
				}
			}
		}
		expect("at first", "one")
		two.write(t, dir)
		touch(1)
		expect("within a second", "one")
		<-time.After(lookEvery)
		expect("after a second", "two")
		if err := os.WriteFile(r.files.Key, []byte("half a k"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			<-time.After(lookEvery)
			expect("while the files are wrong", "two")
		}
		if err := os.Remove(r.files.Cert); err != nil {
			t.Fatal(err)
		}
		<-time.After(lookEvery)
		expect("while a file is missing", "two")
		one.write(t, dir)
		touch(2)
		<-time.After(lookEvery)
		expect("when they are right again", "one")
		if n := strings.Count(lines.String(), "level=ERROR"); n != 2 {
			t.Errorf("%d errors in the log, want one for each way of being wrong:\n%s", n, lines.String())
		}
	})
}
