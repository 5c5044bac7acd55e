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
	"valence/internal/test/servers"
)

// If the database accepts requests but does not answer, nothing is answered
// from memory after ten seconds, including held polls. Afterwards the control
// plane recovers.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	own, err := servers.NewPostgres()
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
		_, err := atom.Poll(t.Context(), generation, 29) // the first poll of 30 s may end sooner: see gate.FirstHold
		held <- err
	}()
	eventually(t, "the poll is held", func() bool { return p.Gate.HeldPolls() == 1 })

	own.Signal(syscall.SIGSTOP)
	resume := sync.OnceFunc(func() { own.Signal(syscall.SIGCONT) })
	t.Cleanup(resume)
	begin := time.Now()
	if _, err := p.Accounts.Authenticate(t.Context(), "", "", "x"); !errors.Is(err, cloud.ErrUnavailable) || time.Since(begin) > 8*time.Second {
		t.Errorf("a token: got %v after %v, want cloud.ErrUnavailable and time at most %v", err, time.Since(begin), 8*time.Second)
	}
	refused(t, <-held, "unavailable")
	if took := time.Since(begin); took < 5*time.Second || took > 25*time.Second {
		t.Errorf("the held poll ended after %v", took)
	}
	if p.Ready() == nil {
		t.Error("the control plane is ready without its database")
	}
	resume()
	eventually(t, "the control plane is ready again", func() bool { return p.Ready() == nil })
	eventually(t, "changes are made again", func() bool {
		_, err := p.Environments.Create(t.Context(), p.Admin, cloud.Environment{Name: "test"})
		return err == nil || errors.Is(err, cloud.ErrConflict)
	})
}

type writer interface {
	Write(ctx context.Context, c *cloud.Change) error
}

// A hanging control plane loses the write lock and what it wrote.
func TestWriteLockIsLost(t *testing.T) {
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
	eventually(t, "another control plane has the write lock", func() bool { return put(other, "other") == nil })
	if took := time.Since(begin); took < 10*time.Second {
		t.Errorf("the lock was lost after only %v", took)
	}
	if err := put(turn, "late"); err == nil {
		t.Error("a transaction that lost the lock was written")
	}
	if position, err := other.Position(t.Context()); err != nil || position != 1 {
		t.Errorf("got position %d, %v, want position 1 and no error", position, err)
	}
}
