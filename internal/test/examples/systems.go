package examples

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"valence/internal/test/servers"
)

// ReceivedCall is a call that a system received.
type ReceivedCall struct {
	To     string // "system METHOD /path?query"
	Header http.Header
	Body   []byte
	Status int // of the response
}

// Systems are the other systems of an example, listening on loopback.
type Systems struct {
	Addresses map[string]string // URL by name

	servers   []*http.Server
	closers   []func()
	mailboxes map[string]*servers.Dovecot
	done      sync.WaitGroup
	onCall    func(ReceivedCall)

	mu   sync.Mutex
	got  []ReceivedCall
	used map[string]int
}

// Start starts the systems of an example on their own ports or, with free, on
// any free ports. It calls onCall, if not nil, for each received call, from many
// goroutines. Close stops the systems.
func Start(e *Example, free bool, onCall func(ReceivedCall)) (*Systems, error) {
	s := &Systems{Addresses: map[string]string{}, onCall: onCall, used: map[string]int{}, mailboxes: map[string]*servers.Dovecot{}}
	for _, name := range e.Names() {
		system := e.Systems[name]
		port := system.Port
		if free {
			port = 0
		}
		if system.NATS != nil || system.Kafka != nil || system.Mail != "" {
			if err := s.startBroker(name, port, system); err != nil {
				s.Close()
				return nil, fmt.Errorf("system %s: %w", name, err)
			}
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("system %s: %w", name, err)
		}
		s.Addresses[name] = system.address(l.Addr().(*net.TCPAddr).Port)
		e.addresses = s.Addresses
		server := &http.Server{Handler: s.handler(e.Dir, name, system)}
		s.servers = append(s.servers, server)
		s.done.Go(func() { _ = server.Serve(l) }) // ends with Close
	}
	return s, nil
}

// startBroker starts a mail server, or a broker with its streams or topics.
func (s *Systems) startBroker(name string, port int, system System) error {
	if system.Mail != "" {
		return s.startMail(name, port, system.Mail)
	}
	if system.NATS != nil {
		return s.startNATS(name, port, system.NATS)
	}
	cluster, err := servers.StartKafkaFake(port, system.Kafka)
	if err != nil {
		return err
	}
	s.closers, s.Addresses[name] = append(s.closers, cluster.Close), strings.Join(cluster.ListenAddrs(), ",")
	return nil
}

// startNATS starts a NATS server with streams.
func (s *Systems) startNATS(name string, port int, streams map[string][]string) error {
	broker, err := servers.StartNATS(port, "", nil)
	if err != nil {
		return err
	}
	s.closers, s.Addresses[name] = append(s.closers, broker.Close), broker.URL
	for stream, subjects := range streams {
		if err := broker.Stream(stream, subjects...); err != nil {
			return err
		}
	}
	return nil
}

// Close stops the systems and waits until they have stopped.
func (s *Systems) Close() {
	for _, server := range s.servers {
		_ = server.Close()
	}
	for _, stop := range s.closers {
		stop()
	}
	s.done.Wait()
}

// Received returns the calls so far.
func (s *Systems) Received() []ReceivedCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ReceivedCall(nil), s.got...)
}

func (s *Systems) handler(dir, name string, system System) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller has disconnected
		}
		got := ReceivedCall{To: name + " " + r.Method + " " + r.URL.RequestURI(), Header: r.Header, Body: body, Status: http.StatusNotFound}
		answer, found := s.choose(name, system, r)
		var content []byte
		if found {
			if got.Status = answer.Status; got.Status == 0 {
				got.Status = http.StatusOK
			}
			if content, _, err = answer.Bytes(dir); err != nil {
				got.Status, content = http.StatusInternalServerError, []byte(err.Error())
			}
		}
		s.record(got)
		if len(content) > 0 {
			w.Header().Set("Content-Type", "application/json")
		}
		for k, v := range answer.Headers {
			w.Header().Set(k, v)
		}
		w.WriteHeader(got.Status)
		_, _ = w.Write(content) // the caller may have disconnected
	}
}

// record adds a call.
func (s *Systems) record(got ReceivedCall) {
	s.mu.Lock()
	s.got = append(s.got, got)
	s.mu.Unlock()
	if s.onCall != nil {
		s.onCall(got)
	}
}

// choose returns the answer to a request and counts its use.
func (s *Systems) choose(name string, system System, r *http.Request) (Answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range system.Answers {
		id := name + strconv.Itoa(i)
		if a.Method != r.Method || a.Path != r.URL.EscapedPath() || a.Times > 0 && s.used[id] >= a.Times {
			continue
		}
		s.used[id]++
		return a, true
	}
	return Answer{}, false
}
