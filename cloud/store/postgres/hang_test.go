package postgres_test

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
)

// The database takes what is sent and answers nothing, as behind a cut network:
// after ten seconds nothing is answered from memory, also to who is held, and it
// goes on by itself.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	own, err := cloudtest.NewPostgres()
	if err == nil {
		err = own.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Remove)
	p := cloudtest.Start(t, cloudtest.Options{Shared: own.URL(own.Database(t))})
	p.Environment(t, "prod")
	atom := cloudtest.Join(t, p.URL, p.InstallToken(t, "prod"), "edge-01")
	generation := settle(t, atom)
	held := make(chan error, 1)
	go func() {
		_, err := atom.Poll(t.Context(), generation, 30)
		held <- err
	}()
	eventually(t, "the poll is held", func() bool { return p.Gate.Held() == 1 })

	own.Signal(syscall.SIGSTOP)
	resume := sync.OnceFunc(func() { own.Signal(syscall.SIGCONT) })
	t.Cleanup(resume)
	begin := time.Now()
	if _, err := p.Authenticate(t.Context(), "", "", "x"); !errors.Is(err, cloud.ErrUnavailable) || time.Since(begin) > 8*time.Second {
		t.Errorf("a token: %v after %v", err, time.Since(begin))
	}
	refused(t, <-held, "unavailable")
	if took := time.Since(begin); took < 5*time.Second || took > 25*time.Second {
		t.Errorf("who is held was let go after %v", took)
	}
	if p.Ready() == nil {
		t.Error("it says that it is ready")
	}
	resume()
	eventually(t, "it is ready again", func() bool { return p.Ready() == nil })
	eventually(t, "changes are made again", func() bool {
		_, err := p.CreateEnvironment(t.Context(), p.Admin, cloud.Environment{Name: "test"})
		return err == nil || errors.Is(err, cloud.ErrConflict)
	})
}

type writer interface {
	Write(ctx context.Context, c *cloud.Change) error
}

// A control plane that has the turn and hangs loses it, and what it wrote in it.
func TestTurnIsLost(t *testing.T) {
	t.Parallel()
	database := server.Database(t)
	hangs, other := open(t, database), open(t, database)
	turn, err := hangs.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	put := func(to writer, id string) error {
		return to.Write(t.Context(), &cloud.Change{Objects: []cloud.Object{{Kind: "k", ID: id, Body: []byte("1")}}})
	}
	eventually(t, "another one has the turn", func() bool { return put(other, "other") == nil })
	if took := time.Since(begin); took < 10*time.Second {
		t.Errorf("it took only %v", took)
	}
	if err := put(turn, "late"); err == nil {
		t.Error("a turn that was lost wrote something")
	}
	if position, err := other.Position(t.Context()); err != nil || position != 1 {
		t.Errorf("position %d, %v", position, err)
	}
}
