package examples

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// Got is a call that a system got.
type Got struct {
	To     string // "system METHOD /path?query"
	Header http.Header
	Body   []byte
	Status int // what it was answered
}

// Systems are the other systems of an example, listening on loopback.
type Systems struct {
	Addresses map[string]string // URL by name

	servers []*http.Server
	done    sync.WaitGroup
	heard   func(Got)

	mu   sync.Mutex
	got  []Got
	used map[string]int
}

// Start plays the systems of an example, on their own ports or, with free, on
// any. heard is told of each call as it comes, from many goroutines; it may be
// nil. Close ends them.
func Start(e *Example, free bool, heard func(Got)) (*Systems, error) {
	s := &Systems{Addresses: map[string]string{}, heard: heard, used: map[string]int{}}
	for _, name := range e.Names() {
		system := e.Systems[name]
		port := system.Port
		if free {
			port = 0
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("system %s: %w", name, err)
		}
		s.Addresses[name] = "http://" + l.Addr().String()
		e.addresses = s.Addresses
		server := &http.Server{Handler: s.handler(e.Dir, name, system)}
		s.servers = append(s.servers, server)
		s.done.Go(func() { _ = server.Serve(l) }) // ends with Close
	}
	return s, nil
}

// Close stops listening and waits for it.
func (s *Systems) Close() {
	for _, server := range s.servers {
		_ = server.Close()
	}
	s.done.Wait()
}

// Got gives the calls so far.
func (s *Systems) Got() []Got {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Got(nil), s.got...)
}

func (s *Systems) handler(dir, name string, system System) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller is gone
		}
		got := Got{To: name + " " + r.Method + " " + r.URL.RequestURI(), Header: r.Header, Body: body, Status: http.StatusNotFound}
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
		s.mu.Lock()
		s.got = append(s.got, got)
		s.mu.Unlock()
		if s.heard != nil {
			s.heard(got)
		}
		if len(content) > 0 {
			w.Header().Set("Content-Type", "application/json")
		}
		for k, v := range answer.Headers {
			w.Header().Set(k, v)
		}
		w.WriteHeader(got.Status)
		_, _ = w.Write(content) // the caller may be gone
	}
}

// choose finds the answer to a request and counts its use.
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
