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

// keys are those of the atoms that tests enrol, by the atom's id.
var keys = map[string]*ecdh.PrivateKey{}

// enrol makes an atom in an environment, which is made where there is none.
func (d *desk) enrol(t *testing.T, environment, name string) string {
	t.Helper()
	if _, err := d.Environment(d.ctx, d.admin, environment); errors.Is(err, cloud.ErrNotFound) {
		if _, err := d.CreateEnvironment(d.ctx, d.admin, cloud.Environment{Name: environment}); err != nil {
			t.Fatal(err)
		}
	}
	token, err := d.CreateInstallToken(d.ctx, d.admin, environment, 0)
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
	e, err := d.Enrol(d.ctx, wire.Enrol{Token: token.Token, Name: name, Key: pub, SealKey: seal, SealSignature: ed25519.Sign(key, seal)}, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	keys[e.Atom] = open
	return e.Atom
}

func (d *desk) deploy(t *testing.T, environment string, x cloud.Package) cloud.Deployment {
	t.Helper()
	dep, err := d.Deploy(d.ctx, d.admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: environment})
	if err != nil {
		t.Fatal(err)
	}
	return dep
}

func (d *desk) desired(t *testing.T, atom string) *wire.Desired {
	t.Helper()
	p, _, err := d.Next(d.ctx, atom, -1)
	if err != nil || p.Desired == nil {
		t.Fatalf("%+v, %v", p, err)
	}
	return p.Desired
}

// Every method is allowed from the least role of the table on.
func TestRoles(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	x := d.upload(t, "1", shop)
	dep := d.deploy(t, "prod", x)
	ctx := d.ctx
	calls := map[cloud.Action][]func(cloud.Principal) error{
		"account.create":     {func(p cloud.Principal) error { _, err := d.CreateAccount(ctx, p, "-"); return err }},
		"account.read":       {func(p cloud.Principal) error { _, err := d.Accounts(ctx, p); return err }},
		"token.create":       {func(p cloud.Principal) error { _, err := d.CreateToken(ctx, p, cloud.Token{}); return err }},
		"token.read":         {func(p cloud.Principal) error { _, err := d.Tokens(ctx, p); return err }},
		"token.delete":       {func(p cloud.Principal) error { return d.DeleteToken(ctx, p, "none") }},
		"audit.read":         {func(p cloud.Principal) error { _, _, err := d.AuditLog(ctx, p, 0, 1); return err }},
		"backup.create":      {func(p cloud.Principal) error { return d.Backup(ctx, p, filepath.Join(t.TempDir(), "b")) }},
		"environment.create": {func(p cloud.Principal) error { _, err := d.CreateEnvironment(ctx, p, cloud.Environment{}); return err }},
		"environment.read":   {func(p cloud.Principal) error { _, err := d.Environments(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Environment(ctx, p, "prod"); return err }},
		"environment.update": {func(p cloud.Principal) error { _, err := d.RenameEnvironment(ctx, p, "prod", ""); return err }, func(p cloud.Principal) error {
			_, err := d.SetPolicy(ctx, p, "prod", wire.Policy{RollbackRate: 2})
			return err
		}},
		"environment.delete":  {func(p cloud.Principal) error { return d.DeleteEnvironment(ctx, p, "prod") }},
		"installtoken.create": {func(p cloud.Principal) error { _, err := d.CreateInstallToken(ctx, p, "prod", 1); return err }},
		"atom.read":           {func(p cloud.Principal) error { _, err := d.Atoms(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Atom(ctx, p, atom); return err }},
		"atom.log":            {func(p cloud.Principal) error { _, err := d.AtomLog(ctx, p, "none", 10); return err }},
		"atom.update":         {func(p cloud.Principal) error { _, err := d.RenameAtom(ctx, p, atom, ""); return err }},
		"atom.delete":         {func(p cloud.Principal) error { return d.RevokeAtom(ctx, p, "none") }},
		"attachment.create":   {func(p cloud.Principal) error { _, err := d.AttachAtom(ctx, p, atom, "prod"); return err }},
		"attachment.read":     {func(p cloud.Principal) error { _, err := d.Attachments(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Attachment(ctx, p, "none"); return err }},
		"attachment.delete":   {func(p cloud.Principal) error { return d.DetachAtom(ctx, p, "none") }},
		"component.read":      {func(p cloud.Principal) error { _, err := d.Components(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Component(ctx, p, "none"); return err }},
		"package.create":      {func(p cloud.Principal) error { _, err := d.CreatePackage(ctx, p, cloud.Upload{}); return err }, func(p cloud.Principal) error { _, err := d.PackageComponent(ctx, p, "none", "", ""); return err }},
		"package.read":        {func(p cloud.Principal) error { _, err := d.Packages(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Package(ctx, p, x.ID); return err }},
		"package.delete":      {func(p cloud.Principal) error { return d.DeletePackage(ctx, p, "none") }},
		"package.download":    {func(p cloud.Principal) error { _, err := d.Archive(ctx, p, x.ID); return err }},
		"deployment.create": {func(p cloud.Principal) error {
			_, err := d.Deploy(ctx, p, cloud.Deployment{EnvironmentID: "prod"})
			return err
		}},
		"deployment.read":   {func(p cloud.Principal) error { _, err := d.Deployments(ctx, p); return err }, func(p cloud.Principal) error { _, err := d.Deployment(ctx, p, dep.ID); return err }},
		"deployment.delete": {func(p cloud.Principal) error { return d.Undeploy(ctx, p, "none") }},
		"extension.read":    {func(p cloud.Principal) error { _, err := d.Extensions(ctx, p, "prod"); return err }},
		"extension.update":  {func(p cloud.Principal) error { return d.SetExtensions(ctx, p, "prod", nil) }},
		"execution.create": {func(p cloud.Principal) error {
			_, err := d.Execute(ctx, p, cloud.ExecutionRequest{AtomID: atom, ProcessName: "none"})
			return err
		}},
		"execution.read": {func(p cloud.Principal) error {
			_, _, err := d.Records(ctx, p, cloud.RecordFilter{}, cloud.Place{}, 1)
			return err
		}, func(p cloud.Principal) error { _, err := d.WaitRecord(ctx, p, "none", 0); return err }, func(p cloud.Principal) error { _, err := d.Request(ctx, p, "none"); return err }},
		"execution.cancel":   {func(p cloud.Principal) error { return d.CancelExecution(ctx, p, "none") }},
		"execution.resubmit": {func(p cloud.Principal) error { _, err := d.ResubmitExecution(ctx, p, "none", ""); return err }},
		"role.read":          {func(p cloud.Principal) error { _, err := d.Roles(ctx, p); return err }},
		"listener.read":      {func(p cloud.Principal) error { _, err := d.Listeners(ctx, p, atom); return err }},
		"listener.update":    {func(p cloud.Principal) error { return d.ChangeListener(ctx, p, atom, "", "none") }},
	}
	for _, action := range cloud.Actions() {
		if strings.HasPrefix(string(action), "schedule.") {
			continue // the service has nothing of schedules yet
		}
		if len(calls[action]) == 0 {
			t.Errorf("%s is not tested here", action)
		}
		need, _ := cloud.Least(action)
		for i, call := range calls[action] {
			for at, role := range cloud.Roles() {
				p := d.admin
				p.Role = role
				allowed := at >= slices.Index(cloud.Roles(), need)
				if err := call(p); errors.Is(err, cloud.ErrForbidden) == allowed {
					t.Errorf("%s (%d) by %s: %v", action, i, role, err)
				}
			}
			elsewhere := d.admin // it has the role, in another environment
			elsewhere.Environments = []string{"of another"}
			if err := call(elsewhere); err == nil && !listing(action, i) {
				t.Errorf("%s (%d) is done by who is limited to another environment", action, i)
			}
		}
	}
	for action := range calls {
		if _, known := cloud.Least(action); !known {
			t.Errorf("%s is not in the table", action)
		}
	}
}

// listing reports whether a call gives what may be seen, which may be nothing,
// or what belongs to no environment.
func listing(a cloud.Action, i int) bool {
	whole := []cloud.Action{"component.read", "package.read", "package.download", "account.read"}
	return i == 0 && strings.HasSuffix(string(a), ".read") || slices.Contains(whole, a)
}

// Lists show only what is in the principal's environments.
func TestEnvironmentLimits(t *testing.T) {
	d, _ := open(t, t.TempDir())
	d.enrol(t, "prod", "edge-01")
	d.enrol(t, "test", "edge-02")
	d.deploy(t, "prod", d.upload(t, "1", shop))
	test, err := d.Environment(d.ctx, d.admin, "test")
	if err != nil {
		t.Fatal(err)
	}
	p := d.admin
	p.Environments = []string{test.ID}
	environments, _ := d.Environments(d.ctx, p)
	atoms, _ := d.Atoms(d.ctx, p)
	attachments, _ := d.Attachments(d.ctx, p)
	deployments, _ := d.Deployments(d.ctx, p)
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
			return d.SetExtensions(d.ctx, d.admin, "prod", []cloud.Extension{
				{Name: "env.SHOP_URL", Value: "https://shop", Set: true}, {Name: "secret.KEY", Value: "s3cret-value", Set: true}, {Name: "connection.erp.timeout", Value: "5s", Set: true},
			})
		}, func(x *wire.Desired) bool {
			text, err := wire.Open(keys[atom], atom, "KEY", x.Secrets["KEY"])
			return err == nil && text == "s3cret-value" && x.Values["SHOP_URL"] == "https://shop" && string(x.Connections) == `{"erp":{"timeout":"5s"}}`
		}},
		{"pause one", func() error {
			return d.ChangeListener(d.ctx, d.admin, atom, cloud.ProcessID("default", "shop", "relay"), "pause")
		}, func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"relay"}) }},
		{"one that listens", func() error {
			d.deploy(t, "prod", d.upload(t, "3", strings.Replace(shop, "process: other\n", "process: other\nlisten: { path: /other, auth: none }\n", 1)))
			return nil
		}, func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"relay"}) }},
		{"pause all", func() error { return d.ChangeListener(d.ctx, d.admin, atom, "", "pause_all") },
			func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"other", "relay"}) }},
		{"resume all", func() error { return d.ChangeListener(d.ctx, d.admin, atom, "", "resume_all") },
			func(x *wire.Desired) bool { return slices.Equal(x.Paused, []string{"relay"}) }}, // it does not listen
		{"policy", func() error {
			_, err := d.SetPolicy(d.ctx, d.admin, "prod", wire.Policy{RollbackRate: 0.5})
			return err
		}, func(x *wire.Desired) bool { return x.Policy.RollbackRate == 0.5 }},
		{"the purge setting", func() error { _, err := d.SetPurge(d.ctx, d.admin, atom, 14); return err }, func(x *wire.Desired) bool { return x.PurgeDays == 14 }},
		{"a value removed", func() error {
			return d.SetExtensions(d.ctx, d.admin, "prod", []cloud.Extension{{Name: "env.SHOP_URL"}})
		}, func(x *wire.Desired) bool { return len(x.Values) == 0 && len(x.Secrets) == 1 }},
		{"detach", func() error {
			all, err := d.Attachments(d.ctx, d.admin)
			if err != nil {
				return err
			}
			return d.DetachAtom(d.ctx, d.admin, all[0].ID)
		}, func(x *wire.Desired) bool {
			return x.Environment == "" && len(x.Deployments) == 0 && len(x.Secrets) == 0
		}},
		{"attach", func() error { _, err := d.AttachAtom(d.ctx, d.admin, "edge-01", "prod"); return err },
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
	// All of it is there after a restart, and the secret is nowhere in clear.
	stop()
	d, stop = open(t, dir)
	if after := d.desired(t, atom); after.Generation != before.Generation || len(after.Deployments) != 1 || len(after.Secrets) != 1 {
		t.Errorf("after a restart: %+v", after)
	}
	if fields, err := d.Extensions(d.ctx, d.admin, "prod"); err != nil || len(fields) != 3 || fields[2].Value != "" || fields[2].Sealed != nil {
		t.Errorf("%+v, %v", fields, err) // the third is the secret, without its value
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
	if _, err := d.CreatePackage(d.ctx, d.admin, cloud.Upload{Archive: pack(t, shop), Project: "elsewhere", Version: "1"}); err != nil {
		t.Fatal(err) // of the two of its name, the one that is deployed to the atom is meant
	}
	for _, c := range []struct {
		name string
		r    cloud.ExecutionRequest
		want string
	}{
		{"no atom", cloud.ExecutionRequest{AtomID: "none", ProcessID: relay}, `there is no atom "none"`},
		{"no process", cloud.ExecutionRequest{AtomID: atom}, "processId: name the process"},
		{"unknown process", cloud.ExecutionRequest{AtomID: atom, ProcessName: "none"}, `there is no process "none"`},
		{"properties", cloud.ExecutionRequest{AtomID: atom, ProcessID: relay, Props: json.RawMessage(`[]`)}, "DynamicProcessProperties: is no object"},
	} {
		if _, err := d.Execute(d.ctx, d.admin, c.r); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	first, err := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: "edge-01", ProcessName: "relay", IdempotencyKey: "k", Document: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessID: relay, IdempotencyKey: "k"})
	if err != nil || again != first {
		t.Errorf("with the same key: %s, %v", again, err)
	}
	if id, err := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "other", IdempotencyKey: "k"}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("the same key for another process: %s, %v", id, err)
	}
	begin := time.Now()
	d.Leave()
	if r, err := d.WaitRecord(d.ctx, d.admin, first, time.Minute); r != nil || err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("who waits when it stops: %+v, %v after %v", r, err, time.Since(begin))
	}
	if err := d.CancelExecution(d.ctx, d.admin, first); err != nil {
		t.Error(err)
	}
	p, _, err := d.Next(d.ctx, atom, 0)
	if err != nil || len(p.Messages) != 2 || string(p.Messages[0].Execute.Document) != "hello" || p.Messages[1].Cancel != first {
		t.Errorf("%+v, %v", p.Messages, err)
	}
	all, err := d.Deployments(d.ctx, d.admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Undeploy(d.ctx, d.admin, all[0].ID); err != nil {
		t.Fatal(err)
	}
	var invalid *cloud.InvalidError
	if _, err := d.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessID: relay}); !errors.As(err, &invalid) {
		t.Errorf("of a process that is not deployed: %v", err)
	}
}

func TestWrongKeyOfSecrets(t *testing.T) {
	dir := t.TempDir()
	d, stop := open(t, dir)
	d.enrol(t, "prod", "edge-01")
	if err := d.SetExtensions(d.ctx, d.admin, "prod", []cloud.Extension{{Name: "secret.KEY", Value: "s3cret", Secret: true, Set: true}}); err != nil {
		t.Fatal(err)
	}
	if lost := d.Unreadable(); len(lost) != 0 {
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
	if lost := s.Unreadable(); len(lost) != 1 || lost[0] != "KEY of prod" {
		t.Errorf("with another key: %v", lost)
	}
	if _, err := cloud.New(t.Context(), nil, cloud.Options{Key: make([]byte, 5), Catalog: cloudtest.Catalog()}); err == nil {
		t.Error("a key of 5 bytes was taken")
	}
}
