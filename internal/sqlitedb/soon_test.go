package sqlitedb_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"valence/internal/sqlitedb"
)

// TestDoSoon checks that deferred operations are committed alone, together with
// others, and when the committer ends.
func TestDoSoon(t *testing.T) {
	db, stop := start(t, filepath.Join(t.TempDir(), "x.db"), sqlitedb.Options{})
	insert := sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO item(body) VALUES(?)", []byte("x"))
		return err
	})
	ctx := context.Background()
	for range 5 { // sequentially: there is nothing to share with
		if err := db.DoSoon(ctx, insert); err != nil {
			t.Fatal(err)
		}
	}
	const each = 200
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			write := db.Do
			if i%2 == 0 {
				write = db.DoSoon
			}
			for range each {
				if err := write(ctx, insert); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var n int64
	err := db.Read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT count(*) FROM item", nil, func(r sqlitedb.Row) { n = r.Int(0) })
		return err
	})
	if err != nil || n != 5+16*each {
		t.Errorf("got %d rows, %v, want %d", n, err, 5+16*each)
	}
	var late sync.WaitGroup
	for range 8 {
		late.Go(func() { db.DoSoon(ctx, insert) }) // the result does not matter
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	late.Wait()
}
