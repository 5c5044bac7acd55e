package examples

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"valence/internal/test/servers"
)

// shared is a server for all tests in this package. It starts when one needs it.
type shared struct {
	reader string // the address that the README of an example uses
	start  func() (url string, stop func() error, err error)

	once sync.Once
	url  string
	stop func() error // nil if it does not run
	err  error
}

// brokers are the shared servers by their name in the environment of examples.
var brokers = map[string]*shared{
	"rabbitmq": {reader: "amqp://127.0.0.1", start: func() (string, func() error, error) {
		r, err := servers.NewRabbitMQ()
		if err != nil {
			return "", nil, err
		}
		return r.URL(), r.Close, nil
	}},
	"artemis": {reader: "amqp://127.0.0.1", start: func() (string, func() error, error) {
		a, err := servers.NewArtemis()
		if err != nil {
			return "", nil, err
		}
		return a.URL(), a.Close, nil
	}},
	"postgres": {reader: "postgres://127.0.0.1/warehouse", start: func() (string, func() error, error) {
		var schema []byte // of all examples
		for _, name := range []string{"orders-to-postgres", "postgres-changes"} {
			tables, err := os.ReadFile(folder + "/" + name + "/schema.sql")
			if err != nil {
				return "", nil, err
			}
			schema = append(schema, tables...)
		}
		p, err := servers.NewPostgres()
		if err != nil {
			return "", nil, err
		}
		if err = p.Start(); err == nil {
			err = p.Create("warehouse", string(schema))
		}
		stop := func() error { p.Remove(); return nil }
		return fmt.Sprintf("postgres://127.0.0.1:%d/warehouse", p.Port), stop, err
	}},
	"mosquitto": {reader: "mqtt://127.0.0.1", start: func() (string, func() error, error) {
		m, err := servers.NewMosquitto("")
		if err != nil {
			return "", nil, err
		}
		return m.URL(), m.Close, nil
	}},
	"sshd": {reader: "127.0.0.1", start: func() (string, func() error, error) {
		s, err := servers.NewSSHD()
		if err != nil {
			return "", nil, err
		}
		host, port, err := net.SplitHostPort(s.Address)
		sshd = map[string]string{"sshd_port": port, "sshd_user": s.User, "sshd_key": s.Key, "sshd_host_key": s.HostKey()}
		return host, s.Close, err
	}},
}

// sshd are the other settings of a running SSH server.
var sshd map[string]string

// address returns the address of the server. It skips the test if the machine
// cannot run it.
func (s *shared) address(t *testing.T) string {
	t.Helper()
	s.once.Do(func() { s.url, s.stop, s.err = s.start() })
	if errors.Is(s.err, servers.ErrNoJava) {
		t.Skip(s.err)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.url
}

// ownLogin reports whether a variable has the login of a broker, which each reader
// has another one for.
func ownLogin(e *Example, name string) bool {
	for broker := range brokers {
		if e.Uses(broker) && (strings.HasSuffix(name, "_USER") || strings.HasSuffix(name, "_PASSWORD") || strings.HasSuffix(name, "_KEY") || strings.HasSuffix(name, "_PORT")) {
			return true
		}
	}
	return false
}

// suite are the tests of this package. Their brokers stop after them.
type suite struct{ m *testing.M }

func (s suite) Run() int {
	code := s.m.Run()
	for _, b := range brokers {
		if b.stop == nil {
			continue
		}
		if err := b.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}
