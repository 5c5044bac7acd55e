package agent

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"valence/internal/wire"
)

// The bounds on what a control plane may answer.
const (
	maxAnswer  = 64 << 20 // of a poll
	maxRefusal = 64 << 10
)

// Refused is an answer that is not a success.
type Refused struct {
	Status int
	wire.Refusal
	RetryAfter time.Duration // 0: not said
}

// Error gives the control plane's own words.
func (r *Refused) Error() string {
	text := r.Refusal.Error
	if text == "" {
		text = http.StatusText(r.Status)
	}
	return fmt.Sprintf("the control plane refused it: %s (%d)", text, r.Status)
}

// ours reports whether the control plane itself has refused: what refuses on the
// way, such as a proxy, gives no code.
func (r *Refused) ours() bool { return r.Code != "" }

// refusal finds the code of a refusal in an error, "" if it is none.
func refusal(err error) string {
	if r := (*Refused)(nil); errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// lane is a connection to the control plane. Behind a load balancer several
// control planes answer, each with an epoch of its own, but on one connection
// it is always the same.
type lane struct {
	http  *http.Client
	epoch string // under link.mu; "" until it is known
}

// The lanes, by what is asked: a poll that is held holds up nothing else.
const (
	laneOfPolls = iota
	laneOfReports
	laneOfOthers
	countOfLanes
)

func laneOf(path string) int {
	switch path {
	case wire.PathPoll:
		return laneOfPolls
	case wire.PathReports:
		return laneOfReports
	}
	return laneOfOthers
}

// link signs and makes the requests of one atom. It may be used by several
// goroutines.
type link struct {
	id    *Identity
	lanes [countOfLanes]lane
	key   ed25519.PrivateKey

	mu      sync.Mutex
	epoch   string // the newest that was learnt
	counter uint64
	ceiling uint64             // counters below it are reserved
	reserve func(uint64) error // keeps a ceiling, so that a restart goes on above it
}

func newLink(id *Identity) (*link, error) {
	l := &link{id: id, key: id.sign()}
	for i := range l.lanes {
		var err error
		if l.lanes[i].http, err = newClient(id.CA); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// close ends the connections.
func (l *link) close() {
	for i := range l.lanes {
		l.lanes[i].http.CloseIdleConnections()
	}
}

// newClient makes an HTTP client of an atom, with one connection: proxies from
// the environment, certificates of the machine or of ca (PEM), redirects refused.
func newClient(ca string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the file of certificates holds none (PEM)")
		}
	}
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			// Only HTTP/1.1: a request that gets no answer ends its connection, so one that was cut silently is not used again.
			Proxy: http.ProxyFromEnvironment, OnProxyConnectResponse: ProxyAnswer, DialContext: dialer.DialContext, TLSClientConfig: config,
			TLSHandshakeTimeout: 15 * time.Second, IdleConnTimeout: 2 * time.Minute, MaxConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// ProxyError is the answer of a proxy that does not connect us.
type ProxyError struct {
	Host   string // of the proxy, with its port
	Status int
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("the proxy %s does not connect us: %d %s", e.Host, e.Status, http.StatusText(e.Status))
}

// ProxyAnswer is an OnProxyConnectResponse that gives a ProxyError.
func ProxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &ProxyError{Host: proxy.Host, Status: resp.StatusCode}
}

const counterBlock = 1 << 20

// attempts is how often a request is made again for its epoch or its counter.
const attempts = 3

// next gives the epoch of a lane and a counter that was never used.
func (l *link) next(on *lane) (string, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counter++
	if l.counter >= l.ceiling {
		ceiling := l.counter + counterBlock
		if err := l.reserve(ceiling); err != nil {
			return "", 0, err
		}
		l.ceiling = ceiling
	}
	if on.epoch == "" {
		return l.epoch, l.counter, nil
	}
	return on.epoch, l.counter, nil
}

// corrected takes what a refusal says of the epoch of a lane or the counter, and
// reports whether the request may be made again at once. Where requests go to
// control planes in turn, the epoch that was told last is that of the one which
// the next does not go to: the second time the one before is kept.
func (l *link) corrected(r *Refused, on *lane, epoch string, counter uint64, again int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.Code {
	case "wrong_epoch":
		if r.Epoch == "" || r.Epoch == epoch {
			return false
		}
		if again == 1 {
			return true
		}
		l.epoch, on.epoch = r.Epoch, r.Epoch
		return true
	case "replayed": // this folder is older than what the control plane saw last: a restored backup
		if l.counter < counter+1<<32 {
			l.counter += 1 << 33
		}
		return true
	}
	return false
}

// call makes a signed request and decodes its answer into out; nil: the answer
// tells nothing. An answer that is cut off, too large or no JSON object is an
// error, and has had no effect: it may be of something on the way, such as the
// page of a proxy.
func (l *link) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	text, err := l.signed(ctx, http.MethodPost, path, "", body, maxAnswer)
	if err != nil {
		return err
	}
	if out == nil {
		out = &struct{}{}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer of the control plane cannot be read: %w", err)
	}
	return nil
}

// fetch gets the bytes below a path, of a media type.
func (l *link) fetch(ctx context.Context, path, mediaType string, limit int64) ([]byte, error) {
	return l.signed(ctx, http.MethodGet, path, mediaType, nil, limit)
}

func (l *link) signed(ctx context.Context, method, path, mediaType string, body []byte, limit int64) ([]byte, error) {
	on := &l.lanes[laneOf(path)]
	for again := 0; ; again++ {
		epoch, counter, err := l.next(on)
		if err != nil {
			return nil, fmt.Errorf("keep the counter of requests: %w", err)
		}
		r, err := newRequest(ctx, method, l.id.URL+path, body)
		if err != nil {
			return nil, err
		}
		wire.Sign(r, body, l.id.Atom, epoch, counter, l.key)
		text, err := send(on.http, r, mediaType, limit)
		if refused := (*Refused)(nil); errors.As(err, &refused) && again < attempts && l.corrected(refused, on, epoch, counter, again) {
			continue
		}
		return text, err
	}
}

func newRequest(ctx context.Context, method, url string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "valence-atom")
	return r, nil
}

// send makes a request and gives the body of its answer, whole. Where a media
// type is asked for, an answer of another one is an error.
func send(c *http.Client, r *http.Request, mediaType string, limit int64) ([]byte, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		text, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("the answer of the control plane broke off: %w", err)
		case int64(len(text)) > limit:
			return nil, fmt.Errorf("the answer of the control plane is larger than %d bytes", limit)
		case mediaType != "" && resp.Header.Get("Content-Type") != mediaType:
			return nil, fmt.Errorf("something on the way answers in place of the control plane: %q", resp.Header.Get("Content-Type"))
		}
		return text, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	refused := &Refused{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	switch {
	case resp.StatusCode/100 == 3:
		refused.Refusal.Error = "it sends elsewhere, to " + resp.Header.Get("Location") + ", which an atom does not follow"
	case err == nil && json.Unmarshal(text, &refused.Refusal) != nil:
		refused.Refusal = wire.Refusal{} // of a proxy, most likely
	}
	return nil, refused
}

// retryAfter reads how long to wait. A date counts from the one that the answer
// has, whatever the clock of this machine shows.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(text); err == nil {
		now, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		return min(max(at.Sub(now), 0), time.Hour)
	}
	return 0
}

// Enrol makes the atom known to its control plane with an install token, and
// fills in who it is there. Nothing is stored.
func (id *Identity) Enrol(ctx context.Context, token, version, host string) error {
	client, err := newClient(id.CA)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	seal, err := ecdh.X25519().NewPrivateKey(id.SealKey)
	if err != nil {
		return err
	}
	public := seal.PublicKey().Bytes()
	body, err := json.Marshal(wire.Enrol{
		Token: token, Name: id.Name, Key: id.sign().Public().(ed25519.PublicKey), SealKey: public,
		SealSignature: ed25519.Sign(id.sign(), public), Version: version, Host: host,
	})
	if err != nil {
		return err
	}
	r, err := newRequest(ctx, http.MethodPost, id.URL+wire.PathEnrol, body)
	if err != nil {
		return err
	}
	text, err := send(client, r, "", maxRefusal)
	if err != nil {
		return err
	}
	var e wire.Enrolled
	if err := json.Unmarshal(text, &e); err != nil || e.Atom == "" {
		return fmt.Errorf("what answers at %s is no control plane", id.URL)
	}
	id.Atom, id.Account, id.Environment = e.Atom, e.Account, e.Environment
	return nil
}
