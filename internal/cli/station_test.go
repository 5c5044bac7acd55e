package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed certificate for this machine.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "valence test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// project writes one file and loads it.
func project(t *testing.T, yaml string) *loaded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := loadRight([]string{path}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAdminWithTLSBeyondLoopback(t *testing.T) {
	cert, key := certificate(t)
	data := filepath.Join(t.TempDir(), "data")
	st, err := open(&stationOptions{
		places: placeFlags{Data: data},
		serve:  serveFlags{Listen: "127.0.0.1:0", Admin: "0.0.0.0:0", AdminTLSCert: cert, AdminTLSKey: key, Grace: time.Second},
		log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.start(project(t, "process: note\nsteps:\n  - log: hi\n")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"processes", "--data", data, "--admin-ca", cert}, exitDone, "note     called", ""},
		{[]string{"processes", "--data", data}, exitFailed, "", "error: no atom answers at https://127.0.0.1:"},
		{[]string{"processes", "--data", data, "--admin-ca", key}, exitFailed, "", "holds no certificate"},
	} {
		var out, errs strings.Builder
		code := Main(c.args, strings.NewReader(""), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.stdout) || !strings.Contains(errs.String(), c.stderr) {
			t.Errorf("%v: exit code %d\n%s%s", c.args, code, &out, &errs)
		}
	}
	if err := st.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(data, addressFile)); err == nil {
		t.Error("after the stop it is still written down where the atom answers")
	}
}

func TestValuesOfAnEnvironment(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTHER_NAME", "from a variable")
	t.Setenv("A_URL", "of the machine")
	p := project(t, `
connection: a
connector: http
url: ${env.A_URL}
headers: { X-One: "${secret.ONE}", X-Two: "${secret.TWO}" }
---
process: p
steps:
  - call: a.get
    with: { path: / }
---
environment: prod
values: { A_URL: "http://a.example", UNUSED: kept }
secrets: { ONE: { file: `+secret+` }, TWO: { variable: OTHER_NAME } }
`)
	v, err := valuesOf(p.project, "prod")
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]string{
		"A_URL": {v.env["A_URL"], "http://a.example"}, "UNUSED": {v.env["UNUSED"], "kept"},
		"ONE": {v.secrets["ONE"], "s3cret"}, "TWO": {v.secrets["TWO"], "from a variable"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	if v.environment == nil || v.environment.Name != "prod" {
		t.Error("the environment is not handed on")
	}
}

func TestKeyOfADataFolder(t *testing.T) {
	dir := t.TempDir()
	first, err := atomKey(dir)
	if err != nil || len(first) != 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	again, err := atomKey(dir)
	if err != nil || string(again) != string(first) {
		t.Errorf("the key changed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := atomKey(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged key: %v", err)
	}
}
