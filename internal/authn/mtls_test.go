package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	a := authority{}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = issue(t, template, authority{})
	return a
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func issue(t *testing.T, template *x509.Certificate, by authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if by.cert != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestMTLS(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	client := func(by authority, change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: "shop", Organization: []string{"Shop Ltd"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if change != nil {
			change(c)
		}
		out, _ := issue(t, c, by)
		return out
	}
	const dn = "CN=shop,O=Shop Ltd"
	for _, c := range []struct {
		name    string
		subject any
		certs   []*x509.Certificate
		who     string
	}{
		{"any of the authority", nil, []*x509.Certificate{client(ours, nil)}, dn},
		{"common name", "shop", []*x509.Certificate{client(ours, nil)}, dn},
		{"whole name", dn, []*x509.Certificate{client(ours, nil)}, dn},
		{"one of several", []any{"erp", "shop"}, []*x509.Certificate{client(ours, nil)}, dn},
		{"another name", "erp", []*x509.Certificate{client(ours, nil)}, ""},
		{"another authority", nil, []*x509.Certificate{client(other, nil)}, ""},
		{"another authority, ours sent along", nil, []*x509.Certificate{client(other, nil), ours.cert}, ""},
		{"expired", nil, []*x509.Certificate{client(ours, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})}, ""},
		{"a server's certificate", nil, []*x509.Certificate{client(ours, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, ""},
		{"no certificate", nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := map[string]any{"ca": ours.pem()}
			if c.subject != nil {
				settings["subject"] = c.subject
			}
			r := request("/")
			r.TLS = &tls.ConnectionState{PeerCertificates: c.certs}
			who, err := build(t, "mtls", settings).Authenticate(r, nil)
			if who != c.who || (err == nil) != (c.who != "") || err != nil && err != ErrDenied {
				t.Errorf("got %q, %v, want %q", who, err, c.who)
			}
		})
	}
	if _, err := build(t, "mtls", map[string]any{"ca": ours.pem()}).Authenticate(request("/"), nil); err != ErrDenied {
		t.Errorf("without TLS: got %v, want %v", err, ErrDenied)
	}
}
