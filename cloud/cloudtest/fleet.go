package cloudtest

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"valence/cloud"
	"valence/cloud/store"
)

// Fleet is many atoms that only poll, as real ones do: each holds one request
// and polls again at once. After a failure it waits a second, doubled each
// time, with jitter.
type Fleet struct {
	Atoms []*Atom
	Polls atomic.Int64

	transport *http.Transport
	round     atomic.Int64 // of the control plane's starts
	back      atomic.Int64 // atoms answered in this round
	refused   atomic.Int64 // the most refusals of one atom in a row in this round
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// NewFleet writes size atoms of one environment into the folder of a stopped
// control plane.
func NewFleet(ctx context.Context, dir string, size int) (*Fleet, error) {
	f := &Fleet{transport: &http.Transport{MaxIdleConnsPerHost: size}}
	change := &cloud.Change{}
	err := add(change, "environment", "e", &cloud.Environment{ID: "e", Account: cloud.DefaultAccount, Name: "prod", Classification: cloud.Production, Revision: 1})
	for i := range size {
		pub, key, e := ed25519.GenerateKey(rand.Reader)
		if e != nil {
			return nil, e
		}
		open, e := ecdh.X25519().GenerateKey(rand.Reader)
		if e != nil {
			return nil, e
		}
		a := &Atom{ID: fmt.Sprintf("atom-%05d", i), Key: key, Instance: rand.Text(), Client: &http.Client{Transport: f.transport}}
		f.Atoms = append(f.Atoms, a)
		err = errors.Join(err,
			add(change, "atom", a.ID, &cloud.Atom{ID: a.ID, Account: cloud.DefaultAccount, Name: a.ID, Key: pub, SealKey: open.PublicKey().Bytes(), Revision: 1}),
			add(change, "attachment", a.ID, &cloud.Attachment{ID: a.ID, Account: cloud.DefaultAccount, AtomID: a.ID, EnvironmentID: "e"}))
	}
	if err != nil {
		return nil, err
	}
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	err = st.Write(ctx, change)
	cancel()
	return f, errors.Join(err, <-done, st.Close())
}

func add(c *cloud.Change, kind, id string, v any) error {
	body, err := json.Marshal(v)
	c.Objects = append(c.Objects, cloud.Object{Kind: kind, ID: id, Account: cloud.DefaultAccount, Body: body})
	return err
}

// Start makes every atom poll until Stop.
func (f *Fleet) Start(ctx context.Context, url string) {
	ctx, f.stop = context.WithCancel(ctx)
	for _, a := range f.Atoms {
		a.URL = url
		f.running.Go(func() { f.live(ctx, a) })
	}
}

// Stop stops all atoms.
func (f *Fleet) Stop() {
	f.stop()
	f.running.Wait()
	f.transport.CloseIdleConnections()
}

// NewRound resets the counters; call it before the control plane restarts.
func (f *Fleet) NewRound() {
	f.refused.Store(0)
	f.back.Store(0)
	f.round.Add(1)
}

// Refused returns the most refusals for overload of one atom in a row in this
// round.
func (f *Fleet) Refused() int64 { return f.refused.Load() }

// Await waits until every atom was answered in this round.
func (f *Fleet) Await(ctx context.Context, limit time.Duration) error {
	end := time.After(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for f.back.Load() < int64(len(f.Atoms)) {
		select {
		case <-tick.C:
		case <-end:
			return fmt.Errorf("got %d of %d atoms back within %v", f.back.Load(), len(f.Atoms), limit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *Fleet) live(ctx context.Context, a *Atom) {
	generation, wait := int64(0), time.Second
	seen := int64(-1)
	var refused int64
	for ctx.Err() == nil {
		hold := 0
		if seen == f.round.Load() {
			hold = 30
		}
		polled, err := a.Poll(ctx, generation, hold)
		f.Polls.Add(1)
		if err == nil {
			wait, refused = time.Second, 0
			if polled.Desired != nil {
				generation = polled.Desired.Generation
			}
			if now := f.round.Load(); seen != now {
				seen = now
				f.back.Add(1)
			}
			continue
		}
		if r := (*Refused)(nil); errors.As(err, &r) && r.Code == "overloaded" {
			refused++
			f.most(refused)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + mathrand.N(wait)):
		}
		wait = min(2*wait, 5*time.Minute)
	}
}

func (f *Fleet) most(refused int64) {
	for {
		most := f.refused.Load()
		if refused <= most || f.refused.CompareAndSwap(most, refused) {
			return
		}
	}
}
