package ftp

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/connectors/connectortest"
	"valence/connectors/folder"
	"valence/internal/access"
	"valence/internal/fault"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

func TestOperations(t *testing.T) {
	c := connect(t, at(t, vsftpd.Address, connectortest.Settings{"max_size": "1000B"}))
	connectortest.Files(t, root(t), func(op, body string, with connectortest.Settings) (string, error) {
		return call(t.Context(), t, c, op, body, with)
	})
}

// TestNames checks names that servers could read as patterns, options or
// commands.
func TestNames(t *testing.T) {
	dir := root(t)
	c := connect(t, at(t, vsftpd.Address, nil))
	for _, name := range []string{"a b.txt", "-la", "[x]*?.txt", "ü€.txt", `"q".txt`, "$(id);x", ".hidden", "%41", "~"} {
		path := name + "/" + name
		if _, err := call(t.Context(), t, c, "write", "x", connectortest.Settings{"path": path}); err != nil {
			t.Errorf("write %q: got %v, want nil", name, err)
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Errorf("write %q: got %v, want the file", name, err)
		}
		if got, err := call(t.Context(), t, c, "read", "", connectortest.Settings{"path": path, "as": "text"}); err != nil || got != `"x"` {
			t.Errorf("read %q: got %s, %v, want x", name, got, err)
		}
		if _, err := call(t.Context(), t, c, "move", "", connectortest.Settings{"path": path, "to": name + "/y"}); err != nil {
			t.Errorf("move %q: got %v, want nil", name, err)
		}
		if _, err := call(t.Context(), t, c, "delete", "", connectortest.Settings{"path": name + "/y"}); err != nil {
			t.Errorf("delete %q: got %v, want nil", name, err)
		}
	}
	for _, name := range []string{"a\r\nDELE b", "a\nb", "a\x00b"} {
		_, err := call(t.Context(), t, c, "read", "", connectortest.Settings{"path": name})
		wantFailure(t, "a command in a name", err, folder.CodeBadCall, false, "line breaks")
	}
}

func TestTLS(t *testing.T) {
	cert, key := testcert.New(t)
	start := func(implicit bool) string {
		t.Helper()
		s, err := servers.NewVSFTPD(cert, key, implicit)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s.Address
	}
	required, implicit := start(false), start(true)
	list := func(address, mode, ca string) error {
		t.Helper()
		c := connect(t, at(t, address, connectortest.Settings{"tls": mode, "ca": ca, "root": "."}))
		if _, err := call(t.Context(), t, c, "write", strings.Repeat("x", 100_000), connectortest.Settings{"path": "x"}); err != nil {
			return err
		}
		_, err := call(t.Context(), t, c, "read", "", connectortest.Settings{"path": "x", "as": "text"})
		return err
	}
	if err := list(required, "required", cert); err != nil {
		t.Errorf("required: got %v, want nil", err)
	}
	if err := list(implicit, "implicit", cert); err != nil {
		t.Errorf("implicit: got %v, want nil", err)
	}
	wantFailure(t, "an unknown authority", list(required, "required", ""), fault.CodeConnect, true, "certificate")
	wantFailure(t, "an unknown authority", list(implicit, "implicit", ""), fault.CodeConnect, true, "certificate")
	wantFailure(t, "a server without TLS", list(vsftpd.Address, "required", cert), fault.CodeConnect, true, "the server does not offer TLS")
	wantFailure(t, "a server that requires TLS", list(required, "none", ""), CodeAuth, true, "check user, password and tls")
}

func TestWrongPassword(t *testing.T) {
	c := connect(t, at(t, vsftpd.Address, connectortest.Settings{"password": "another"}))
	_, err := call(t.Context(), t, c, "list", "", nil)
	wantFailure(t, "a wrong password", err, CodeAuth, true, "the server refused the login")
}

// killer is content during whose transfer the server dies.
type killer struct {
	server *servers.VSFTPD
	left   int
}

func (k *killer) Read(b []byte) (int, error) {
	if k.left -= len(b); k.left < 0 {
		k.server.Kill()
	}
	return len(b), nil
}

// TestServerDies checks that a file is written completely or not at all.
func TestServerDies(t *testing.T) {
	s, err := servers.NewVSFTPD("", "", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c := connect(t, at(t, s.Address, connectortest.Settings{"root": "."}))
	err = c.Use(t.Context(), func(fsys folder.FS) error {
		return fsys.Write(t.Context(), "x.part", folder.Create, &killer{s, 1 << 20})
	})
	wantFailure(t, "write", err, fault.CodeAborted, true, "the connection was lost")
	if err := os.WriteFile(s.Files+"/big.txt", make([]byte, 32<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	err = c.Use(t.Context(), func(fsys folder.FS) error {
		f, err := fsys.Open(t.Context(), "big.txt")
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(f, make([]byte, 1<<20)); err != nil {
			t.Errorf("read: got %v, want a megabyte", err)
		}
		s.Kill()
		if _, err := io.Copy(io.Discard, f); err != nil {
			return err
		}
		return f.Close()
	})
	wantFailure(t, "read", err, fault.CodeAborted, true, "the connection was lost")
	if _, err := call(t.Context(), t, c, "list", "", nil); err != nil {
		t.Errorf("after the server is back: got %v, want nil", err)
	}
}

// TestSilentServer checks that a server that stops answering ends neither a
// deadline nor a call without one.
func TestSilentServer(t *testing.T) {
	dir := root(t)
	if err := os.WriteFile(dir+"/a.txt", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := connectortest.NewLink(t, vsftpd.Address)
	c := connect(t, at(t, link.Address, nil))
	for op, with := range map[string]connectortest.Settings{
		"list": nil, "read": {"path": "a.txt"}, "write": {"path": "b.txt"}, "append": {"path": "b.txt"}, "delete": {"path": "a.txt"}, "mkdir": {"path": "c"}, "move": {"path": "a.txt", "to": "b.txt"},
	} {
		if _, err := call(t.Context(), t, c, "list", "", nil); err != nil {
			t.Fatal(err)
		}
		link.StallAfter(0)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := call(ctx, t, c, op, "x", with)
		cancel()
		wantFailure(t, op, err, fault.CodeTimeout, true, "timed out")
		link.Restore()
	}
	c.silence = 50 * time.Millisecond
	if _, err := call(t.Context(), t, c, "list", "", nil); err != nil {
		t.Fatal(err)
	}
	link.StallAfter(0)
	_, err := call(t.Context(), t, c, "list", "", nil)
	wantFailure(t, "without a deadline", err, fault.CodeAborted, true, "the connection was lost")
}

func TestPolicy(t *testing.T) {
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	into := &settings{}
	bind(t, settingsFields, into, at(t, vsftpd.Address, connectortest.Settings{"host": "localhost"}))
	c, err := open(into, policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = call(t.Context(), t, c, "list", "", nil)
	wantFailure(t, "an address that is not allowed", err, folder.CodeBadCall, false, "does not allow")
	into.Timezone = "Nowhere/Nothing"
	if _, err := open(into, nil); err == nil || !strings.Contains(err.Error(), "timezone must be the name of a time zone") {
		t.Errorf("got %v for an unknown time zone, want an error", err)
	}
}
