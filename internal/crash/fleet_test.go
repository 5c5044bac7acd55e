package crash

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store"
)

// A fleet of atoms that only poll, VALENCE_FLEET of them: what they cost the
// control plane while nothing happens, and how they come back after it was
// killed. Without the variable it is a small one.
func TestFleet(t *testing.T) {
	size, err := strconv.Atoi(os.Getenv("VALENCE_FLEET"))
	if err != nil {
		size = 200
	}
	watch := 60 * time.Second
	if size <= 1000 {
		watch = 2 * time.Second
	}
	c := &control{t: t, data: filepath.Join(t.TempDir(), "plane")}
	f := &fleet{transport: &http.Transport{MaxIdleConnsPerHost: size}}
	f.enrol(t, c.data, size)
	c.start()
	defer c.kill()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer f.transport.CloseIdleConnections()
	defer all.Wait()
	defer cancel()
	start := time.Now()
	for _, a := range f.atoms {
		a.URL = c.url
		all.Go(func() { f.live(ctx, a) })
	}
	f.until(t, size, 2*time.Minute)
	t.Logf("%d atoms are there after %v", size, time.Since(start).Round(time.Millisecond))

	cpu, commits, polls := c.cpu(), c.metric("valence_commit_batch_size_count"), f.polls.Load()
	time.Sleep(watch) // what is measured is time that passes
	used := (c.cpu() - cpu).Seconds() / watch.Seconds()
	t.Logf("idle for %v: %.1f %% of a core, %d MiB, %.0f commits, %d polls", watch, 100*used, c.memory()>>20, c.metric("valence_commit_batch_size_count")-commits, f.polls.Load()-polls)
	if size >= 10_000 && used > 0.25 || c.memory() > 1<<30 {
		t.Errorf("that is more than it may take")
	}

	t.Logf("one was refused for overload %d times at most", f.refused.Swap(0))
	f.back.Store(0)
	f.round.Add(1)
	c.kill()
	start = time.Now()
	c.start()
	f.until(t, size, time.Minute)
	t.Logf("after a kill all are back in %v; refused for overload at most %d times", time.Since(start).Round(time.Millisecond), f.refused.Load())
	if f.refused.Load() > 2 {
		t.Errorf("one was refused %d times", f.refused.Load())
	}
}

type fleet struct {
	transport *http.Transport
	atoms     []*cloudtest.Atom
	round     atomic.Int64 // of the control plane's starts
	back      atomic.Int64 // atoms that were answered in this round
	polls     atomic.Int64
	refused   atomic.Int64 // most refusals for overload of one atom in a round
}

// enrol writes a folder with atoms in one environment.
func (f *fleet) enrol(t *testing.T, dir string, size int) {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	change := &cloud.Change{}
	add := func(kind, id string, v any) {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		change.Objects = append(change.Objects, cloud.Object{Kind: kind, ID: id, Account: cloud.DefaultAccount, Body: body})
	}
	add("environment", "e", &cloud.Environment{ID: "e", Account: cloud.DefaultAccount, Name: "prod", Classification: cloud.Production, Revision: 1})
	for i := range size {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		open, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		a := &cloudtest.Atom{ID: fmt.Sprintf("atom-%05d", i), Key: key, Instance: rand.Text(), Client: &http.Client{Transport: f.transport}}
		f.atoms = append(f.atoms, a)
		add("atom", a.ID, &cloud.Atom{ID: a.ID, Account: cloud.DefaultAccount, Name: a.ID, Key: pub, SealKey: open.PublicKey().Bytes(), Revision: 1})
		add("attachment", a.ID, &cloud.Attachment{ID: a.ID, Account: cloud.DefaultAccount, AtomID: a.ID, EnvironmentID: "e"})
	}
	err = st.Write(ctx, change)
	cancel()
	if err := errors.Join(err, <-done, st.Close()); err != nil {
		t.Fatal(err)
	}
}

// live polls as an atom does: again at once after an answer, and after a
// failure after a second, doubled each time, with jitter.
func (f *fleet) live(ctx context.Context, a *cloudtest.Atom) {
	generation, wait := int64(0), time.Second
	seen := int64(-1)
	var refused int64
	for ctx.Err() == nil {
		hold := 0
		if seen == f.round.Load() {
			hold = 30
		}
		polled, err := a.Poll(ctx, generation, hold)
		f.polls.Add(1)
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
		var r *cloudtest.Refused
		if errors.As(err, &r) && r.Code == "overloaded" {
			refused++
			for {
				most := f.refused.Load()
				if refused <= most || f.refused.CompareAndSwap(most, refused) {
					break
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + mathrand.N(wait)):
		}
		wait = min(2*wait, 5*time.Minute)
	}
}

// until waits until every atom was answered in this round.
func (f *fleet) until(t *testing.T, size int, limit time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(limit); f.back.Load() < int64(size); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d atoms are there", f.back.Load(), size)
		}
	}
}

// cpu is the processor time that the control plane has used.
func (c *control) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		c.t.Skip("there is no /proc here: ", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	var ticks time.Duration
	for _, i := range []int{11, 12} { // utime, stime
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			c.t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// memory is what of it is resident, in bytes.
func (c *control) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// metric reads one number of /metrics.
func (c *control) metric(name string) float64 {
	req, err := http.NewRequest(http.MethodGet, c.url+"/metrics", http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatalf("%s is not shown", name)
	return 0
}
