package postgres_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// A control plane that has not received an event yet answers as if it had.
func TestStaleControlPlane(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	late, err := cloud.New(ctx, open(t, c.database), cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()}) // it is not running and receives no events
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.a.Accounts.CreateToken(ctx, c.a.Admin, cloud.Token{Name: "x", Role: cloud.Admin})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.Accounts.Authenticate(ctx, "", "", token.Secret); err != nil {
		t.Errorf("a token: %v", err)
	}
	atom := cloudtest.NewAtom("")
	seal := atom.Open.PublicKey().Bytes()
	enrolled, err := late.AtomAPI.Enroll(ctx, wire.EnrollRequest{Token: c.a.InstallToken(t, "prod"), Name: "edge-01", Key: atom.Key.Public().(ed25519.PublicKey), SealKey: seal, SealSignature: ed25519.Sign(atom.Key, seal)}, "here")
	if err != nil {
		t.Fatal(err)
	}
	pack, deployment := c.b.Deploy(t, c.prod.ID, "shop", "1", shop)
	archive, err := late.AtomAPI.OpenPackage(ctx, enrolled.Atom, pack.SHA256)
	if err != nil {
		t.Fatalf("the package: %v", err)
	}
	archive.Close()
	c.b.Deploy(t, c.prod.ID, "shop", "2", shop+"  - log: again\n")
	err = late.AtomAPI.StoreReports(ctx, enrolled.Atom, wire.Reports{Deployments: []wire.DeploymentReport{{Package: pack.SHA256, State: "active", At: time.Now()}}})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.a.Deployments.Get(ctx, c.a.Admin, deployment.ID); err != nil || len(d.Results) != 1 {
		t.Errorf("got %+v, %v, want len(d.Results) 1 and no error", d, err)
	}
	// An atom never gets an older generation than it has.
	newest, err := c.b.Fleet.Atom(ctx, c.b.Admin, enrolled.Atom)
	if err != nil {
		t.Fatal(err)
	}
	c.b.Deploy(t, c.prod.ID, "shop", "3", shop+"  - log: and again\n")
	changed, err := c.b.Fleet.Atom(ctx, c.b.Admin, enrolled.Atom)
	if err != nil || changed.Generation <= newest.Generation {
		t.Fatalf("got %+v, %v, want Generation more than %v and no error", changed, err, newest.Generation)
	}
	if err := late.AtomAPI.RaiseGeneration(ctx, enrolled.Atom, changed.Generation); err != nil {
		t.Fatal(err)
	}
	if p, _, err := late.AtomAPI.Next(ctx, enrolled.Atom, changed.Generation); err != nil || p.Desired != nil {
		t.Errorf("got %+v, %v, want nil Desired and no error", p, err)
	}
	if err := c.a.Accounts.DeleteToken(ctx, c.a.Admin, token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Accounts.Authenticate(ctx, "", "", token.Secret); !errors.Is(err, cloud.ErrUnauthenticated) {
		t.Errorf("a token that was ended: %v", err)
	}
	if _, err := late.Environments.Create(ctx, c.a.Admin, cloud.Environment{Name: "prod"}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("a name that is taken: %v", err)
	}
}

// atDone is a context that calls a function when a call first waits for its end.
type atDone struct {
	context.Context
	once func()
}

func (c *atDone) Done() <-chan struct{} {
	if f := c.once; f != nil {
		c.once = nil
		f()
	}
	return c.Context.Done()
}

// A replay does not fail for a reason that no longer applies when the control
// plane can make the change.
func TestReplayIsNotEndedByAnOldState(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	atom, _, _ := c.joined()
	pack, _ := c.a.Deploy(t, c.prod.ID, "shop", "2", shop+"  - log: again\n")
	began := time.Now().UTC()
	beat := wire.Heartbeat{Version: "2", Health: "ok", StartedAt: began, Features: []string{wire.KindReplay}}
	c.a.AtomAPI.RecordHeartbeat(atom.ID, beat, 0)
	r, err := c.a.Replays.Start(ctx, c.a.Admin, cloud.ReplayRequest{EnvironmentID: "prod", PackageID: pack.ID, Last: 1})
	if err != nil {
		t.Fatal(err)
	}
	running := wire.Reports{Replay: &wire.ReplayReport{Instruction: r.Instruction, AtomStarted: began, State: wire.ReplayRunning, Done: 1, Total: 5}}
	if err := c.a.AtomAPI.StoreReports(ctx, atom.ID, running); err != nil {
		t.Fatal(err)
	}
	late, err := cloud.New(ctx, open(t, c.database), cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()}) // it knows no heartbeat of the atom
	if err != nil {
		t.Fatal(err)
	}
	heard := false
	meanwhile := &atDone{Context: ctx, once: func() {
		heard = true
		late.AtomAPI.RecordHeartbeat(atom.ID, beat, 0)
	}}
	got, err := late.Replays.Get(meanwhile, c.a.Admin, r.ID)
	if err != nil || !heard || got.State != wire.ReplayRunning || got.Done != 1 {
		t.Errorf("got %+v, %v, want it running still, after the heartbeat", got, err)
	}
	if err := c.a.AtomAPI.StoreReports(ctx, atom.ID, running); err != nil {
		t.Errorf("the next report: %v", err)
	}
}
