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

// limited returns the principal of a token for one environment.
func (d *fixture) limited(t *testing.T, role cloud.Role, environment string) cloud.Principal {
	t.Helper()
	e, err := d.Environments.Get(d.ctx, d.admin, environment)
	if err != nil {
		t.Fatal(err)
	}
	return cloud.Principal{Account: cloud.DefaultAccount, User: "ci", Role: role, Environments: []string{e.ID}}
}

// TestLimitedTokensCannotAffectOthers: a token for one environment cannot affect
// or see another.
func TestLimitedTokensCannotAffectOthers(t *testing.T) {
	d, _ := open(t, t.TempDir())
	d.enrol(t, "prod", "edge-01")
	d.enrol(t, "test", "edge-02")
	one, two := d.upload(t, "1", shop), d.upload(t, "2", shop+"# more\n")
	d.deploy(t, "prod", one)
	d.deploy(t, "prod", two) // prod could roll back to one
	d.deploy(t, "test", one)
	d.deploy(t, "test", two)
	ci := d.limited(t, cloud.Deployer, "test")
	if err := d.Packages.Delete(d.ctx, ci, one.ID); !errors.Is(err, cloud.ErrForbidden) {
		t.Errorf("a package of another environment: %v", err)
	}
	three := d.upload(t, "3", shop+"# even more\n")
	if err := d.Packages.Delete(d.ctx, ci, three.ID); err != nil {
		t.Error(err)
	}
	boss := d.limited(t, cloud.Admin, "test")
	_, there := d.Fleet.AttachAtom(d.ctx, boss, "edge-01", "test")
	_, nowhere := d.Fleet.AttachAtom(d.ctx, boss, "edge-99", "test")
	if !errors.Is(there, cloud.ErrNotFound) || strings.ReplaceAll(there.Error(), "01", "99") != nowhere.Error() {
		t.Errorf("an atom of another environment: %v; one that there is not: %v", there, nowhere)
	}
}

// TestStatementsOfOthers: a later statement of the same package for another
// environment does not change deployments.
func TestStatementsOfOthers(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	archive := pack(t, shop)
	upload := func(environment string) cloud.Package {
		text := []byte(`{"project":"shop","environment":"` + environment + `","serial":1,"package":"` + wire.PackageID(archive) + `"}`)
		x, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: archive, Project: "shop", Version: "1", Statement: text, Signature: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	d.deploy(t, "prod", upload("prod"))
	upload("test")
	if got := string(d.desired(t, atom).Deployments[0].Statement); !strings.Contains(got, `"prod"`) {
		t.Errorf("got %s for the atom in prod", got)
	}
}

// TestReportsAreBounded: a report cannot fill the store, create a record
// that is never purged, or send control characters to a terminal.
func TestReportsAreBounded(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	long := strings.Repeat("x", 1<<20) + "\x1b[2J"
	for i, at := range []time.Time{{}, time.Now().AddDate(7000, 0, 0), time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)} {
		err := d.AtomAPI.StoreReports(d.ctx, atom, wire.Reports{Executions: []wire.ExecutionReport{{
			Execution: string(rune('a' + i)), Process: "relay" + long, Status: "failed", Received: at, Error: "\x1b[2J" + long, Document: []byte(`"` + strings.Repeat("x", 2<<20) + `"`)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	all, _, err := d.Executions.Records(d.ctx, d.admin, cloud.RecordFilter{}, cloud.Cursor{}, 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("got %v %v, want len(all) 3 and no error", len(all), err)
	}
	for _, r := range all {
		if len(r.Message) > 17<<10 || len(r.ProcessName) > 300 || len(r.Document) > 0 || strings.Contains(r.Message, "\x1b") || time.Since(r.Time).Abs() > time.Minute {
			t.Errorf("%d %d %d %s", len(r.Message), len(r.ProcessName), len(r.Document), r.Time)
		}
	}
	d.AtomAPI.RecordHeartbeat(atom, wire.Heartbeat{Version: "1", Host: "a\x1b[2J\nb", Health: long, TriggerStatus: wire.TriggerStatus{Triggers: make([]wire.Trigger, 20_000)}}, 0)
	a, err := d.Fleet.Atom(d.ctx, d.admin, atom)
	if err != nil || strings.Contains(a.Heartbeat.Host+a.Heartbeat.Health, "\x1b") || len(a.Heartbeat.Health) > 17<<10 || len(a.Heartbeat.Triggers) > 10_000 {
		t.Error(err, a.Heartbeat.Host)
	}
	if _, err := d.Environments.Create(d.ctx, d.admin, cloud.Environment{Name: "a\x1b[2J"}); err == nil {
		t.Error("a name with control characters was accepted")
	}
	for _, project := range []string{"a/b", ".a", `a\b`, "a\nb"} {
		if _, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: pack(t, shop), Project: project, Version: "1"}); err == nil {
			t.Errorf("the project name %q was accepted, but atoms refuse it", project)
		}
	}
}

// TestTooManyMessages: the mailbox of an offline atom is limited, and the atom
// can still be retired.
func TestTooManyMessages(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	request, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	d.FillMailbox(atom)
	_, failed := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	for what, err := range map[string]error{
		"execute": failed,
		"cancel":  d.Executions.Cancel(d.ctx, d.admin, request),
		"restart": d.Triggers.Change(d.ctx, d.admin, atom, "", "restart_all"),
	} {
		if !errors.Is(err, cloud.ErrBusy) {
			t.Errorf("%s: got %v, want cloud.ErrBusy", what, err)
		}
	}
	if err := d.Fleet.RetireAtom(d.ctx, d.admin, atom); err != nil {
		t.Errorf("retire: %v", err)
	}
}

// slow is a store with a hook before a request is stored.
type slow struct {
	cloud.Store
	before func()
}

func (s *slow) Enqueue(ctx context.Context, r *cloud.ExecutionRequest, m *cloud.Instruction) (string, error) {
	s.before()
	return s.Store.Enqueue(ctx, r, m)
}

// TestRevokedMeanwhile: a request made while its atom is revoked ends as an
// error at once.
func TestRevokedMeanwhile(t *testing.T) {
	st, end := cloudtest.Open(t, t.TempDir())
	defer end()
	between := &slow{Store: st}
	s, err := cloud.New(t.Context(), between, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accounts.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &fixture{s, cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin}, t.Context()}
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	between.before = func() {
		if err := d.Fleet.RevokeAtom(d.ctx, d.admin, atom); err != nil {
			t.Error(err)
		}
	}
	request, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Executions.WaitRecord(d.ctx, d.admin, request, 0)
	if err != nil || r == nil || r.Status != cloud.Failed {
		t.Errorf("%+v, %v", r, err)
	}
}
