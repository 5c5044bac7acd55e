package gate_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// restart restarts the control plane on the same folder and address.
func (s *fixture) restart(t *testing.T) {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s.Plane = cloudtest.Start(t, cloudtest.Options{Dir: s.Dir, Listen: u.Host})
}

func (s *fixture) poll(t *testing.T, ack ...int64) *wire.PollResponse {
	t.Helper()
	polled, err := s.atom.Poll(t.Context(), s.generation, 0, ack...)
	if err != nil {
		t.Fatal(err)
	}
	return polled
}

func TestDeliveredUntilAcknowledged(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	request := s.execute(t, "")
	first := s.poll(t)
	if len(first.Instructions) != 1 {
		t.Fatalf("got %+v, want 1", first)
	}
	if p := s.poll(t); len(p.Instructions) != 0 {
		t.Error("the instruction was redelivered at once")
	}
	s.restart(t) // the delivery is forgotten
	second := s.poll(t)
	if len(second.Instructions) != 1 || second.Instructions[0].ID != first.Instructions[0].ID || second.Desired != nil {
		t.Fatalf("after a restart: got %+v, want len(second.Instructions) 1, ID %v and nil Desired", second, first.Instructions[0].ID)
	}
	s.poll(t, second.Instructions[0].ID)
	s.poll(t, second.Instructions[0].ID) // the response was lost: it acknowledges again
	r, err := s.Executions.ExecutionRequest(t.Context(), s.Admin, request)
	if err != nil || r.Delivered.IsZero() {
		t.Errorf("got %+v, %v, want Delivered set and no error", r, err)
	}
	s.restart(t)
	if p := s.poll(t); len(p.Instructions) != 0 {
		t.Errorf("after the acknowledgement: %+v", p)
	}
	s.execute(t, "")
	if next := s.poll(t); len(next.Instructions) != 1 || next.Instructions[0].ID <= first.Instructions[0].ID {
		t.Errorf("ids do not grow: %+v", next)
	}
}

// A response that is cut off is delivered again at the atom's next poll.
func TestIncompleteResponseIsRedelivered(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	s.execute(t, "")
	body := []byte(`{"instance":"` + s.atom.Instance + `","wait":0,"generation":1,"heartbeat":{}}`)
	req, err := s.atom.SignedRequest(t.Context(), http.MethodPost, wire.PathPoll, body)
	if err != nil {
		t.Fatal(err)
	}
	s.atom.Client.CloseIdleConnections()
	c, err := net.Dial("tcp", req.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Write(c); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReaderSize(c, 16).ReadByte(); err != nil { // the response is on its way
		t.Fatal(err)
	}
	c.Close()
	start := time.Now()
	p, err := s.atom.Poll(t.Context(), s.generation, 30)
	if err != nil || len(p.Instructions) != 1 {
		t.Errorf("got %+v, %v, want len(p.Instructions) 1 and no error", p, err)
	}
	if took := time.Since(start); took > 2500*time.Millisecond { // without a poll it would come after 3 s
		t.Errorf("it took %v", took)
	}
}

// Of two instances of one identity, one is served.
func TestFence(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	clone := *s.atom
	clone.Instance, clone.Client = "the clone", &http.Client{Transport: &http.Transport{}}
	defer clone.Client.CloseIdleConnections()
	polled, err := clone.Poll(t.Context(), 0, 0)
	if err != nil || !polled.Fenced || polled.Desired != nil {
		t.Fatalf("the second: got %+v, %v, want Fenced true, nil Desired and no error", polled, err)
	}
	if !s.audited(t, "fenced") {
		t.Error("the refusal is not in the audit log")
	}
	s.atom.Counter = clone.Counter
	if p := s.poll(t); p.Fenced {
		t.Error("the first is fenced as well")
	}
	// The first disconnects.
	s.atom.Client.CloseIdleConnections()
	clone.Counter = s.atom.Counter
	deadline := time.Now().Add(5 * time.Second)
	for polled.Fenced && time.Now().Before(deadline) {
		if polled, err = clone.Poll(t.Context(), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if polled.Fenced {
		t.Error("the second is fenced although the first has disconnected")
	}
}

func TestAccountsAreSeparate(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	ctx := t.Context()
	token, err := s.Accounts.Create(ctx, s.Admin, "acme")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := s.Accounts.Authenticate(ctx, "acme", "", token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Environments.Create(ctx, admin, cloud.Environment{Name: "prod"}); err != nil {
		t.Fatal(err)
	}
	install, err := s.Fleet.CreateInstallToken(ctx, admin, "prod", 0)
	if err != nil {
		t.Fatal(err)
	}
	spy := cloudtest.Join(t, s.URL, install.Token, "edge-01")
	request := s.execute(t, "")
	victim := s.poll(t).Instructions[0]

	if p, err := spy.Poll(ctx, 0, 0, victim.ID); err != nil || len(p.Instructions) != 0 || len(p.Desired.Deployments) != 0 {
		t.Errorf("it gets %+v, %v", p, err)
	}
	if r, err := s.Executions.ExecutionRequest(ctx, s.Admin, request); err != nil || !r.Delivered.IsZero() {
		t.Errorf("an atom acknowledged another's instruction: %+v, %v", r, err)
	}
	_, err = spy.Call(ctx, http.MethodGet, wire.PathPackages+s.pack.SHA256, nil)
	refused(t, err, 404, "not_found")
	if err := spy.Report(ctx, wire.Reports{Executions: []wire.ExecutionReport{{Execution: "x", Request: request, Process: "relay", Status: "completed", Received: time.Now()}}}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Executions.WaitRecord(ctx, s.Admin, request, 0); err != nil || r != nil {
		t.Errorf("an atom reported another's request: %+v, %v", r, err)
	}
	for name, f := range map[string]func() error{
		"atom":    func() error { _, err := s.Fleet.Atom(ctx, admin, s.atom.ID); return err },
		"package": func() error { _, err := s.Packages.Get(ctx, admin, s.pack.ID); return err },
		"request": func() error { _, err := s.Executions.ExecutionRequest(ctx, admin, request); return err },
		"execute": func() error {
			_, err := s.Executions.Execute(ctx, admin, cloud.ExecutionRequest{AtomID: s.atom.ID, ProcessName: "relay"})
			return err
		},
		"environment": func() error { _, err := s.Service.Environments.Get(ctx, admin, s.environment.ID); return err },
		"revoke":      func() error { return s.Fleet.RevokeAtom(ctx, admin, s.atom.ID) },
		"undeploy":    func() error { return s.Packages.Delete(ctx, admin, s.pack.ID) },
	} {
		if err := f(); !errors.Is(err, cloud.ErrNotFound) {
			t.Errorf("%s: got %v, want cloud.ErrNotFound", name, err)
		}
	}
}

func TestPackageAlteredAtRest(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	get := func() ([]byte, error) {
		return s.atom.Call(t.Context(), http.MethodGet, wire.PathPackages+s.pack.SHA256, nil)
	}
	good, err := get()
	if err != nil || wire.PackageID(good) != s.pack.SHA256 {
		t.Fatalf("got %v, want %q and no error", err, s.pack.SHA256)
	}
	path := filepath.Join(s.Dir, "packages", s.pack.SHA256)
	bad := append([]byte(nil), good...)
	bad[len(bad)/4] ^= 1
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = get()
	refused(t, err, 500, "package_altered")
	if !s.audited(t, "package_altered") {
		t.Error("the refusal is not in the audit log")
	}
	s.Deploy(t, s.environment.ID, "shop", "1", shop) // uploading it again repairs it
	if again, err := get(); err != nil || wire.PackageID(again) != s.pack.SHA256 {
		t.Errorf("got %v, want %q and no error", err, s.pack.SHA256)
	}
}

// Wrong clocks and repeated reports do no harm.
func TestReports(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	ctx := t.Context()
	request := s.execute(t, "")
	received := time.Now().Add(-5 * time.Minute)
	report := func(status string) {
		t.Helper()
		x := wire.ExecutionReport{Execution: "e1", Request: request, Process: "relay", Kind: "manual", Status: status, Received: received}
		if status == "completed" {
			x.Ended = received.Add(time.Second)
		}
		if err := s.atom.Report(ctx, wire.Reports{Executions: []wire.ExecutionReport{x}}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Executions.WaitRecord(ctx, s.Admin, request, 0); r != nil || err != nil {
		t.Fatalf("before: %+v, %v", r, err)
	}
	ended := make(chan *cloud.ExecutionRecord, 1)
	go func() {
		r, err := s.Executions.WaitRecord(ctx, s.Admin, request, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	report("running")
	first, err := s.Executions.WaitRecord(ctx, s.Admin, request, 0)
	if err != nil || first == nil || first.Status != cloud.InProcess {
		t.Fatalf("got %+v, %v, want first set, Status INPROCESS and no error", first, err)
	}
	report("completed")
	report("completed")
	report("running") // it comes late
	last := <-ended
	if last == nil || last.Status != cloud.Complete || last.ID != first.ID || last.Duration != time.Second || last.ProcessID == "" {
		t.Errorf("got %+v, want last set, Status COMPLETE, ID %q, Duration %v and ProcessID set", last, first.ID, time.Second)
	}
	all, _, err := s.Executions.Records(ctx, s.Admin, cloud.RecordFilter{}, cloud.Cursor{}, 10)
	if err != nil || len(all) != 1 || all[0].Status != cloud.Complete {
		t.Errorf("got %d records, %v, want len(all) 1, Status COMPLETE and no error", len(all), err)
	}
	if !strings.HasSuffix(first.ID, received.UTC().Format("-2006.01.02")) {
		t.Errorf("got %q, want text ending with %q", first.ID, received.UTC().Format("-2006.01.02"))
	}
}

// An atom revoked during a held poll is answered at once.
func TestRevokedWhileHeld(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	request := s.execute(t, "")
	s.poll(t) // delivered, but not acknowledged
	got := make(chan error, 1)
	go func() {
		_, err := s.atom.Poll(t.Context(), s.generation, 30)
		got <- err
	}()
	for s.Gate.HeldPolls() == 0 {
		time.Sleep(time.Millisecond) // a real server receives the poll
	}
	if err := s.Fleet.RevokeAtom(t.Context(), s.Admin, "edge-01"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		refused(t, err, 401, "revoked")
	case <-time.After(2 * time.Second):
		t.Error("the poll is still held")
	}
	r, err := s.Executions.WaitRecord(t.Context(), s.Admin, request, 0)
	if err != nil || r == nil || r.Status != cloud.Failed {
		t.Errorf("what was asked of it: %+v, %v", r, err)
	}
}

// A control plane restored from an older backup raises generations.
func TestRestoredBackupRaisesGeneration(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	p, err := s.atom.Poll(t.Context(), s.generation+1000, 0)
	if err != nil || p.Desired == nil || p.Desired.Generation <= s.generation+1000 {
		t.Errorf("got %+v, %v, want Desired set, Generation more than %v and no error", p, err, s.generation+1000)
	}
	p, err = s.atom.Poll(t.Context(), 1<<62, 0)
	if err != nil || p.Desired == nil || p.Desired.Generation >= 1<<60 {
		t.Errorf("one that cannot be: %+v, %v", p, err)
	}
}
