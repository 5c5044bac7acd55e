package sql

import (
	"strings"
	"testing"

	"valence/internal/fault"
)

// TestTLSRefused checks that nothing is sent to a server without encryption if
// it is required.
func TestTLSRefused(t *testing.T) {
	for _, driver := range []string{driverPostgres, driverMySQL} {
		s := *database(t, driver)
		s.TLS = tlsRequired
		_, err := run(t.Context(), connect(t, &s), "query", &query{SQL: sqlOf("select 1"), MaxRows: 1})
		f := fails(t, err, fault.CodeConnect, true)
		if !strings.Contains(strings.ToUpper(f.Message), "TLS") || strings.Contains(f.Message, s.Password) {
			t.Errorf("%s: got %s, want the reason without the password", driver, f.Message)
		}
	}
}

func TestCA(t *testing.T) {
	for ca, want := range map[string]string{
		"missing.pem": "tls: ca: neither PEM nor a readable file",
		"-----BEGIN CERTIFICATE-----\nnot base64\n-----END CERTIFICATE-----": "tls: ca: no PEM certificate found",
	} {
		_, err := open(&settings{Driver: driverPostgres, Host: "db.example", TLS: tlsRequired, CA: ca}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
