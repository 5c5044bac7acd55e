package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS is a NATS server with JetStream.
type NATS struct {
	URL     string
	options server.Options
	running *server.Server
	temp    string // removed by Close; empty if the caller owns the data
}

// readyTimeout bounds the start of a server.
const readyTimeout = 20 * time.Second

// StartNATS starts a server on a port, 0 for any free one, with its data in
// dir, or in a temporary folder if dir is empty. change, if not nil, changes the
// options.
func StartNATS(port int, dir string, change func(o *server.Options)) (*NATS, error) {
	n := &NATS{}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "nats-"); err != nil {
			return nil, err
		}
		n.temp = dir
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	n.options = server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30}
	if change != nil {
		change(&n.options)
	}
	if err := n.Start(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Start starts the server again after Kill, on the same port and data.
func (n *NATS) Start() error {
	options := n.options
	s, err := server.NewServer(&options)
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	go s.Start()
	if !s.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		return errors.New("start NATS: it does not get ready")
	}
	n.running, n.options.Port = s, s.Addr().(*net.TCPAddr).Port
	n.URL = fmt.Sprintf("nats://127.0.0.1:%d", n.options.Port)
	return nil
}

// Kill drops all connections of the server at once and stops it.
func (n *NATS) Kill() {
	if n.running != nil {
		n.running.Shutdown()
		n.running.WaitForShutdown()
		n.running = nil
	}
}

// Close stops the server and removes its data if they are temporary.
func (n *NATS) Close() {
	n.Kill()
	if n.temp != "" {
		_ = os.RemoveAll(n.temp)
	}
}

// Server returns the running server.
func (n *NATS) Server() *server.Server { return n.running }

// Stream creates a stream with these subjects.
func (n *NATS) Stream(name string, subjects ...string) error {
	nc, err := nats.Connect(n.URL)
	if err != nil {
		return fmt.Errorf("create the stream %s: %w", name, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: subjects}); err != nil {
		return fmt.Errorf("create the stream %s: %w", name, err)
	}
	return nil
}
