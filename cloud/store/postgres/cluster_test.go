package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

const shop = `process: relay
listen: { path: /relay, auth: none }
steps:
  - log: ${props.recordId}
`

// cluster is two control planes on one database.
type cluster struct {
	*testing.T
	a, b     *cloudtest.Plane
	database string
	prod     cloud.Environment
}

func start(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, database: server.Database(t)}
	c.a = c.plane()
	c.b = c.plane()
	c.prod = c.a.Environment(t, "prod")
	return c
}

func (c *cluster) plane() *cloudtest.Plane {
	return cloudtest.Start(c, cloudtest.Options{Shared: server.URL(c.database)})
}

// at returns an atom that uses another control plane.
func at(a *cloudtest.Atom, p *cloudtest.Plane) *cloudtest.Atom {
	other := *a
	other.URL, other.Epoch, other.Client = p.URL, "", &http.Client{Transport: &http.Transport{}}
	other.Counter += 1000
	return &other
}

// settle polls until the atom has the newest generation and returns it.
func settle(t *testing.T, a *cloudtest.Atom) int64 {
	t.Helper()
	p, err := a.Poll(t.Context(), 0, 0)
	if err != nil || p.Desired == nil {
		t.Fatalf("got %+v, %v, want Desired set and no error", p, err)
	}
	return p.Desired.Generation
}

// joined enrolls an atom at one control plane with a token of the other, which
// then deploys to it and serves its polls.
func (c *cluster) joined() (atom, there *cloudtest.Atom, generation int64) {
	c.Helper()
	atom = cloudtest.Join(c.T, c.a.URL, c.b.InstallToken(c.T, "prod"), "edge-01")
	c.b.Deploy(c.T, c.prod.ID, "shop", "1", shop)
	there = at(atom, c.b)
	return atom, there, settle(c.T, there)
}

func (c *cluster) execute(p *cloudtest.Plane, atom, key string) string {
	c.Helper()
	if err := p.Cluster.Refresh(c.Context()); err != nil { // as every API call does
		c.Fatal(err)
	}
	id, err := p.Executions.Execute(c.Context(), p.Admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay", Props: json.RawMessage(`{"recordId":"1"}`), IdempotencyKey: key})
	if err != nil {
		c.Fatal(err)
	}
	return id
}

// eventually waits up to forty seconds for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !is(); time.Sleep(5 * time.Millisecond) { // the database is real
		if time.Now().After(deadline) {
			t.Fatalf("timed out after 40 s waiting: %s", what)
		}
	}
}

func refused(t testing.TB, err error, code string) {
	t.Helper()
	var r *cloudtest.Refused
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

// An atom enrolls at one control plane and polls the other, and changes at
// either are in effect at both.
func TestTwoPlanes(t *testing.T) {
	c := start(t)
	atom, there, generation := c.joined()

	held := make(chan *wire.PollResponse, 1)
	go func() {
		p, err := there.Poll(t.Context(), generation, 20)
		if err != nil {
			t.Error(err)
		}
		held <- p
	}()
	eventually(t, "the poll is held", func() bool { return c.b.Gate.HeldPolls() == 1 })
	begin := time.Now()
	request := c.execute(c.a, atom.ID, "k")
	p := <-held
	took := time.Since(begin)
	if len(p.Instructions) != 1 || p.Instructions[0].Execute.Request != request || took > 2*time.Second {
		t.Fatalf("got %+v after %v, want len(p.Instructions) 1, Request %q and took at most %v", p, took, request, 2*time.Second)
	}
	t.Logf("from the request at one to the answer at the other: %v", took)
	if again := c.execute(c.b, atom.ID, "k"); again != request {
		t.Errorf("the same idempotency key: got %s", again)
	}

	// The acknowledgement goes to the other one; neither delivers the instruction
	// again.
	here := at(atom, c.a)
	if p, err := here.Poll(t.Context(), generation, 0, p.Instructions[0].ID); err != nil || len(p.Instructions) != 0 {
		t.Errorf("got %+v, %v, want len(p.Instructions) 0 and no error", p, err)
	}
	if p, err := there.Poll(t.Context(), generation, 0); err != nil || len(p.Instructions) != 0 {
		t.Errorf("got %+v, %v, want len(p.Instructions) 0 and no error", p, err)
	}

	// A caller waits at one for a record reported at the other.
	waited := make(chan *cloud.ExecutionRecord, 1)
	go func() {
		r, err := c.a.Executions.WaitRecord(t.Context(), c.a.Admin, request, 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		waited <- r
	}()
	now := time.Now()
	err := there.Report(t.Context(), wire.Reports{Executions: []wire.ExecutionReport{{Execution: "x", Request: request, Process: "relay", Kind: "manual", Status: "completed", Received: now, Started: now, Ended: now}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := <-waited; r == nil || r.Status != cloud.Complete {
		t.Errorf("%+v", r)
	}
}

// Heartbeats received by one are shown by the other.
func TestHeartbeatsAreShared(t *testing.T) {
	c := start(t)
	atom := cloudtest.Join(t, c.a.URL, c.a.InstallToken(t, "prod"), "edge-01")
	c.b.Deploy(t, c.prod.ID, "shop", "1", shop)
	state := "running"
	atom.Heartbeat = func(h *wire.Heartbeat) {
		h.Triggers = []wire.Trigger{{Process: "relay", Kind: "listen", State: state}}
	}
	settle(t, atom)
	listener := func() string {
		all, err := c.b.Triggers.States(t.Context(), c.b.Admin, "edge-01")
		if err != nil || len(all) != 1 {
			t.Fatalf("got %+v, %v, want len(all) 1 and no error", all, err)
		}
		return all[0].State
	}
	eventually(t, "the other one sees it", func() bool {
		a, err := c.b.Fleet.Atom(t.Context(), c.b.Admin, "edge-01")
		return err == nil && a.Status == cloud.Online && listener() == cloud.Running
	})
	state = "paused"
	generation := settle(t, atom)
	eventually(t, "the other one sees the change", func() bool { return listener() == cloud.Paused })

	// The log is requested at one, and the atom replies to the other.
	answer := make(chan []wire.LogLine, 1)
	go func() {
		lines, err := c.b.Fleet.AtomLog(t.Context(), c.b.Admin, "edge-01", 10)
		if err != nil {
			t.Error(err)
		}
		answer <- lines
	}()
	p, err := atom.Poll(t.Context(), generation, 20)
	if err != nil || len(p.Instructions) != 1 {
		t.Fatalf("got %+v, %v, want len(p.Instructions) 1 and no error", p, err)
	}
	if err := atom.Report(t.Context(), wire.Reports{LogsFor: p.Instructions[0].ID, Logs: []wire.LogLine{{Text: "hello"}}}); err != nil {
		t.Fatal(err)
	}
	if lines := <-answer; len(lines) != 1 || lines[0].Text != "hello" {
		t.Errorf("got %+v, want len(lines) 1 and Text hello", lines)
	}
}

func TestRevokedEverywhere(t *testing.T) {
	c := start(t)
	atom := cloudtest.Join(t, c.a.URL, c.a.InstallToken(t, "prod"), "edge-01")
	there := at(atom, c.b)
	generation := settle(t, there)
	held := make(chan error, 1)
	go func() {
		_, err := there.Poll(t.Context(), generation, 20)
		held <- err
	}()
	eventually(t, "the poll is held", func() bool { return c.b.Gate.HeldPolls() == 1 })
	begin := time.Now()
	if err := c.a.Fleet.RevokeAtom(t.Context(), c.a.Admin, atom.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, <-held, "revoked")
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	_, err := there.Poll(t.Context(), generation, 0)
	refused(t, err, "revoked")

	token, err := c.a.Accounts.CreateToken(t.Context(), c.a.Admin, cloud.Token{Name: "x", Role: cloud.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.Accounts.Authenticate(t.Context(), "", "", token.Secret); err != nil {
		t.Errorf("a token that the other one has just made: %v", err)
	}
	if err := c.a.Accounts.DeleteToken(t.Context(), c.a.Admin, token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.Accounts.Authenticate(t.Context(), "", "", token.Secret); !errors.Is(err, cloud.ErrUnauthenticated) {
		t.Errorf("a token that the other one has just ended: %v", err)
	}
}

// A session started at one is valid at the other at once, and ends at both with
// its sign-out or its token.
func TestSessionsAreShared(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	token, err := c.a.Accounts.CreateToken(ctx, c.a.Admin, cloud.Token{Name: "x", Role: cloud.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(p cloud.Principal, secret string) error{
		"signed out":            func(p cloud.Principal, secret string) error { return c.b.Accounts.SignOut(ctx, p, secret) },
		"the token was revoked": func(cloud.Principal, string) error { return c.b.Accounts.DeleteToken(ctx, c.b.Admin, token.ID) },
	} {
		p, err := c.a.Accounts.Authenticate(ctx, "", "", token.Secret)
		if err != nil { // its token was deleted in the round before
			if token, err = c.a.Accounts.CreateToken(ctx, c.a.Admin, cloud.Token{Name: "x", Role: cloud.Viewer}); err == nil {
				p, err = c.a.Accounts.Authenticate(ctx, "", "", token.Secret)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		secret, err := c.a.Accounts.SignIn(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := c.b.Accounts.Session(ctx, secret); err != nil || who.User != "x" {
			t.Errorf("%s: a session that the other one has just begun: %+v, %v", name, who, err)
		}
		if err := end(p, secret); err != nil {
			t.Fatal(err)
		}
		if _, err := c.a.Accounts.Session(ctx, secret); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("%s at the other one: %v", name, err)
		}
	}
}

// Concurrent calls at both control planes have their effect once.
func TestConcurrentCallsTakeEffectOnce(t *testing.T) {
	c := start(t)
	token := c.a.InstallToken(t, "prod")
	planes := []*cloudtest.Plane{c.a, c.b}
	var all sync.WaitGroup
	errs := make([]error, 8)
	for n := range errs {
		all.Go(func() {
			atom := cloudtest.NewAtom(planes[n%2].URL)
			_, errs[n] = atom.Enroll(t.Context(), token, "edge")
		})
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		refused(t, err, "used_token")
	}
	if won != 1 {
		t.Errorf("got %d won, want 1", won)
	}

	c.a.Deploy(t, c.prod.ID, "shop", "1", shop)
	atoms, err := c.b.Fleet.Atoms(t.Context(), c.b.Admin)
	if err != nil || len(atoms) != 1 {
		t.Fatalf("got %v, %v, want len(atoms) 1 and no error", atoms, err)
	}
	ids := make([]string, 16)
	for n := range ids {
		all.Go(func() { ids[n] = c.execute(planes[n%2], atoms[0].ID, "one") })
	}
	all.Wait()
	if slices.Sort(ids); ids[0] != ids[15] {
		t.Errorf("got %v, want %q", ids, ids[15])
	}

	errs = make([]error, 8)
	for n := range errs {
		all.Go(func() {
			_, errs[n] = planes[n%2].Environments.Create(t.Context(), c.a.Admin, cloud.Environment{Name: "test"})
		})
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, cloud.ErrConflict) {
			t.Errorf("got %v, want cloud.ErrConflict", err)
		}
	}
	if made != 1 {
		t.Errorf("%d environments of one name", made)
	}
}

// Of two instances of one identity, one is served, whichever control plane they
// poll.
func TestFencingAcrossControlPlanes(t *testing.T) {
	c := start(t)
	first := cloudtest.Join(t, c.a.URL, c.a.InstallToken(t, "prod"), "edge-01")
	generation := settle(t, first)
	second := at(first, c.b)
	second.Instance = "the clone"
	if p, err := second.Poll(t.Context(), generation, 0); err != nil || !p.Fenced {
		t.Fatalf("the second: got %+v, %v, want Fenced true and no error", p, err)
	}
	same := at(first, c.b)
	same.Counter += 5000
	if p, err := same.Poll(t.Context(), generation, 0); err != nil || p.Fenced {
		t.Fatalf("the first at the other one: %+v, %v", p, err)
	}
	same.Client.CloseIdleConnections()
	first.Client.CloseIdleConnections() // the first disconnects
	second.Counter += 10000
	eventually(t, "the second instance is served", func() bool {
		p, err := second.Poll(t.Context(), generation, 0)
		return err == nil && !p.Fenced
	})
	first.Counter += 20000
	eventually(t, "the first instance is fenced when it returns", func() bool { // within milliseconds
		p, err := first.Poll(t.Context(), generation, 0)
		return err == nil && p.Fenced
	})
}

// While the database is down nothing is promised; after its restart everything
// continues and nothing is lost.
func TestDatabaseCrash(t *testing.T) {
	c := start(t)
	atom, there, generation := c.joined()
	server.Kill(syscall.SIGKILL)
	begin := time.Now()
	if _, err := c.a.Environments.Create(t.Context(), c.a.Admin, cloud.Environment{Name: "test"}); !errors.Is(err, cloud.ErrUnavailable) {
		t.Errorf("a change: got %v, want cloud.ErrUnavailable", err)
	}
	if _, err := c.a.Accounts.Authenticate(t.Context(), "", "", "x"); !errors.Is(err, cloud.ErrUnavailable) {
		t.Errorf("a token: got %v, want cloud.ErrUnavailable", err)
	}
	if _, err := there.Poll(t.Context(), generation, 0); err != nil && time.Since(begin) < 5*time.Second {
		t.Errorf("an idle poll, within ten seconds: %v", err)
	}
	eventually(t, "polls are refused", func() bool {
		_, err := there.Poll(t.Context(), generation, 0)
		return err != nil
	})
	if err := c.b.Ready(); err == nil {
		t.Error("the control plane is ready without its database")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*cloudtest.Plane{c.a, c.b} {
		eventually(t, "the control plane is ready again", func() bool { return p.Ready() == nil })
	}
	id := c.execute(c.a, atom.ID, "")
	p, err := there.Poll(t.Context(), generation, 20)
	if err != nil || len(p.Instructions) != 1 || p.Instructions[0].Execute.Request != id {
		t.Errorf("got %+v, %v, want len(p.Instructions) 1, Request %q and no error", p, err, id)
	}
}

// Nothing is lost when the connection that receives events is cut repeatedly.
func TestSubscriptionIsCut(t *testing.T) {
	c := start(t)
	atom, there, generation := c.joined()
	ctx, stop := context.WithCancel(t.Context())
	var cutting sync.WaitGroup
	cutting.Go(func() {
		for ctx.Err() == nil {
			server.Exec(t, c.database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query LIKE '-- ping%'")
			select {
			case <-time.After(70 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	defer cutting.Wait()
	defer stop()
	want := map[string]bool{}
	for range 50 {
		want[c.execute(c.a, atom.ID, "")] = true
	}
	var acks []int64
	for deadline := time.Now().Add(20 * time.Second); len(want) > 0 && time.Now().Before(deadline); {
		p, err := there.Poll(t.Context(), generation, 1, acks...)
		if err != nil {
			t.Fatal(err)
		}
		acks = nil
		for _, m := range p.Instructions {
			delete(want, m.Execute.Request)
			acks = append(acks, m.ID)
		}
	}
	if len(want) > 0 {
		t.Errorf("%d requests were not delivered", len(want))
	}
	stop()
	cutting.Wait()
	if e, err := c.a.Environments.Create(t.Context(), c.a.Admin, cloud.Environment{Name: "test"}); err != nil {
		t.Error(err)
	} else {
		eventually(t, "the change is there", func() bool {
			_, err := c.b.Service.Environments.Get(t.Context(), c.b.Admin, e.ID)
			return err == nil
		})
	}
}
