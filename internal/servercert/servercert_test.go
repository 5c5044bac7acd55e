package servercert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// identity is a certificate and its key, both PEM.
type identity struct{ cert, key []byte }

func newIdentity(t *testing.T, name string, expires time.Time) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: expires.AddDate(-1, 0, 0), NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})}
}

func (i identity) write(t *testing.T, dir string) Files {
	t.Helper()
	f := Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for file, text := range map[string][]byte{f.Cert: i.cert, f.Key: i.key} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// touch changes the modification times, which a coarse clock may not.
func touch(t *testing.T, f Files, hours int) {
	t.Helper()
	at := time.Now().Add(time.Duration(hours) * time.Hour)
	for _, name := range []string{f.Cert, f.Key} {
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExpiryIsReported checks that a certificate that expires within 14 days is
// reported once a day, also without connections, until it is replaced.
func TestExpiryIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		dir := t.TempDir()
		expires := time.Now().AddDate(0, 0, 16).Add(time.Hour)
		files := newIdentity(t, "old", expires).write(t, dir)
		c, err := Open(files, slog.New(slog.NewTextHandler(&lines, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !c.Expires().Equal(expires.Truncate(time.Second)) {
			t.Errorf("got expiry %s, want %s", c.Expires(), expires)
		}
		go c.Run(t.Context())
		count := func(when string, warnings, failures int) {
			t.Helper()
			synctest.Wait()
			if w, e := strings.Count(lines.String(), "expires soon"), strings.Count(lines.String(), "has expired"); w != warnings || e != failures {
				t.Errorf("%s: got %d warnings and %d errors, want %d and %d:\n%s", when, w, e, warnings, failures, lines.String())
			}
		}
		time.Sleep(48 * time.Hour)
		count("15 days before", 0, 0)
		time.Sleep(48 * time.Hour)
		count("two days later", 2, 0)
		time.Sleep(14 * 24 * time.Hour)
		count("after the expiry", 14, 2)
		lines.Reset()
		newIdentity(t, "new", time.Now().AddDate(1, 0, 0)).write(t, dir)
		touch(t, files, 1)
		time.Sleep(48 * time.Hour)
		count("after the replacement", 0, 0)
	})
}

func TestCertificateReload(t *testing.T) {
	one, two := newIdentity(t, "one", time.Now().AddDate(100, 0, 0)), newIdentity(t, "two", time.Now().AddDate(100, 0, 0))
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var lines strings.Builder
		files := one.write(t, dir)
		r, err := Open(files, slog.New(slog.NewTextHandler(&lines, nil)))
		if err != nil {
			t.Fatal(err)
		}
		expect := func(when, name string) {
			t.Helper()
			c, err := r.current()
			if err != nil {
				t.Fatalf("%s: got %v, want no error", when, err)
			}
			leaf, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil || leaf.Subject.CommonName != name {
				t.Errorf("%s: got %q, %v, want no error, Subject.CommonName name", when, leaf.Subject.CommonName, err)
			}
		}
		expect("at first", "one")
		two.write(t, dir)
		touch(t, files, 1)
		expect("within a second", "one")
		<-time.After(checkInterval)
		expect("after a second", "two")
		if err := os.WriteFile(files.Key, []byte("half a k"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			<-time.After(checkInterval)
			expect("while the files are wrong", "two")
		}
		if err := os.Remove(files.Cert); err != nil {
			t.Fatal(err)
		}
		<-time.After(checkInterval)
		expect("while a file is missing", "two")
		one.write(t, dir)
		touch(t, files, 2)
		<-time.After(checkInterval)
		expect("when they are right again", "one")
		if n := strings.Count(lines.String(), "level=ERROR"); n != 2 {
			t.Errorf("%d errors in the log, want one for each way of being wrong:\n%s", n, lines.String())
		}
	})
}
