package sqlitedb_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"valence/internal/sqlitedb"
)

// What has patience is committed without company, with company, and when the
// committer ends.
func TestDoSoon(t *testing.T) {
	db, stop := start(t, filepath.Join(t.TempDir(), "x.db"), sqlitedb.Options{})
	insert := sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO item(body) VALUES(?)", []byte("x"))
		return err
	})
	ctx := context.Background()
	for range 5 { // one after the other: nobody comes to share with
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
		t.Errorf("%d rows, %v", n, err)
	}
	var late sync.WaitGroup
	for range 8 {
		late.Go(func() { db.DoSoon(ctx, insert) }) // answered, whatever with: the wait below ends
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	late.Wait()
}
