package migrate_test

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"testing"
)

// beyondLoopback returns the URL of a database at an address of this machine that
// is not loopback. It skips the test if the machine has none.
func beyondLoopback(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(address(t, database))
	if err != nil {
		t.Fatal(err)
	}
	known, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range known {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() == nil || !n.IP.IsGlobalUnicast() {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(n.IP.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		to := u.Host
		go func() {
			for {
				client, err := l.Accept()
				if err != nil {
					return
				}
				if from := client.RemoteAddr().(*net.TCPAddr); !from.IP.Equal(n.IP) { // another machine
					client.Close()
					continue
				}
				go forward(client, to)
			}
		}()
		u.Host = l.Addr().String()
		return u.String()
	}
	t.Skip("this machine has no address besides loopback")
	return ""
}

// forward joins a client and a server until one of them closes.
func forward(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	io.Copy(client, server)
}

// A database on another machine needs TLS in both directions, unless the flag of
// valence run allows a connection without it.
func TestPlaintext(t *testing.T) {
	dir, database := filepath.Join(t.TempDir(), "data"), pg.Database(t)
	f := &filler{TB: t}
	s := openFolder(t, dir)
	f.Store = s
	use(t, s, f.plain)
	remote := beyondLoopback(t, database)
	into := []string{"migrate", "--from", dir, "--to", remote, "--group", "shop"}
	back := []string{"migrate", "--from", remote, "--to", filepath.Join(t.TempDir(), "back"), "--group", "shop"}
	refused := func(option string, args []string) {
		t.Helper()
		code, out, errs := run(t, args...)
		hint := "try: add ?sslmode=verify-full to " + option + ", or --store-allow-plaintext"
		if code != 3 || out != "" || !contains(errs, "is not encrypted") || !contains(errs, hint) {
			t.Errorf("got exit code %d\n%s%swant 3 and %q", code, out, errs, hint)
		}
	}
	refused("--to", into)
	pg.Exec(t, database, "DO $$ BEGIN IF to_regclass('atom_execution') IS NOT NULL THEN RAISE 'something was written'; END IF; END $$")
	mustRun(t, append(into, "--store-allow-plaintext")...)
	refused("--from", back)
	mustRun(t, append(back, "--store-allow-plaintext")...)
}
