package ftp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"valence/connectors/connectortest"
	"valence/connectors/folder"
)

// counting is a server whose listings are counted.
func counting(t *testing.T, server string) (address string, listings *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listings = &atomic.Int32{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			running.Go(func() { defer client.Close(); _, _ = io.Copy(client, to) })
			running.Go(func() {
				defer to.Close()
				for lines := bufio.NewScanner(client); lines.Scan(); {
					if command, _, _ := strings.Cut(lines.Text(), " "); command == "LIST" || command == "MLSD" {
						listings.Add(1)
					}
					fmt.Fprint(to, lines.Text(), "\r\n")
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().String(), listings
}

// TestArchiveIsNotListed checks that a long archive does not make each file more
// expensive, and that no file in it is replaced.
func TestArchiveIsNotListed(t *testing.T) {
	dir := root(t)
	for _, sub := range []string{"in", "done"} {
		if err := os.Mkdir(dir+"/"+sub, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir+"/"+sub, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	const files = 20
	for i := range files {
		if err := os.WriteFile(fmt.Sprintf("%s/in/%d.txt", dir, i), []byte("new"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/done/7.txt", []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	address, listings := counting(t, vsftpd.Address)
	c := connect(t, at(t, address, nil))
	w := &folder.Settings{}
	bind(t, Connector("1").Subscription.With, w, connectortest.Settings{"folder": "in", "archive": "done", "every": "1h", "stable_for": "0s"})
	r := connectortest.NewRuntime()
	stop := connectortest.Listen(t, c, w, r)
	connectortest.Await(t, r, "all", func(s connectortest.State) bool { return len(s.Accepted) == files && s.Lag == 0 })
	stop()
	if n := listings.Load(); n > 3 {
		t.Errorf("got %d listings for %d files, want one of each folder", n, files)
	}
	archived, err := os.ReadDir(dir + "/done")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(dir + "/done/7.txt"); len(archived) != files+1 || string(b) != "old" {
		t.Errorf("got %d archived files, and %s (%v) in the old one, want %d and old", len(archived), b, err, files+1)
	}
}
