package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// fixture is a control plane and its admin.
type fixture struct {
	*cloud.Service
	admin cloud.Principal
	ctx   context.Context
}

// open returns a control plane on a folder, and a function that stops it.
func open(t *testing.T, dir string) (*fixture, func()) {
	t.Helper()
	p := cloudtest.New(t, cloudtest.Options{Dir: dir})
	stop := func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	return &fixture{p.Service, p.Admin, context.Background()}, stop
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	b, err := wire.Pack([]wire.PackageFile{{Name: "project.yaml", Content: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// packFiles returns a package of files with these texts.
func packFiles(t *testing.T, texts ...string) []byte {
	t.Helper()
	var files []wire.PackageFile
	for i, text := range texts {
		files = append(files, wire.PackageFile{Name: fmt.Sprintf("%d.yaml", i), Content: []byte(text)})
	}
	b, err := wire.Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBootstrap(t *testing.T) {
	d, _ := open(t, t.TempDir())
	if token, err := d.Accounts.Bootstrap(d.ctx); token != "" || err != nil {
		t.Fatalf(`a second time: got %q, %v, want token "" and no error`, token, err)
	}
	tok, err := d.Accounts.CreateToken(d.ctx, d.admin, cloud.Token{Name: "ci", Role: cloud.Deployer})
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Accounts.Authenticate(d.ctx, "default", "ci", tok.Secret)
	if err != nil || p.Role != cloud.Deployer || p.User != "ci" {
		t.Fatalf("got %+v, %v, want Role deployer, User ci and no error", p, err)
	}
	for _, c := range [][3]string{{"other", "ci", tok.Secret}, {"default", "admin", tok.Secret}, {"default", "ci", tok.Secret + "x"}, {"default", "ci", ""}} {
		if _, err := d.Accounts.Authenticate(d.ctx, c[0], c[1], c[2]); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("%v: got %v, want cloud.ErrUnauthenticated", c, err)
		}
	}
}

const shop = `process: relay
steps:
  - log: ${props.recordId}
---
process: other
steps:
  - log: ${env.SHOP_URL}
`

// upload stores a version of the project shop.
func (d *fixture) upload(t *testing.T, version, text string) cloud.Package {
	t.Helper()
	x, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: pack(t, text), Project: "shop", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPackages(t *testing.T) {
	d, _ := open(t, t.TempDir())
	x := d.upload(t, "1", shop)
	if len(x.Components) != 2 || len(x.Needs) != 1 || x.Needs[0] != "env.SHOP_URL" {
		t.Fatalf("got %+v, want len(x.Components) 2, len(x.Needs) 1 and Needs[0] env.SHOP_URL", x)
	}
	if again := d.upload(t, "1", shop); again.ID != x.ID {
		t.Error("uploading the same package again created another")
	}
	_, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: pack(t, shop+"# more\n"), Project: "shop", Version: "1"})
	if !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("other content under the same version: got %v, want a conflict", err)
	}
	var bad *cloud.InvalidError
	if _, err := d.Packages.Create(d.ctx, d.admin, cloud.Upload{Archive: pack(t, "process: x\nsteps: [{logg: a}]\n"), Project: "shop", Version: "2"}); !errors.As(err, &bad) {
		t.Errorf("a project with a lint error: got %v, want an InvalidError", err)
	}
	if next := d.upload(t, "2", shop+"# more\n"); next.Components[0] != x.Components[0] {
		t.Error("the process id differs between versions")
	}
}
