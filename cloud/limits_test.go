package cloud_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// limited gives a deployer's token for one environment.
func (d *desk) limited(t *testing.T, role cloud.Role, environment string) cloud.Principal {
	t.Helper()
	e, err := d.Environment(d.ctx, d.admin, environment)
	if err != nil {
		t.Fatal(err)
	}
	return cloud.Principal{Account: cloud.DefaultAccount, User: "ci", Role: role, Environments: []string{e.ID}}
}

// TestLimitedTokensLeaveOthersAlone: who may deploy to one environment takes
// nothing from another one, and is not told what is there.
func TestLimitedTokensLeaveOthersAlone(t *testing.T) {
	d, _ := open(t, t.TempDir())
	d.enrol(t, "prod", "edge-01")
	d.enrol(t, "test", "edge-02")
	one, two := d.upload(t, "1", shop), d.upload(t, "2", shop+"# more\n")
	d.deploy(t, "prod", one)
	d.deploy(t, "prod", two) // one is what prod would go back to
	d.deploy(t, "test", one)
	d.deploy(t, "test", two)
	ci := d.limited(t, cloud.Deployer, "test")
	if err := d.DeletePackage(d.ctx, ci, one.ID); !errors.Is(err, cloud.ErrForbidden) {
		t.Errorf("a package of another environment: %v", err)
	}
	three := d.upload(t, "3", shop+"# even more\n")
	if err := d.DeletePackage(d.ctx, ci, three.ID); err != nil {
		t.Error(err)
	}
	boss := d.limited(t, cloud.Admin, "test")
	_, there := d.AttachAtom(d.ctx, boss, "edge-01", "test")
	_, nowhere := d.AttachAtom(d.ctx, boss, "edge-99", "test")
	if !errors.Is(there, cloud.ErrNotFound) || strings.ReplaceAll(there.Error(), "01", "99") != nowhere.Error() {
		t.Errorf("an atom of another environment: %v; one that there is not: %v", there, nowhere)
	}
}

// TestStatementsOfOthers: a publisher's statement that comes later with the
// same package, for another environment, changes nothing of what is deployed.
func TestStatementsOfOthers(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	archive := pack(t, shop)
	upload := func(environment string) cloud.Package {
		text := []byte(`{"project":"shop","environment":"` + environment + `","serial":1,"package":"` + wire.PackageID(archive) + `"}`)
		x, err := d.CreatePackage(d.ctx, d.admin, cloud.Upload{Archive: archive, Project: "shop", Version: "1", Statement: text, Signature: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	d.deploy(t, "prod", upload("prod"))
	upload("test")
	if got := string(d.desired(t, atom).Deployments[0].Statement); !strings.Contains(got, `"prod"`) {
		t.Errorf("the atom in prod gets %s", got)
	}
}

// TestWhatAtomsTellIsBounded: an atom cannot fill the store with one report,
// nor put one where it is never deleted, nor send commands to a terminal.
func TestWhatAtomsTellIsBounded(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	long := strings.Repeat("x", 1<<20) + "\x1b[2J"
	for i, at := range []time.Time{{}, time.Now().AddDate(7000, 0, 0), time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)} {
		err := d.Report(d.ctx, atom, wire.Reports{Executions: []wire.ExecutionReport{{
			Execution: string(rune('a' + i)), Process: "relay" + long, Status: "failed", Received: at, Error: "\x1b[2J" + long, Document: []byte(`"` + strings.Repeat("x", 2<<20) + `"`)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	all, _, err := d.Records(d.ctx, d.admin, cloud.RecordFilter{}, cloud.Place{}, 10)
	if err != nil || len(all) != 3 {
		t.Fatal(len(all), err)
	}
	for _, r := range all {
		if len(r.Message) > 17<<10 || len(r.ProcessName) > 300 || len(r.Document) > 0 || strings.Contains(r.Message, "\x1b") || time.Since(r.Time).Abs() > time.Minute {
			t.Errorf("%d %d %d %s", len(r.Message), len(r.ProcessName), len(r.Document), r.Time)
		}
	}
	d.Heard(atom, wire.Heartbeat{Version: "1", Host: "a\x1b[2J\nb", Health: long, Standing: wire.Standing{Listeners: make([]wire.Listener, 20_000)}}, 0)
	a, err := d.Atom(d.ctx, d.admin, atom)
	if err != nil || strings.Contains(a.Heartbeat.Host+a.Heartbeat.Health, "\x1b") || len(a.Heartbeat.Health) > 17<<10 || len(a.Heartbeat.Listeners) > 10_000 {
		t.Error(err, a.Heartbeat.Host)
	}
	if _, err := d.CreateEnvironment(d.ctx, d.admin, cloud.Environment{Name: "a\x1b[2J"}); err == nil {
		t.Error("an environment's name may command a terminal")
	}
	for _, project := range []string{"a/b", ".a", `a\b`, "a\nb"} {
		if _, err := d.CreatePackage(d.ctx, d.admin, cloud.Upload{Archive: pack(t, shop), Project: project, Version: "1"}); err == nil {
			t.Errorf("the project %q is taken, and no atom would run it", project)
		}
	}
}

// TestTooManyMessages: nobody fills the store with messages for an atom that is
// away, whatever they ask of it; it can be taken out of service all the same.
func TestTooManyMessages(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	request, err := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	d.Crowd(atom)
	_, failed := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	for what, err := range map[string]error{
		"execute": failed,
		"cancel":  d.CancelExecution(d.ctx, d.admin, request),
		"restart": d.ChangeListener(d.ctx, d.admin, atom, "", "restart_all"),
	} {
		if !errors.Is(err, cloud.ErrBusy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.RetireAtom(d.ctx, d.admin, atom); err != nil {
		t.Errorf("retire: %v", err)
	}
}

// slow is a store in which something happens before a request is stored.
type slow struct {
	cloud.Store
	before func()
}

func (s *slow) Enqueue(ctx context.Context, r *cloud.ExecutionRequest, m *cloud.Message) (string, error) {
	s.before()
	return s.Store.Enqueue(ctx, r, m)
}

// TestRevokedMeanwhile: a request that is made while its atom is revoked ends as
// an error, and not when the retention is over.
func TestRevokedMeanwhile(t *testing.T) {
	st, end := cloudtest.Open(t, t.TempDir())
	defer end()
	between := &slow{Store: st}
	s, err := cloud.New(t.Context(), between, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &desk{s, cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin}, t.Context()}
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	between.before = func() {
		if err := d.RevokeAtom(d.ctx, d.admin, atom); err != nil {
			t.Error(err)
		}
	}
	request, err := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.WaitRecord(d.ctx, d.admin, request, 0)
	if err != nil || r == nil || r.Status != cloud.Failed {
		t.Errorf("%+v, %v", r, err)
	}
}
