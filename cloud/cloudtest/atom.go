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

// Atom is a client with the identity of an atom. Its fields may be changed
// between requests.
type Atom struct {
	URL      string
	ID       string
	Key      ed25519.PrivateKey
	Open     *ecdh.PrivateKey
	Epoch    string
	Counter  uint64
	Instance string
	Client   *http.Client

	Heartbeat func(*wire.Heartbeat) // changes its heartbeats; may be nil
}

// NewAtom returns an atom that is not enrolled.
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

// Join returns an atom enrolled with an install token.
func Join(t testing.TB, url, token, name string) *Atom {
	t.Helper()
	a := NewAtom(url)
	if _, err := a.Enroll(t.Context(), token, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Client.CloseIdleConnections)
	return a
}

// Refused is an error response.
type Refused struct {
	Status     int
	RetryAfter string
	wire.ErrorResponse
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.ErrorResponse.Error)
}

// Enroll enrolls the atom.
func (a *Atom) Enroll(ctx context.Context, token, name string) (*wire.EnrollResponse, error) {
	seal := a.Open.PublicKey().Bytes()
	body, err := json.Marshal(wire.EnrollRequest{
		Token: token, Name: name, Key: a.Key.Public().(ed25519.PublicKey), SealKey: seal, SealSignature: ed25519.Sign(a.Key, seal), Version: "test", Host: "test",
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL+wire.PathEnroll, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := a.Do(req)
	if err != nil {
		return nil, err
	}
	enrolled := &wire.EnrollResponse{}
	err = json.Unmarshal(answer, enrolled)
	a.ID = enrolled.Atom
	return enrolled, err
}

// SignedRequest returns a signed request with the next counter.
func (a *Atom) SignedRequest(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	a.Counter++
	wire.Sign(req, body, a.ID, a.Epoch, a.Counter, a.Key)
	return req, nil
}

// Do sends a request. Error responses are returned as *Refused.
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
		if err := json.Unmarshal(body, &r.ErrorResponse); err != nil {
			return nil, fmt.Errorf("%d %s", resp.StatusCode, body)
		}
		return nil, r
	}
	return body, nil
}

// Call sends a signed request, and repeats it if the epoch has changed.
func (a *Atom) Call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	for again := false; ; again = true {
		req, err := a.SignedRequest(ctx, method, path, body)
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

// Poll polls with a generation.
func (a *Atom) Poll(ctx context.Context, generation int64, wait int, ack ...int64) (*wire.PollResponse, error) {
	beat := wire.Heartbeat{Version: "test", Health: "ok"}
	if a.Heartbeat != nil {
		a.Heartbeat(&beat)
	}
	body, err := json.Marshal(wire.PollRequest{Instance: a.Instance, Generation: generation, Ack: ack, Wait: wait, Heartbeat: beat})
	if err != nil {
		return nil, err
	}
	answer, err := a.Call(ctx, http.MethodPost, wire.PathPoll, body)
	if err != nil {
		return nil, err
	}
	polled := &wire.PollResponse{}
	return polled, json.Unmarshal(answer, polled)
}

// Report sends reports.
func (a *Atom) Report(ctx context.Context, r wire.Reports) error {
	r.Instance = a.Instance
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = a.Call(ctx, http.MethodPost, wire.PathReports, body)
	return err
}
