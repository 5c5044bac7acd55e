package cloud_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// keys are the keys of enrolled atoms, by the atom's id.
var keys = map[string]*ecdh.PrivateKey{}

// enrol enrolls an atom in an environment, which it creates if needed.
func (d *fixture) enrol(t *testing.T, environment, name string) string {
	t.Helper()
	atom, err := d.tryEnrol(t, environment, name)
	if err != nil {
		t.Fatal(err)
	}
	return atom
}

func (d *fixture) tryEnrol(t *testing.T, environment, name string) (atom string, err error) {
	t.Helper()
	if _, err := d.Environments.Get(d.ctx, d.admin, environment); errors.Is(err, cloud.ErrNotFound) {
		if _, err := d.Environments.Create(d.ctx, d.admin, cloud.Environment{Name: environment}); err != nil {
			t.Fatal(err)
		}
	}
	token, err := d.Fleet.CreateInstallToken(d.ctx, d.admin, environment, 0)
	if err != nil {
		t.Fatal(err)
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	open, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seal := open.PublicKey().Bytes()
	e, err := d.AtomAPI.Enroll(d.ctx, wire.EnrollRequest{Token: token.Token, Name: name, Key: pub, SealKey: seal, SealSignature: ed25519.Sign(key, seal)}, "10.0.0.1")
	if err != nil {
		return "", err
	}
	keys[e.Atom] = open
	return e.Atom, nil
}

func (d *fixture) deploy(t *testing.T, environment string, x cloud.Package) cloud.Deployment {
	t.Helper()
	dep, err := d.Deployments.Deploy(d.ctx, d.admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: environment})
	if err != nil {
		t.Fatal(err)
	}
	return dep
}

func (d *fixture) desired(t *testing.T, atom string) *wire.Desired {
	t.Helper()
	p, _, err := d.AtomAPI.Next(d.ctx, atom, -1)
	if err != nil || p.Desired == nil {
		t.Fatalf("got %+v, %v, want Desired set and no error", p, err)
	}
	return p.Desired
}

// Every method is allowed from its action's minimum role on.
func TestRoles(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	x := d.upload(t, "1", shop)
	dep := d.deploy(t, "prod", x)
	ctx := d.ctx
	calls := map[cloud.Action][]func(cloud.Principal) error{
		"account.create": {func(p cloud.Principal) error { _, err := d.Accounts.Create(ctx, p, "-"); return err }},
		"account.read":   {func(p cloud.Principal) error { _, err := d.Accounts.List(ctx, p); return err }},
		"token.create":   {func(p cloud.Principal) error { _, err := d.Accounts.CreateToken(ctx, p, cloud.Token{}); return err }},
		"token.read":     {func(p cloud.Principal) error { _, err := d.Accounts.Tokens(ctx, p); return err }},
		"token.delete":   {func(p cloud.Principal) error { return d.Accounts.DeleteToken(ctx, p, "none") }},
		"audit.read":     {func(p cloud.Principal) error { _, _, err := d.Audit.List(ctx, p, 0, 1); return err }},
		"backup.create":  {func(p cloud.Principal) error { return d.Backup(ctx, p, filepath.Join(t.TempDir(), "b")) }},
		"environment.create": {func(p cloud.Principal) error {
			_, err := d.Environments.Create(ctx, p, cloud.Environment{})
			return err
		}},
		"environment.read": {func(p cloud.Principal) error { _, err := d.Environments.List(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Environments.Get(ctx, p, "prod"); return err }},
		"environment.update": {func(p cloud.Principal) error { _, err := d.Environments.Rename(ctx, p, "prod", ""); return err }, func(p cloud.Principal) error {
			_, err := d.Environments.SetPolicy(ctx, p, "prod", wire.Policy{RollbackRate: 2})
			return err
		}},
		"environment.delete":  {func(p cloud.Principal) error { return d.Environments.Delete(ctx, p, "prod") }},
		"installtoken.create": {func(p cloud.Principal) error { _, err := d.Fleet.CreateInstallToken(ctx, p, "prod", 1); return err }},
		"atom.read":           {func(p cloud.Principal) error { _, err := d.Fleet.Atoms(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Fleet.Atom(ctx, p, atom); return err }},
		"atom.log":            {func(p cloud.Principal) error { _, err := d.Fleet.AtomLog(ctx, p, "none", 10); return err }},
		"atom.update":         {func(p cloud.Principal) error { _, err := d.Fleet.RenameAtom(ctx, p, atom, ""); return err }},
		"atom.delete":         {func(p cloud.Principal) error { return d.Fleet.RevokeAtom(ctx, p, "none") }},
		"attachment.create":   {func(p cloud.Principal) error { _, err := d.Fleet.AttachAtom(ctx, p, atom, "prod"); return err }},
		"attachment.read":     {func(p cloud.Principal) error { _, err := d.Fleet.Attachments(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Fleet.Attachment(ctx, p, "none"); return err }},
		"attachment.delete":   {func(p cloud.Principal) error { return d.Fleet.DetachAtom(ctx, p, "none") }},
		"component.read":      {func(p cloud.Principal) error { _, err := d.Packages.Components(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Packages.Component(ctx, p, "none"); return err }},
		"package.create": {func(p cloud.Principal) error { _, err := d.Packages.Create(ctx, p, cloud.Upload{}); return err }, func(p cloud.Principal) error {
			_, err := d.Packages.PackageComponent(ctx, p, "none", "", "")
			return err
		}},
		"package.read":     {func(p cloud.Principal) error { _, err := d.Packages.List(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Packages.Get(ctx, p, x.ID); return err }},
		"package.delete":   {func(p cloud.Principal) error { return d.Packages.Delete(ctx, p, "none") }},
		"package.download": {func(p cloud.Principal) error { _, err := d.Packages.Archive(ctx, p, x.ID); return err }},
		"deployment.create": {func(p cloud.Principal) error {
			_, err := d.Deployments.Deploy(ctx, p, cloud.Deployment{EnvironmentID: "prod"})
			return err
		}},
		"deployment.read":   {func(p cloud.Principal) error { _, err := d.Deployments.List(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Deployments.Get(ctx, p, dep.ID); return err }},
		"deployment.delete": {func(p cloud.Principal) error { return d.Deployments.Undeploy(ctx, p, "none") }},
		"replay.create": {func(p cloud.Principal) error {
			_, err := d.Replays.Start(ctx, p, cloud.ReplayRequest{EnvironmentID: "prod"})
			return err
		}, func(p cloud.Principal) error { _, err := d.Replays.Get(ctx, p, "none"); return err }, func(p cloud.Principal) error { return d.Replays.Cancel(ctx, p, "none") }},
		"extension.read":   {func(p cloud.Principal) error { _, err := d.Environments.Extensions(ctx, p, "prod"); return err }},
		"extension.update": {func(p cloud.Principal) error { return d.Environments.SetExtensions(ctx, p, "prod", nil) }},
		"execution.create": {func(p cloud.Principal) error {
			_, err := d.Executions.Execute(ctx, p, cloud.ExecutionRequest{AtomID: atom, ProcessName: "none"})
			return err
		}},
		"execution.read": {func(p cloud.Principal) error {
			_, _, err := d.Executions.Records(ctx, p, cloud.RecordFilter{}, cloud.Cursor{}, 1)
			return err
		}, func(p cloud.Principal) error { _, err := d.Executions.WaitRecord(ctx, p, "none", 0); return err }, func(p cloud.Principal) error { _, err := d.Executions.ExecutionRequest(ctx, p, "none"); return err }},
		"execution.cancel":   {func(p cloud.Principal) error { return d.Executions.Cancel(ctx, p, "none") }},
		"execution.resubmit": {func(p cloud.Principal) error { _, err := d.Executions.Resubmit(ctx, p, "none", ""); return err }},
		"role.read":          {func(p cloud.Principal) error { _, err := d.Accounts.Roles(ctx, p); return err }},
		"listener.read":      {func(p cloud.Principal) error { _, err := d.Triggers.States(ctx, p, atom); return err }},
		"listener.update":    {func(p cloud.Principal) error { return d.Triggers.Change(ctx, p, atom, "", "none") }},
	}
	for _, action := range cloud.Actions() {
		if strings.HasPrefix(string(action), "schedule.") {
			continue // no method has this action
		}
		if len(calls[action]) == 0 {
			t.Errorf("%s is not tested here", action)
		}
		need, _ := cloud.MinimumRole(action)
		for i, call := range calls[action] {
			for at, role := range cloud.Roles() {
				p := d.admin
				p.Role = role
				allowed := at >= slices.Index(cloud.Roles(), need)
				if err := call(p); errors.Is(err, cloud.ErrForbidden) == allowed {
					t.Errorf("got %s (%d) by %s: %v, want not %v", action, i, role, err, allowed)
				}
			}
			elsewhere := d.admin // the same role in another environment
			elsewhere.Environments = []string{"of another"}
			if err := call(elsewhere); err == nil && !listing(action, i) {
				t.Errorf("%s (%d) is allowed to a token limited to another environment", action, i)
			}
		}
	}
	for action := range calls {
		if _, known := cloud.MinimumRole(action); !known {
			t.Errorf("%s has no minimum role", action)
		}
	}
}

// listing reports whether a call returns a list, which may be empty, or
// concerns no environment.
func listing(a cloud.Action, i int) bool {
	whole := []cloud.Action{"component.read", "package.read", "package.download", "account.read"}
	return i == 0 && strings.HasSuffix(string(a), ".read") || slices.Contains(whole, a)
}

// Lists show only the principal's environments.
func TestEnvironmentLimits(t *testing.T) {
	d, _ := open(t, t.TempDir())
	d.enrol(t, "prod", "edge-01")
	d.enrol(t, "test", "edge-02")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	test, err := d.Environments.Get(d.ctx, d.admin, "test")
	if err != nil {
		t.Fatal(err)
	}
	p := d.admin
	p.Environments = []string{test.ID}
	environments, _ := d.Environments.List(d.ctx, p)
	atoms, _ := d.Fleet.Atoms(d.ctx, p)
	attachments, _ := d.Fleet.Attachments(d.ctx, p)
	deployments, _ := d.Deployments.List(d.ctx, p)
	if len(environments) != 1 || len(atoms) != 1 || atoms[0].Name != "edge-02" || len(attachments) != 1 || len(deployments) != 0 {
		t.Errorf("%d environments, %d atoms, %d attachments, %d deployments", len(environments), len(atoms), len(attachments), len(deployments))
	}
}

func TestDesiredState(t *testing.T) {
	dir := t.TempDir()
	d, stop := open(t, dir)
	atom := d.enrol(t, "prod", "edge-01")
	before := d.desired(t, atom)
	steps := []struct {
		name string
		do   func() error
		want func(*wire.Desired) bool
	}{
		{"deploy", func() error { d.deploy(t, "prod", d.upload(t, "1", shop)); return nil },
			func(x *wire.Desired) bool { return len(x.Deployments) == 1 && x.Deployments[0].Version == "1" }},
		{"the next version", func() error { d.deploy(t, "prod", d.upload(t, "2", shop+"# 2\n")); return nil },
			func(x *wire.Desired) bool { return len(x.Deployments) == 1 && x.Deployments[0].Version == "2" }},
		{"values", func() error {
			return d.Environments.SetExtensions(d.ctx, d.admin, "prod", []cloud.Extension{
				{Name: "env.SHOP_URL", Value: "https://shop", Set: true}, {Name: "secret.KEY", Value: "s3cret-value", Set: true}, {Name: "connection.erp.timeout", Value: "5s", Set: true},
			})
		}, func(x *wire.Desired) bool {
			text, err := wire.Open(keys[atom], atom, "KEY", x.Secrets["KEY"])
			return err == nil && text == "s3cret-value" && x.Values["SHOP_URL"] == "https://shop" && string(x.Connections) == `{"erp":{"timeout":"5s"}}`
		}},
		{"pause one", func() error {
			return d.Triggers.Change(d.ctx, d.admin, atom, cloud.ProcessID("default", "shop", "relay"), "pause")
		}, func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"relay"}) }},
		{"one that listens", func() error {
			d.deploy(t, "prod", d.upload(t, "3", strings.Replace(shop, "process: other\n", "process: other\nlisten: { path: /other, auth: none }\n", 1)))
			return nil
		}, func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"relay"}) }},
		{"pause all", func() error { return d.Triggers.Change(d.ctx, d.admin, atom, "", "pause_all") },
			func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"other", "relay"}) }},
		{"resume all", func() error { return d.Triggers.Change(d.ctx, d.admin, atom, "", "resume_all") },
			func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"relay"}) }}, // it has no listener
		{"policy", func() error {
			_, err := d.Environments.SetPolicy(d.ctx, d.admin, "prod", wire.Policy{RollbackRate: 0.5})
			return err
		}, func(x *wire.Desired) bool { return x.Policy.RollbackRate == 0.5 }},
		{"the purge setting", func() error { _, err := d.Fleet.SetPurge(d.ctx, d.admin, atom, 14); return err }, func(x *wire.Desired) bool { return x.PurgeDays == 14 }},
		{"a value removed", func() error {
			return d.Environments.SetExtensions(d.ctx, d.admin, "prod", []cloud.Extension{{Name: "env.SHOP_URL"}})
		}, func(x *wire.Desired) bool { return len(x.Values) == 0 && len(x.Secrets) == 1 }},
		{"detach", func() error {
			all, err := d.Fleet.Attachments(d.ctx, d.admin)
			if err != nil {
				return err
			}
			return d.Fleet.DetachAtom(d.ctx, d.admin, all[0].ID)
		}, func(x *wire.Desired) bool {
			return x.Environment == "" && len(x.Deployments) == 0 && len(x.Secrets) == 0
		}},
		{"attach", func() error { _, err := d.Fleet.AttachAtom(d.ctx, d.admin, "edge-01", "prod"); return err },
			func(x *wire.Desired) bool { return x.Environment == "prod" && len(x.Deployments) == 1 }},
	}
	for _, c := range steps {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		after := d.desired(t, atom)
		if after.Generation <= before.Generation {
			t.Errorf("%s: the generation did not grow", c.name)
		}
		if !c.want(after) {
			t.Errorf("%s: %+v", c.name, after)
		}
		before = after
	}
	// Everything survives a restart, and the secret is not stored in clear.
	stop()
	d, stop = open(t, dir)
	if after := d.desired(t, atom); after.Generation != before.Generation || len(after.Deployments) != 1 || len(after.Secrets) != 1 {
		t.Errorf("after a restart: got %+v, want Generation %v, len(after.Deployments) 1 and len(after.Secrets) 1", after, before.Generation)
	}
	if fields, err := d.Environments.Extensions(d.ctx, d.admin, "prod"); err != nil || len(fields) != 3 || fields[2].Value != "" || fields[2].Sealed != nil {
		t.Errorf(`got %+v, %v, want len(fields) 3, Value "", nil Sealed and no error`, fields, err) // the third is the secret, without its value
	}
	stop()
	for _, name := range []string{"cloud.db", "cloud.db-wal"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("s3cret-value")) {
			t.Errorf("the secret is in %s", name)
		}
	}
}

func TestExecute(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	relay := cloud.ProcessID("default", "shop", "relay")
	if _, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: pack(t, shop), Project: "elsewhere", Version: "1"}); err != nil {
		t.Fatal(err) // the deployed one of two processes with this name
	}
	for _, c := range []struct {
		name string
		r    cloud.ExecutionRequest
		want string
	}{
		{"no atom", cloud.ExecutionRequest{AtomID: "none", ProcessID: relay}, `there is no atom "none"`},
		{"no process", cloud.ExecutionRequest{AtomID: atom}, "processId: is required, or processName"},
		{"unknown process", cloud.ExecutionRequest{AtomID: atom, ProcessName: "none"}, `there is no process "none"`},
		{"properties", cloud.ExecutionRequest{AtomID: atom, ProcessID: relay, Props: json.RawMessage(`[]`)}, "DynamicProcessProperties: must be an object"},
	} {
		if _, err := d.Executions.Execute(d.ctx, d.admin, c.r); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want an error and Error %q", c.name, err, c.want)
		}
	}
	first, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: "edge-01", ProcessName: "relay", IdempotencyKey: "k", Document: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessID: relay, IdempotencyKey: "k"})
	if err != nil || again != first {
		t.Errorf("with the same key: %s, %v", again, err)
	}
	if id, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "other", IdempotencyKey: "k"}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("the same key for another process: %s, %v", id, err)
	}
	begin := time.Now()
	d.PrepareStop()
	if r, err := d.Executions.WaitRecord(d.ctx, d.admin, first, time.Minute); r != nil || err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("waiting at stop: got %+v, %v after %v", r, err, time.Since(begin))
	}
	if err := d.Executions.Cancel(d.ctx, d.admin, first); err != nil {
		t.Error(err)
	}
	p, _, err := d.AtomAPI.Next(d.ctx, atom, 0)
	if err != nil || len(p.Instructions) != 2 || string(p.Instructions[0].Execute.Document) != "hello" || p.Instructions[1].Cancel != first {
		t.Errorf("got %+v, %v, want len(p.Instructions) 2, Document hello, Cancel %q and no error", p.Instructions, err, first)
	}
	all, err := d.Deployments.List(d.ctx, d.admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Deployments.Undeploy(d.ctx, d.admin, all[0].ID); err != nil {
		t.Fatal(err)
	}
	var invalid *cloud.InvalidError
	if _, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessID: relay}); !errors.As(err, &invalid) {
		t.Errorf("of a process that is not deployed: %v", err)
	}
}

func TestWrongKeyOfSecrets(t *testing.T) {
	dir := t.TempDir()
	d, stop := open(t, dir)
	d.enrol(t, "prod", "edge-01")
	if err := d.Environments.SetExtensions(d.ctx, d.admin, "prod", []cloud.Extension{{Name: "secret.KEY", Value: "s3cret", Secret: true, Set: true}}); err != nil {
		t.Fatal(err)
	}
	if lost := d.Environments.UnreadableSecrets(); len(lost) != 0 {
		t.Errorf("with its key: %v", lost)
	}
	stop()
	st, end := cloudtest.Open(t, dir)
	defer end()
	other := make([]byte, cloud.KeyBytes)
	other[0] = 1
	s, err := cloud.New(t.Context(), st, cloud.Options{Key: other, Catalog: cloudtest.Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	if lost := s.Environments.UnreadableSecrets(); len(lost) != 1 || lost[0] != "KEY of prod" {
		t.Errorf("with another key: %v", lost)
	}
	if _, err := cloud.New(t.Context(), nil, cloud.Options{Key: make([]byte, 5), Catalog: cloudtest.Catalog()}); err == nil {
		t.Error("a key of 5 bytes was accepted")
	}
}
