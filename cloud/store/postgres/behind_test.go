package postgres_test

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// A control plane that has not heard yet of what another one did answers as if
// it had.
func TestBehind(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	late, err := cloud.New(ctx, open(t, c.database), cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()}) // it does not run, and hears nothing
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.a.CreateToken(ctx, c.a.Admin, cloud.Token{Name: "x", Role: cloud.Admin})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Authenticate(ctx, "", "", token.Secret); err != nil {
		t.Errorf("a token: %v", err)
	}
	atom := cloudtest.NewAtom("")
	seal := atom.Open.PublicKey().Bytes()
	enrolled, err := late.Enrol(ctx, wire.Enrol{Token: c.a.InstallToken(t, "prod"), Name: "edge-01", Key: atom.Key.Public().(ed25519.PublicKey), SealKey: seal, SealSignature: ed25519.Sign(atom.Key, seal)}, "here")
	if err != nil {
		t.Fatal(err)
	}
	pack, deployment := c.b.Deploy(t, c.prod.ID, "shop", "1", shop)
	archive, err := late.AtomPackage(ctx, enrolled.Atom, pack.SHA256)
	if err != nil {
		t.Fatalf("the package: %v", err)
	}
	archive.Close()
	c.b.Deploy(t, c.prod.ID, "shop", "2", shop+"  - log: again\n")
	err = late.Report(ctx, enrolled.Atom, wire.Reports{Deployments: []wire.DeploymentReport{{Package: pack.SHA256, State: "active", At: time.Now()}}})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.a.Deployment(ctx, c.a.Admin, deployment.ID); err != nil || len(d.Results) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	// It gives no atom an older generation than the one that it has.
	newest, err := c.b.Atom(ctx, c.b.Admin, enrolled.Atom)
	if err != nil {
		t.Fatal(err)
	}
	c.b.Deploy(t, c.prod.ID, "shop", "3", shop+"  - log: and again\n")
	changed, err := c.b.Atom(ctx, c.b.Admin, enrolled.Atom)
	if err != nil || changed.Generation <= newest.Generation {
		t.Fatalf("%+v, %v", changed, err)
	}
	if err := late.Ahead(ctx, enrolled.Atom, changed.Generation); err != nil {
		t.Fatal(err)
	}
	if p, _, err := late.Next(ctx, enrolled.Atom, changed.Generation); err != nil || p.Desired != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if err := c.a.DeleteToken(ctx, c.a.Admin, token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Authenticate(ctx, "", "", token.Secret); !errors.Is(err, cloud.ErrUnauthenticated) {
		t.Errorf("a token that was ended: %v", err)
	}
	if _, err := late.CreateEnvironment(ctx, c.a.Admin, cloud.Environment{Name: "prod"}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("a name that is taken: %v", err)
	}
}
