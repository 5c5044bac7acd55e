package postgres_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom/store/postgres"
)

// pooler forwards connections to the server and drops its notifications, as a
// connection pooler in transaction mode does. It returns its port.
func pooler(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go forward(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func forward(client net.Conn) {
	defer client.Close()
	up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server.Port))
	if err != nil {
		return
	}
	defer up.Close()
	go func() { io.Copy(up, client); up.Close() }()
	in := bufio.NewReader(up)
	for {
		head := make([]byte, 5) // type and length
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		if head[0] == 'A' { // NotificationResponse
			continue
		}
		if _, err := client.Write(append(head, body...)); err != nil {
			return
		}
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// A member whose notifications are lost names the pooler once, and reads its
// ready executions regularly instead.
func TestPoolerIsNamedAndTheSweepTakesOver(t *testing.T) {
	address, err := url.Parse(server.URL(server.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	address.Host = fmt.Sprintf("127.0.0.1:%d", pooler(t))
	address.RawQuery = "sslmode=disable"
	log := &lines{}
	s, err := postgres.Open(t.Context(), postgres.Options{URL: address.String(), Group: "shop", Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	var mu sync.Mutex
	sweeps := 0
	if err := s.Join(t.Context(), func(map[string]int64) { mu.Lock(); sweeps++; mu.Unlock() }, func() {}); err != nil {
		t.Fatal(err)
	}
	const warning = "connect without a connection pooler"
	deadline := time.Now().Add(30 * time.Second)
	for log.count(warning) == 0 && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond)
	}
	mu.Lock()
	sweeps = 0
	mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		mu.Lock()
		n := sweeps
		mu.Unlock()
		if n >= 2 {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if n := log.count(warning); n != 1 || sweeps < 2 {
		t.Errorf("got %d warnings and %d sweeps, want one warning and regular sweeps", n, sweeps)
	}
}
