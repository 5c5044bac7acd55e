package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"valence/internal/test/servers"
)

// The disk of a group's database fills while orders arrive. Members refuse them
// with 503, and accept again once there is space. No acknowledged order is lost.
func TestGroupFullDisk(t *testing.T) {
	sink := newCustomers(t)
	server, disk := postgresOnDisk(t, "256m")
	url := groupURL(t, server)
	var members []*atom
	for i := range 2 {
		members = append(members, startMember(t, i+1, sink.addr(), url, groupProject))
	}
	const shoppers, each = 10, 20
	senders := sendOrders(members, shoppers, each, 200*time.Millisecond)
	within(t, 60*time.Second, "some orders", func() bool { return sink.total() > 3*shoppers })
	sink.mark("the disk is full")
	ballast := filepath.Join(disk, "filled-by-test")
	fill(t, ballast)
	acknowledged := 0 // of other customers, while it fills
	for i, m := range members {
		within(t, 60*time.Second, "a refusal", func() bool {
			status, header, text := m.send("POST", "/orders", fmt.Sprintf(`{"customer":"full%d-%d","n":1,"x":%q}`, i, time.Now().UnixNano(), strings.Repeat("x", 100_000)))
			switch {
			case status == 200:
				acknowledged++
			case status != 503 || header.Get("Retry-After") == "" || !strings.Contains(text, "not accepted"):
				t.Errorf("a full disk: got %d %s, want 503 with Retry-After and the reason", status, text)
			}
			return status == 503
		})
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	sink.mark("there is space again")
	within(t, 60*time.Second, "the database", func() bool { // a service manager restarts it, if it has exited
		if server.Try("postgres", "SELECT 1") == nil {
			return true
		}
		server.Kill(syscall.SIGKILL)
		return server.Start() == nil
	})
	senders.Wait()
	within(t, 60*time.Second, "all orders", func() bool { return sink.total() >= shoppers*each+acknowledged })
	for _, m := range members { // a refusal whose commit succeeded all the same is none of them
		within(t, 60*time.Second, "the end of the backlog", func() bool { return len(m.executions("accepted"))+len(m.executions("running")) == 0 })
	}
	sink.check(t, 2*shoppers) // one for each lane, of each member
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for i := range shoppers {
		if n := sink.last[fmt.Sprint("c", i)]; n != each {
			t.Errorf("got %d orders of c%d, want %d", n, i, each)
		}
	}
}

// postgresOnDisk starts a server whose data is on a small disk of its own.
func postgresOnDisk(t *testing.T, size string) (*servers.Postgres, string) {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	for dir := disk; dir != os.TempDir(); dir = filepath.Dir(dir) { // the server is another user
		if dir == disk {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=0755,size="+size, "tmpfs", disk).CombinedOutput(); err != nil {
		t.Fatalf("this test mounts a small disk and needs root: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	server, err := servers.NewPostgresIn(disk)
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	return server, disk
}
