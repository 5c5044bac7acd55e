package sqlite

import (
	"bytes"
	"context"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// PutContent keeps a content under its name; see atom.Contents. It writes
// nothing that is there already.
func (s *Store) PutContent(ctx context.Context, hash string, content []byte) error {
	idle := s.contents.keep(hash) // before it is looked for: from here on no sweep deletes it
	have, err := s.Content(ctx, hash)
	if err == nil && !idle && bytes.Equal(have, content) {
		return nil
	}
	return s.refuse(s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT OR REPLACE INTO content(hash, body) VALUES(?,?)", hash, orEmpty(content))
		return err
	})))
}

// Content gives what was put; atom.ErrUnknown if nothing was.
func (s *Store) Content(ctx context.Context, hash string) (content []byte, err error) {
	found := false
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT body FROM content WHERE hash = ?", []any{hash}, func(r sqlitedb.Row) { content = r.Bytes(0) })
		return err
	})
	if err == nil && !found {
		err = atom.ErrUnknown
	}
	return content, err
}

// Origin is atom.Origins'.
func (s *Store) Origin(ctx context.Context, origin string) (r atom.Receipt, err error) {
	found := false
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT seq, received FROM origin WHERE key = ?", []any{keyBytes(origin)}, func(row sqlitedb.Row) {
			r = atom.Receipt{Seq: row.Int(0), Received: time.Unix(0, row.Int(1)).UTC(), Duplicate: true}
		})
		return err
	})
	if err == nil && !found {
		err = atom.ErrUnknown
	}
	return r, err
}
