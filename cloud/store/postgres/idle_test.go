package postgres_test

import (
	"errors"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// detached is a store that can be removed.
type detached struct{ cloud.SharedStore }

// An idle poll does not use the database: without one it would panic. The
// heartbeats of all atoms are one batch.
func TestIdlePollDoesNotTouchTheDatabase(t *testing.T) {
	c := start(t)
	atom := cloudtest.Join(t, c.a.URL, c.a.InstallToken(t, "prod"), "edge-01")
	generation := settle(t, atom)
	d := &detached{open(t, c.database)}
	ctx := t.Context()
	s, err := cloud.New(ctx, d, cloud.Options{Key: make([]byte, cloud.KeyBytes), Catalog: cloudtest.Catalog()})
	if err != nil {
		t.Fatal(err)
	}
	d.SharedStore = nil
	for range 3 {
		if err := s.Cluster.CheckFresh(); err != nil {
			t.Fatal(err)
		}
		if _, known := s.AtomAPI.Peer(atom.ID); !known {
			t.Fatal("the atom is unknown")
		}
		s.AtomAPI.RecordHeartbeat(atom.ID, wire.Heartbeat{Health: "ok"}, generation)
		if err := s.AtomAPI.Acknowledge(ctx, atom.ID, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.AtomAPI.RaiseGeneration(ctx, atom.ID, generation); err != nil {
			t.Fatal(err)
		}
		if p, wait, err := s.AtomAPI.Next(ctx, atom.ID, generation); err != nil || wait != 0 || p.Desired != nil || len(p.Instructions) > 0 {
			t.Fatalf("got %+v, %v, %v, want wait 0, nil Desired, len(p.Instructions) 0 and no error", p, wait, err)
		}
	}
}

// Changes made meanwhile are read by position. After deleted objects are
// forgotten, everything is reloaded.
func TestChangesSince(t *testing.T) {
	database := server.Database(t)
	st := open(t, database)
	ctx := t.Context()
	write := func(objects ...cloud.Object) {
		t.Helper()
		if err := st.Write(ctx, &cloud.Change{Objects: objects}); err != nil {
			t.Fatal(err)
		}
	}
	since := func(after int64) (all []string, to int64, err error) {
		to, err = st.ChangesSince(ctx, after, func(o cloud.Object) error {
			all = append(all, o.ID+string(o.Body))
			return nil
		})
		return all, to, err
	}
	write(cloud.Object{Kind: "k", ID: "a", Body: []byte("1")}, cloud.Object{Kind: "k", ID: "b", Body: []byte("1")})
	write(cloud.Object{Kind: "k", ID: "a", Body: []byte("2")})
	write(cloud.Object{Kind: "k", ID: "b"})
	if all, to, err := since(1); err != nil || to != 3 || len(all) != 2 || all[0] != "a2" || all[1] != "b" {
		t.Errorf("got %v, %d, %v, want to 3, len(all) 2, all[0] a2, all[1] b and no error", all, to, err)
	}
	if all, to, err := since(3); err != nil || to != 3 || len(all) != 0 {
		t.Errorf("got %v, %d, %v, want to 3, len(all) 0 and no error", all, to, err)
	}
	if position, err := st.Position(ctx); err != nil || position != 3 {
		t.Errorf("got %d, %v, want position 3 and no error", position, err)
	}

	server.Exec(t, database, "UPDATE cloud_object SET dropped = now() - interval '2 hours' WHERE dropped IS NOT NULL")
	if _, err := st.Purge(ctx, time.Now().Add(-time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := since(2); !errors.Is(err, cloud.ErrPositionExpired) {
		t.Errorf("after a purged position: got %v, want ErrPositionExpired", err)
	}
	if all, to, err := since(0); err != nil || to != 3 || len(all) != 1 {
		t.Errorf("got %v, %d, %v, want to 3, len(all) 1 and no error", all, to, err)
	}

	// The second of two writers waits for the first.
	first, err := st.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan cloud.WriteTx)
	go func() {
		second, err := st.Begin(ctx)
		if err != nil {
			t.Error(err)
		}
		got <- second
	}()
	select {
	case <-got:
		t.Fatal("both transactions hold the lock")
	case <-time.After(50 * time.Millisecond):
	}
	if err := first.Write(ctx, &cloud.Change{Objects: []cloud.Object{{Kind: "k", ID: "c", Body: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	second := <-got
	defer second.End()
	if second.Position() != 4 || first.Position() != 4 {
		t.Errorf("positions %d and %d", first.Position(), second.Position())
	}
	if err := first.Write(ctx, &cloud.Change{}); err == nil {
		t.Error("one transaction was written twice")
	}
}

// An altered archive is not served, and uploading it again repairs it.
func TestAlteredArchive(t *testing.T) {
	database := server.Database(t)
	st := open(t, database)
	archive, err := wire.Pack([]wire.PackageFile{{Name: "a.yaml", Content: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	sha := wire.PackageID(archive)
	if err := st.PutArchive(t.Context(), sha, archive); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, database, "UPDATE cloud_chunk SET body = set_byte(body, 0, get_byte(body, 0) # 1)")
	if _, err := st.Archive(t.Context(), sha); !errors.Is(err, cloud.ErrAltered) {
		t.Errorf("got %v, want cloud.ErrAltered", err)
	}
	if err := st.PutArchive(t.Context(), sha, archive); err != nil {
		t.Fatal(err)
	}
	f, err := st.Archive(t.Context(), sha)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	used := cloud.Object{Kind: "package", ID: "p", Account: "a", Body: []byte(`{"sha256":"` + sha + `"}`)}
	if err := st.Write(t.Context(), &cloud.Change{Objects: []cloud.Object{used}}); err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteArchive(t.Context(), sha); err != nil {
		t.Fatal(err)
	}
	if f, err = st.Archive(t.Context(), sha); err != nil {
		t.Errorf("the archive was deleted although a package uses it: %v", err)
	} else {
		f.Close()
	}
}
