package cloud_test

import (
	"context"
	"errors"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// desk is a control plane with a project, for tests.
type desk struct {
	*cloud.Service
	admin cloud.Principal
	ctx   context.Context
}

// open starts a control plane on a folder; the function stops it.
func open(t *testing.T, dir string) (*desk, func()) {
	t.Helper()
	st, end := cloudtest.Open(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	stop := func() { cancel(); end() }
	t.Cleanup(stop)
	s, err := cloud.New(ctx, st, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	return &desk{s, cloud.Principal{Account: cloud.DefaultAccount, User: "admin", Role: cloud.Admin, From: "127.0.0.1"}, ctx}, stop
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	b, err := wire.Pack([]wire.PackFile{{Name: "project.yaml", Content: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBootstrap(t *testing.T) {
	d, _ := open(t, t.TempDir())
	if token, err := d.Bootstrap(d.ctx); token != "" || err != nil {
		t.Fatalf("a second time: %q, %v", token, err)
	}
	tok, err := d.CreateToken(d.ctx, d.admin, cloud.Token{Name: "ci", Role: cloud.Deployer})
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Authenticate(d.ctx, "default", "ci", tok.Secret)
	if err != nil || p.Role != cloud.Deployer || p.User != "ci" {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, c := range [][3]string{{"other", "ci", tok.Secret}, {"default", "admin", tok.Secret}, {"default", "ci", tok.Secret + "x"}, {"default", "ci", ""}} {
		if _, err := d.Authenticate(d.ctx, c[0], c[1], c[2]); !errors.Is(err, cloud.ErrUnauthenticated) {
			t.Errorf("%v: %v", c, err)
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
func (d *desk) upload(t *testing.T, version, text string) cloud.Package {
	t.Helper()
	x, err := d.CreatePackage(d.ctx, d.admin, cloud.Upload{Archive: pack(t, text), Project: "shop", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPackages(t *testing.T) {
	d, _ := open(t, t.TempDir())
	x := d.upload(t, "1", shop)
	if len(x.Components) != 2 || len(x.Needs) != 1 || x.Needs[0] != "env.SHOP_URL" {
		t.Fatalf("%+v", x)
	}
	if again := d.upload(t, "1", shop); again.ID != x.ID {
		t.Error("the same again made another")
	}
	_, err := d.CreatePackage(d.ctx, d.admin, cloud.Upload{Archive: pack(t, shop+"# more\n"), Project: "shop", Version: "1"})
	if !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("another content under the same version: %v", err)
	}
	var bad *cloud.InvalidError
	if _, err := d.CreatePackage(d.ctx, d.admin, cloud.Upload{Archive: pack(t, "process: x\nsteps: [{logg: a}]\n"), Project: "shop", Version: "2"}); !errors.As(err, &bad) {
		t.Errorf("with an error: %v", err)
	}
	if next := d.upload(t, "2", shop+"# more\n"); next.Components[0] != x.Components[0] {
		t.Error("the process has another id in another version")
	}
}
