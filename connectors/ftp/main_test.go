package ftp

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

// vsftpd is the server of all tests in this package. It has no TLS.
var vsftpd *servers.VSFTPD

func TestMain(m *testing.M) {
	var err error
	if vsftpd, err = servers.NewVSFTPD("", "", false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := vsftpd.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// at returns the settings of a connection to an address without TLS, with a
// folder of its own.
func at(t *testing.T, address string, with connectortest.Settings) connectortest.Settings {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s := connectortest.Settings{"host": host, "port": n, "user": servers.FTPUser, "password": servers.FTPPassword, "tls": "none", "root": filepath.Base(root(t))}
	for k, v := range with {
		s[k] = v
	}
	return s
}

// root returns the folder of a test on the server.
func root(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(vsftpd.Files, strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

// connect opens a connection until the test ends.
func connect(t *testing.T, s connectortest.Settings) *connection {
	t.Helper()
	into := &settings{}
	bind(t, settingsFields, into, s)
	c, err := open(into, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// call makes one attempt of a call and returns the data view of its result.
func call(ctx context.Context, t *testing.T, c *connection, name, body string, with connectortest.Settings) (string, error) {
	t.Helper()
	op, ok := Connector("1").Operation(name)
	if !ok {
		t.Fatalf("there is no operation %s", name)
	}
	w := op.NewWith()
	bind(t, op.With, w, with)
	doc := document.FromText(body)
	if strings.HasPrefix(body, "{") {
		doc = document.FromJSON([]byte(body))
	}
	r, err := op.Run(ctx, c, w, &connectors.Call{Body: doc})
	if err != nil {
		return "", err
	}
	return r.Doc.Data(), nil
}

// wantFailure checks the code and the text of a failure.
func wantFailure(t *testing.T, what string, err error, code string, retryable bool, text string) {
	t.Helper()
	f := fault.AsFailure(err)
	if f == nil || f.Code != code || f.Retryable != retryable || !strings.Contains(f.Message, text) {
		t.Errorf("%s: got %v, want %s (retryable: %v) with %q", what, err, code, retryable, text)
	}
}
