package imap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

// server is the server that the tests share. Tests that stop it start their own.
var server *servers.Dovecot

func TestMain(m *testing.M) {
	var err error
	if server, err = servers.NewDovecot(0, "", ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// to returns the settings of a connection without TLS to a mailbox of its own.
func to(t *testing.T, port int, changes ...any) connectortest.Settings {
	user := strings.ToLower(strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()))
	s := connectortest.Settings{"host": "127.0.0.1", "port": port, "user": user, "password": servers.MailPassword, "tls": "none"}
	for i := 0; i < len(changes); i += 2 {
		s[changes[i].(string)] = changes[i+1]
	}
	return s
}

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, settings connectortest.Settings) *connection {
	t.Helper()
	c := Connector("1.2.3")
	into := c.NewSettings()
	bind(t, c.Settings, into, settings)
	conn, err := c.Open(into, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn.(*connection)
}

// call makes one attempt of a call and returns its document.
func call(ctx context.Context, t *testing.T, c *connection, operation string, with connectortest.Settings) (string, error) {
	t.Helper()
	op, ok := Connector("1.2.3").Operation(operation)
	if !ok {
		t.Fatalf("there is no operation %s", operation)
	}
	w := op.NewWith()
	bind(t, op.With, w, with)
	r, err := op.Run(ctx, c, w, &connectors.Call{IdempotencyKey: "key-1"})
	if err != nil {
		return "", err
	}
	return r.Doc.Text(), nil
}

func failure(t *testing.T, err error, code string, retryable bool) {
	t.Helper()
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != code || f.Retryable != retryable {
		t.Fatalf("got %#v, want code %s, retryable %v", err, code, retryable)
	}
	if strings.Contains(f.Error(), servers.MailPassword) {
		t.Errorf("the error contains the password: %v", f)
	}
}

// client returns a client of its own of a mailbox.
func client(t *testing.T, settings connectortest.Settings) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(fmt.Sprintf("127.0.0.1:%d", settings["port"]), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(settings["user"].(string), servers.MailPassword).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// put adds a message to a folder.
func put(t *testing.T, c *imapclient.Client, folder, content string) {
	t.Helper()
	content = strings.ReplaceAll(content, "\n", "\r\n")
	a := c.Append(folder, int64(len(content)), &imap.AppendOptions{Time: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)})
	if _, err := a.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), func() error { _, err := a.Wait(); return err }()); err != nil {
		t.Fatal(err)
	}
}

// plain is a message with this text.
func plain(text string) string {
	return "From: Anna <anna@example.com>\nTo: shop@example.com\nSubject: Order\nMessage-ID: <1@example.com>\nDate: Sat, 31 Jan 2026 09:00:00 +0100\n\n" + text
}

// count returns the number of messages in a folder.
func count(t *testing.T, c *imapclient.Client, folder string) int {
	t.Helper()
	data, err := c.Status(folder, &imap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		return 0 // it does not exist yet
	}
	return int(*data.NumMessages)
}

// listen starts a subscription.
func listen(t *testing.T, c *connection, r *connectortest.Runtime, with connectortest.Settings) (stop func()) {
	t.Helper()
	w := &subscribe{}
	bind(t, subscription().With, w, with)
	return connectortest.Listen(t, c, w, r)
}
