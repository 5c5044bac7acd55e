package sqlite

import (
	"bytes"
	"context"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// PutContent implements store.Contents. It writes nothing if the content
// exists.
func (s *Store) PutContent(ctx context.Context, hash string, content []byte) error {
	idle := s.contents.noteUse(hash) // before reading: from now on no sweep deletes it
	have, err := s.Content(ctx, hash)
	if err == nil && !idle && bytes.Equal(have, content) {
		return nil
	}
	return s.storeError(s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT OR REPLACE INTO content(hash, body) VALUES(?,?)", hash, orEmpty(content))
		return err
	})))
}

// Content implements store.Contents.
func (s *Store) Content(ctx context.Context, hash string) (content []byte, err error) {
	found := false
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT body FROM content WHERE hash = ?", []any{hash}, func(r sqlitedb.Row) { content = r.Bytes(0) })
		return err
	})
	if err == nil && !found {
		err = store.ErrUnknown
	}
	return content, err
}

// Origin implements store.Origins.
func (s *Store) Origin(ctx context.Context, origin string) (r store.Receipt, err error) {
	found := false
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT seq, received FROM origin WHERE key = ?", []any{store.KeyBytes(origin)}, func(row sqlitedb.Row) {
			r = store.Receipt{Seq: row.Int(0), Received: time.Unix(0, row.Int(1)).UTC(), Duplicate: true}
		})
		return err
	})
	if err == nil && !found {
		err = store.ErrUnknown
	}
	return r, err
}
