package cloudtest

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"valence/internal/wire"
)

// Atom speaks to a control plane. Its fields may be changed between requests.
type Atom struct {
	URL      string
	ID       string
	Key      ed25519.PrivateKey
	Open     *ecdh.PrivateKey
	Epoch    string
	Counter  uint64
	Instance string
	Client   *http.Client

	Heartbeat func(*wire.Heartbeat) // changes what it tells of itself; may be nil
}

// NewAtom makes one that has not enrolled.
func NewAtom(url string) *Atom {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	open, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Atom{URL: url, Key: key, Open: open, Instance: rand.Text(), Client: &http.Client{Transport: &http.Transport{}}}
}

// Join makes an atom that is enrolled, by an install token.
func Join(t testing.TB, url, token, name string) *Atom {
	t.Helper()
	a := NewAtom(url)
	if _, err := a.Enrol(t.Context(), token, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Client.CloseIdleConnections)
	return a
}

// Refused is an answer that is no success.
type Refused struct {
	Status     int
	RetryAfter string
	wire.Refusal
}

func (r *Refused) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Refusal.Error) }

// Enrol enrols it.
func (a *Atom) Enrol(ctx context.Context, token, name string) (*wire.Enrolled, error) {
	seal := a.Open.PublicKey().Bytes()
	body, err := json.Marshal(wire.Enrol{
		Token: token, Name: name, Key: a.Key.Public().(ed25519.PublicKey), SealKey: seal, SealSignature: ed25519.Sign(a.Key, seal), Version: "test", Host: "test",
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL+wire.PathEnrol, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := a.Do(req)
	if err != nil {
		return nil, err
	}
	enrolled := &wire.Enrolled{}
	err = json.Unmarshal(answer, enrolled)
	a.ID = enrolled.Atom
	return enrolled, err
}

// Request makes a signed request; another call of it makes one with the next
// counter.
func (a *Atom) Request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	a.Counter++
	wire.Sign(req, body, a.ID, a.Epoch, a.Counter, a.Key)
	return req, nil
}

// Do sends a request. Errors of the control plane are a *Refused.
func (a *Atom) Do(req *http.Request) ([]byte, error) {
	resp, err := a.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		r := &Refused{Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
		if err := json.Unmarshal(body, &r.Refusal); err != nil {
			return nil, fmt.Errorf("%d %s", resp.StatusCode, body)
		}
		return nil, r
	}
	return body, nil
}

// Call makes a signed request, and again with the epoch that it is told.
func (a *Atom) Call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	for again := false; ; again = true {
		req, err := a.Request(ctx, method, path, body)
		if err != nil {
			return nil, err
		}
		answer, err := a.Do(req)
		if r, ok := err.(*Refused); ok && r.Epoch != "" && !again {
			a.Epoch = r.Epoch
			continue
		}
		return answer, err
	}
}

// Poll polls, as an atom that has a generation.
func (a *Atom) Poll(ctx context.Context, generation int64, wait int, ack ...int64) (*wire.Polled, error) {
	beat := wire.Heartbeat{Version: "test", Health: "ok"}
	if a.Heartbeat != nil {
		a.Heartbeat(&beat)
	}
	body, err := json.Marshal(wire.Poll{Instance: a.Instance, Generation: generation, Ack: ack, Wait: wait, Heartbeat: beat})
	if err != nil {
		return nil, err
	}
	answer, err := a.Call(ctx, http.MethodPost, wire.PathPoll, body)
	if err != nil {
		return nil, err
	}
	polled := &wire.Polled{}
	return polled, json.Unmarshal(answer, polled)
}

// Report reports.
func (a *Atom) Report(ctx context.Context, r wire.Reports) error {
	r.Instance = a.Instance
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = a.Call(ctx, http.MethodPost, wire.PathReports, body)
	return err
}
