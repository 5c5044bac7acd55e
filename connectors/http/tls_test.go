package http

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"valence/connectors/tlsconfig"
	"valence/internal/document"
	"valence/internal/fault"
)

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// authority signs certificates for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign returns a certificate and its key as PEM.
func (a *authority) sign(t *testing.T, name string, until time.Duration) (cert, key string) {
	k := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// serveTLS runs a server that responds with the caller's name and the protocol.
func serveTLS(t *testing.T, cert, key string, clients *authority) string {
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s over %s", who, r.Proto)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients != nil {
		s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(clients.cert)
	}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	cert, key := ours.sign(t, "erp.example", time.Hour)
	old, oldKey := ours.sign(t, "erp.example", -time.Hour)
	client, clientKey := ours.sign(t, "atom-7", time.Hour)
	stranger, strangerKey := theirs.sign(t, "stranger", time.Hour)
	open, closed, stale := serveTLS(t, cert, key, nil), serveTLS(t, cert, key, ours), serveTLS(t, old, oldKey, nil)
	ca := certificatePEM(ours.cert)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(ca), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, url string
		tls       tlsconfig.Settings
		want      string // the answer; "" is a connect failure
	}{
		{"own authority, HTTP/2", open, tlsconfig.Settings{CA: ca, ServerName: "erp.example"}, "nobody over HTTP/2.0"},
		{"authority in a file", open, tlsconfig.Settings{CA: file, ServerName: "erp.example"}, "nobody over HTTP/2.0"},
		{"the machine's authorities", open, tlsconfig.Settings{ServerName: "erp.example"}, ""},
		{"another authority", open, tlsconfig.Settings{CA: certificatePEM(theirs.cert), ServerName: "erp.example"}, ""},
		{"another name", open, tlsconfig.Settings{CA: ca}, ""},
		{"expired", stale, tlsconfig.Settings{CA: ca, ServerName: "erp.example"}, ""},
		{"mTLS", closed, tlsconfig.Settings{CA: ca, ServerName: "erp.example", Cert: client, Key: clientKey}, "atom-7 over HTTP/2.0"},
		{"mTLS without a certificate", closed, tlsconfig.Settings{CA: ca, ServerName: "erp.example"}, ""},
		{"mTLS as a stranger", closed, tlsconfig.Settings{CA: ca, ServerName: "erp.example", Cert: stranger, Key: strangerKey}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := defaults(test.url)
			s.TLS = test.tls
			c := connect(t, s)
			for range 2 {
				r, err := c.do(t.Context(), call("post", &with{}, document.FromText("x")))
				if test.want == "" {
					// With TLS 1.3, a server rejects a client after its
					// handshake, which may appear only as a broken connection.
					f := failure(t, err)
					refused := f.Code == fault.CodeConnect || test.url == closed && f.Code == fault.CodeAborted
					if !refused || !f.Retryable {
						t.Errorf("got %+v, want the certificate rejected, retryable", f)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := r.Doc.Value(); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}

func TestTLSSettings(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.sign(t, "x", time.Hour)
	_, otherKey := a.sign(t, "x", time.Hour)
	for want, set := range map[string]tlsconfig.Settings{
		"tls: ca: neither PEM nor a readable file: no such file or directory": {CA: "/nowhere/ca.pem"},
		"tls: ca: no PEM certificate found":                                   {CA: key},
		"tls: ca: neither PEM nor a file path":                                {CA: "a\nb"},
		"tls: cert and key must be set together":                              {Cert: cert},
		"tls: cert and key: tls: private key does not match public key":       {Cert: cert, Key: otherKey},
	} {
		s := defaults("https://x.example")
		s.TLS = set
		if _, err := open(s, "1", nil, nil); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestCertificateStaysHome checks that a redirect does not present our
// certificate to another host.
func TestCertificateStaysHome(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.sign(t, "localhost", time.Hour)
	asked := make(chan int, 2)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	other := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) { asked <- len(r.TLS.PeerCertificates) }))
	other.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	other.StartTLS()
	t.Cleanup(other.Close)
	home := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		asked <- len(r.TLS.PeerCertificates)
		nethttp.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), nethttp.StatusFound)
	}))
	home.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	home.StartTLS()
	t.Cleanup(home.Close)
	s := defaults(strings.Replace(home.URL, "127.0.0.1", "localhost", 1))
	s.TLS = tlsconfig.Settings{CA: certificatePEM(a.cert), Cert: cert, Key: key}
	if _, err := connect(t, s).do(t.Context(), call("get", &with{}, nil)); err != nil {
		t.Fatal(err)
	}
	if first, second := <-asked, <-asked; first != 1 || second != 0 {
		t.Errorf("certificates shown: %d at home, %d elsewhere; want 1 and 0", first, second)
	}
}

// proxyServer is an HTTP proxy: CONNECT for https, absolute URLs for http. It
// resolves every name to target.
func proxyServer(t *testing.T, target string, status int) (string, *atomic.Int64) {
	var used atomic.Int64
	address := strings.TrimPrefix(strings.TrimPrefix(target, "https://"), "http://")
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		used.Add(1)
		if status != 200 {
			nethttp.Error(w, "no", status)
			return
		}
		if r.Method != nethttp.MethodConnect {
			out := r.Clone(r.Context())
			out.RequestURI, out.URL.Host = "", address
			resp, err := nethttp.DefaultTransport.RoundTrip(out)
			if err != nil {
				nethttp.Error(w, err.Error(), nethttp.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body)
			return
		}
		up, err := net.Dial("tcp", address)
		if err != nil {
			nethttp.Error(w, err.Error(), nethttp.StatusBadGateway)
			return
		}
		down, buffered, err := w.(nethttp.Hijacker).Hijack()
		if err != nil {
			up.Close()
			return
		}
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		tunnel(down, buffered.Reader, up)
	}))
	t.Cleanup(s.Close)
	return s.URL, &used
}

func tunnel(down net.Conn, buffered *bufio.Reader, up net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, buffered)
		up.Close()
	}()
	_, _ = io.Copy(down, up)
	down.Close()
	<-done
}

func TestProxy(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.sign(t, "erp.example", time.Hour)
	secure, plain := serveTLS(t, cert, key, nil), serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) { fmt.Fprint(w, "plain for "+r.Host) })
	tests := []struct {
		url, target string
		status      int
		want        string
		code        string
	}{
		{"https://erp.example", secure, 200, "nobody over HTTP/2.0", ""},
		{"http://erp.example", plain, 200, "plain for erp.example", ""},
		{"https://erp.example", secure, 407, "the proxy returned 407 Proxy Authentication Required", fault.CodeConnect},
		{"https://erp.example", secure, 502, "the proxy returned 502 Bad Gateway", fault.CodeConnect},
		{"https://erp.example", "127.0.0.1:1", 200, "the proxy returned 502 Bad Gateway", fault.CodeConnect},
		{"http://erp.example", plain, 407, "returned 407 Proxy Authentication Required", fault.CodeStatus},
	}
	for _, test := range tests {
		proxy, used := proxyServer(t, test.target, test.status)
		s := defaults(test.url)
		s.TLS.CA = certificatePEM(a.cert)
		c, err := open(s, "1", func(*nethttp.Request) (*url.URL, error) { return url.Parse(proxy) }, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.do(t.Context(), call("post", &with{}, document.FromText("x")))
		if test.code == "" {
			if err != nil || r.Doc.Value() != test.want {
				t.Errorf("%s: got %v %v, want %s", test.url, r, err, test.want)
			}
		} else if f := failure(t, err); f.Code != test.code || !strings.Contains(f.Message, test.want) {
			t.Errorf("%s: got %+v, want code %s, message %q", test.url, f, test.code, test.want)
		}
		if used.Load() != 1 {
			t.Errorf("%s: got %d requests to the proxy, want 1", test.url, used.Load())
		}
		c.Close()
	}
	// No proxy listens, so nothing is sent.
	s := defaults("https://erp.example")
	c, err := open(s, "1", func(*nethttp.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.do(t.Context(), call("get", &with{}, nil))
	if f := failure(t, err); f.Code != fault.CodeConnect || !f.Retryable {
		t.Errorf("got %+v, want %s, retryable", f, fault.CodeConnect)
	}
}
