package sftp

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/connectors/connectortest"
	"valence/internal/fault"
	"valence/internal/test/servers"
)

// another starts a server for one test.
func another(t *testing.T) *servers.SSHD {
	t.Helper()
	s, err := servers.NewSSHD()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestHostKeys(t *testing.T) {
	s := another(t)
	former := s.HostKey()
	known := filepath.Join(t.TempDir(), "known_hosts")
	host, port, _ := strings.Cut(s.Address, ":")
	write := func(line string) {
		t.Helper()
		put(t, known, "# servers\n"+line+"\n")
	}
	write("[" + host + "]:" + port + " " + former)
	byFile := at(t, s.Address, connectortest.Settings{"key": s.Key, "host_key": nil, "known_hosts": known})
	byKey := at(t, s.Address, connectortest.Settings{"key": s.Key, "host_key": former})
	list := func(settings connectortest.Settings) error {
		_, err := call(t.Context(), t, connect(t, settings), "list", "", nil)
		return err
	}
	for what, settings := range map[string]connectortest.Settings{"known_hosts": byFile, "host_key": byKey} {
		if err := list(settings); err != nil {
			t.Errorf("%s: got %v, want nil", what, err)
		}
	}
	if err := s.ChangeHostKey(); err != nil {
		t.Fatal(err)
	}
	for what, settings := range map[string]connectortest.Settings{"known_hosts": byFile, "host_key": byKey} {
		wantFailure(t, "a changed key and "+what, list(settings), CodeAuth, true, "the server is not the expected one: its host key is ssh-ed25519 SHA256:")
	}
	byKey["host_key"] = []any{former, s.HostKey()}
	if err := list(byKey); err != nil {
		t.Errorf("both keys: got %v, want nil", err)
	}
	c := connect(t, byFile)
	write("[" + host + "]:" + port + " " + s.HostKey())
	if _, err := call(t.Context(), t, c, "list", "", nil); err != nil {
		t.Errorf("a corrected known_hosts: got %v, want nil", err)
	}
	write("files.example " + s.HostKey())
	wantFailure(t, "an unknown server", list(byFile), CodeAuth, true, "the server is not in known_hosts; its key is ssh-ed25519 SHA256:")
}

func TestWrongKey(t *testing.T) {
	s := another(t)
	c := connect(t, at(t, sshd.Address, connectortest.Settings{"key": s.Key}))
	_, err := call(t.Context(), t, c, "list", "", nil)
	wantFailure(t, "the key of another user", err, CodeAuth, true, "the server refused the login")
}

// TestLostConnection checks that a file is written completely or not at all, and
// that a later attempt works.
func TestLostConnection(t *testing.T) {
	dir := root(t)
	link := connectortest.NewLink(t, sshd.Address)
	c := connect(t, at(t, link.Address, nil))
	put(t, dir+"/old.txt", "old")
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for _, x := range []struct {
		op, body string
		with     connectortest.Settings
	}{
		{"write", big, connectortest.Settings{"path": "new.txt"}},
		{"write", big, connectortest.Settings{"path": "old.txt"}},
		{"append", big, connectortest.Settings{"path": "log.txt"}},
	} {
		if _, err := call(t.Context(), t, c, "list", "", nil); err != nil {
			t.Fatal(err)
		}
		link.CutAfter(300_000)
		_, err := call(t.Context(), t, c, x.op, x.body, x.with)
		wantFailure(t, x.op, err, fault.CodeAborted, true, "the connection was lost")
		link.Restore()
	}
	for _, name := range connectortest.FileNames(t, dir) {
		if name != "old.txt" && name != "log.txt" && !strings.HasSuffix(name, ".part") {
			t.Errorf("got the file %s, want only temporary ones besides old.txt and log.txt", name)
		}
	}
	if b, err := os.ReadFile(dir + "/old.txt"); string(b) != "old" {
		t.Errorf("old.txt: got %d bytes, %v, want it unchanged", len(b), err)
	}
	if _, err := call(t.Context(), t, c, "write", big, connectortest.Settings{"path": "new.txt"}); err != nil {
		t.Fatalf("another attempt: got %v, want nil", err)
	}
	if b, err := os.ReadFile(dir + "/new.txt"); string(b) != big {
		t.Errorf("new.txt: got %d bytes, %v, want %d", len(b), err, len(big))
	}
}

// TestSilentServer checks that a server that stops answering ends neither a
// deadline nor, with signs of life, a call without one.
func TestSilentServer(t *testing.T) {
	dir := root(t)
	put(t, dir+"/a.txt", strings.Repeat("x", 1<<20))
	link := connectortest.NewLink(t, sshd.Address)
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
	c = connect(t, at(t, link.Address, nil))
	c.period = 20 * time.Millisecond
	if _, err := call(t.Context(), t, c, "list", "", nil); err != nil {
		t.Fatal(err)
	}
	link.StallAfter(0)
	_, err := call(t.Context(), t, c, "list", "", nil)
	wantFailure(t, "without a deadline", err, fault.CodeAborted, true, "the connection was lost")
}
