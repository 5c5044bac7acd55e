package pgdb

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// tlsServer accepts connections like a PostgreSQL server with TLS, and ends them
// after the handshake. It returns its port, and the file of its authority.
func tlsServer(t *testing.T) (port int, authority string) {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	authority = filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	config := &tls.Config{Certificates: web.TLS.Certificates}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 8) // SSLRequest
			if _, err := io.ReadFull(c, request); err == nil {
				_, _ = c.Write([]byte("S")) // the client may have left
				_ = tls.Server(c, config).Handshake()
			}
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, authority
}

// A certificate that does not match is rejected with its own message.
func TestCertificates(t *testing.T) {
	port, authority := tlsServer(t)
	for _, c := range []struct{ name, host, options, text, hint string }{
		{"unknown authority", "127.0.0.1", "sslmode=verify-full", "is signed by an unknown authority", "sslrootcert"},
		{"another host", "localhost", "sslmode=verify-full&sslrootcert=" + authority, "is for another host", "a host name of the certificate"},
	} {
		s, err := Parse(fmt.Sprintf("postgres://valence@%s:%d/shop?%s", c.host, port, c.options), Session{Name: "test", Connections: 1, Statement: time.Second, Lock: time.Second, Idle: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Connect(t.Context())
		if err == nil {
			t.Fatalf("%s: got a connection, want an error", c.name)
		}
		var e *Error
		if !errors.As(s.Explain(err), &e) || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s: got %+v for %v, want %q and %q", c.name, e, err, c.text, c.hint)
		}
	}
}

// The errors of a connection pooler name its settings.
func TestPoolers(t *testing.T) {
	s, err := Parse("postgres://valence@127.0.0.1:6432/shop?sslmode=disable", Session{Name: "test", Connections: 1, Statement: time.Second, Lock: time.Second, Idle: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for code, hint := range map[string]string{"08P01": "ignore_startup_parameters", "42P05": "default_query_exec_mode=exec", "26000": "default_query_exec_mode=exec"} {
		var e *Error
		if !errors.As(s.Explain(&pgconn.PgError{Code: code, Message: "no"}), &e) || !strings.Contains(e.Text, "the connection pooler at 127.0.0.1:6432") || !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: got %+v, want the pooler and the hint %q", code, e, hint)
		}
	}
}
