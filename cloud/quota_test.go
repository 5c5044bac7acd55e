package cloud_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
)

// TestAccountQuotas reaches each quota of an account, and checks that the error
// names it and that deleting makes room.
func TestAccountQuotas(t *testing.T) {
	p := cloudtest.New(t, cloudtest.Options{Quotas: &cloud.Quotas{Packages: 2, PackageBytes: 10_000, PackageValues: 200, Atoms: 1, Waiting: 2}})
	d := &fixture{p.Service, p.Admin, context.Background()}
	refused := func(quota string, kind, err error) {
		t.Helper()
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), "quota "+quota+": ") || !strings.Contains(err.Error(), "raise --max-") {
			t.Errorf("%s: got %v, want an error of kind %v with the quota and its option", quota, err, kind)
		}
	}
	create := func(version, text string) (cloud.Package, error) {
		return d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: pack(t, text), Project: "shop", Version: version})
	}
	invalid := func(quota string, err error) {
		t.Helper()
		var bad *cloud.InvalidError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "quota "+quota+": ") || !strings.Contains(err.Error(), "raise --max-") {
			t.Errorf("%s: got %v, want an invalid package with the quota and its option", quota, err)
		}
	}
	_, err := create("1", shop+strings.Repeat("# a comment\n", 200))
	invalid("package values", err)
	one := d.upload(t, "1", shop)
	_, err = create("2", shop+"#"+strings.Repeat("x", 9000)+"\n")
	refused("package bytes", cloud.ErrConflict, err)
	d.upload(t, "2", shop+"# more\n")
	_, err = create("3", shop+"# other\n")
	refused("packages", cloud.ErrConflict, err)
	_, err = d.Packages.PackageComponent(d.ctx, d.admin, one.Components[0], "3", "")
	refused("packages", cloud.ErrConflict, err)
	if again, err := create("1", shop); err != nil || again.ID != one.ID {
		t.Errorf("the same package again: got %v, want the stored one", err)
	}
	atom := d.enrol(t, "prod", "edge-01")
	_, err = d.tryEnrol(t, "prod", "edge-02")
	refused("atoms", cloud.ErrConflict, err)
	d.deploy(t, "prod", one)
	for range 2 { // the deployment has sent nothing to the mailbox
		if _, err := d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = d.Executions.Execute(d.ctx, d.admin, cloud.ExecutionRequest{AtomID: atom, ProcessName: "relay"})
	refused("waiting requests", cloud.ErrQuota, err)

	u, err := d.Accounts.Usage(d.ctx, d.admin, cloud.DefaultAccount)
	if err != nil || u.Packages != 2 || u.Atoms != 1 || u.Waiting != 2 || u.PackageBytes <= 0 {
		t.Errorf("got %+v, %v, want 2 packages, 1 atom and 2 waiting requests", u, err)
	}
	if u, err := d.Accounts.Usage(d.ctx, d.admin, "other"); err != nil || u != (cloud.Usage{}) {
		t.Errorf("another account: got %+v, %v, want no usage", u, err)
	}
	list, err := d.Packages.List(d.ctx, d.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if x.ID != one.ID {
			if err := d.Packages.Delete(d.ctx, d.admin, x.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := create("3", shop+"# other\n"); err != nil {
		t.Errorf("after a deletion: got %v, want room", err)
	}
	if err := d.Fleet.RetireAtom(d.ctx, d.admin, atom); err != nil {
		t.Fatal(err)
	}
	if _, err := d.tryEnrol(t, "prod", "edge-02"); err != nil {
		t.Errorf("after an atom was retired: got %v, want room", err)
	}
}

// TestUploadsAreCheckedWithinABudget uploads a package of 12 MB that would need
// gigabytes when it is parsed.
func TestUploadsAreCheckedWithinABudget(t *testing.T) {
	d, _ := open(t, t.TempDir())
	file := "process: p\nsteps: [" + strings.Repeat("1,", 1_900_000) + "1]\n"
	archive := packFiles(t, file, file, file)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: archive, Project: "shop", Version: "1"})
	runtime.ReadMemStats(&after)
	var bad *cloud.InvalidError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "quota package values: ") {
		t.Errorf("got %v, want the quota of values", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 100<<20 {
		t.Errorf("got %d bytes allocated for %d, want at most 100 MiB", n, len(archive))
	}
}
