package servers

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStartServerTriesAgainAfterAnExit(t *testing.T) {
	starts, stops := 0, 0
	err := startServer(func(deadline time.Time) error {
		starts++
		exited := make(chan struct{})
		if starts == 1 {
			close(exited)
		}
		return awaitServer(deadline, exited, func(context.Context) error { return nil })
	}, func() { stops++ }, "")
	if err != nil || starts != 2 || stops != 1 {
		t.Errorf("got %d starts, %d stops and %v, want 2, 1 and nil", starts, stops, err)
	}
	final := errors.New("not installed")
	if err := startServer(func(time.Time) error { return final }, func() {}, filepath.Join(t.TempDir(), "log")); !errors.Is(err, final) {
		t.Errorf("got %v, want %v", err, final)
	}
}

// TestMariaDBOnATakenPort checks that a server that cannot listen is noticed,
// although another one answers.
func TestMariaDBOnATakenPort(t *testing.T) {
	first, err := NewMariaDB()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Remove()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first.Port = l.Addr().(*net.TCPAddr).Port
	if err := first.launch(); err != nil {
		t.Fatal(err)
	}
	err = awaitServer(time.Now().Add(startTime), first.done, func(context.Context) error { return errors.New("no answer") })
	if !errors.Is(err, errExited) {
		t.Fatalf("got %v, want %v", err, errExited)
	}
	first.Port = 0
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(l.Addr().String(), ":"+strconv.Itoa(first.Port)) {
		t.Errorf("got port %d, want another one", first.Port)
	}
}
