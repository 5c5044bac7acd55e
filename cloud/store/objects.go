package store

import (
	"context"
	"encoding/json"
	"fmt"

	"valence/cloud"
	"valence/internal/sqlitedb"
)

// Load implements cloud.Objects.
func (s *Store) Load(ctx context.Context, each func(cloud.Object) error) error {
	return s.db.ReadLong(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT kind, id, account, body FROM object", nil, func(r sqlitedb.Row) (bool, error) {
			return true, each(cloud.Object{Kind: r.Text(0), ID: r.Text(1), Account: r.Text(2), Body: r.Bytes(3)})
		})
	})
}

// Write implements cloud.Objects.
func (s *Store) Write(ctx context.Context, c *cloud.Change) error {
	return s.write(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, o := range c.Objects {
			if err := writeObject(tx, o); err != nil {
				return err
			}
		}
		for _, m := range c.Instructions {
			if err := writeInstruction(tx, m); err != nil {
				return err
			}
		}
		for _, id := range c.Dropped {
			if _, err := tx.Exec("DELETE FROM message WHERE id = ?", id); err != nil {
				return err
			}
		}
		for _, r := range c.Records {
			if err := writeRecord(tx, r); err != nil {
				return err
			}
		}
		for i := range c.Audit {
			if err := writeAudit(tx, &c.Audit[i]); err != nil {
				return err
			}
		}
		return nil
	}))
}

func writeObject(tx *sqlitedb.Tx, o cloud.Object) error {
	if o.Body == nil {
		_, err := tx.Exec("DELETE FROM object WHERE kind = ? AND id = ?", o.Kind, o.ID)
		return err
	}
	_, err := tx.Exec("INSERT INTO object VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body", o.Kind, o.ID, o.Account, o.Body)
	return err
}

func writeAudit(tx *sqlitedb.Tx, e *cloud.AuditEntry) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO audit(account, at, body) VALUES(?, ?, ?)", e.Account, e.At.UnixNano(), body)
	return err
}

// Audit implements cloud.Objects.
func (s *Store) Audit(ctx context.Context, account string, below int64, limit int) ([]cloud.AuditEntry, error) {
	if below == 0 {
		below = 1<<63 - 1
	}
	var all []cloud.AuditEntry
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT id, body FROM audit WHERE account = ? AND id < ? ORDER BY id DESC LIMIT ?", []any{account, below, limit},
			func(r sqlitedb.Row) (bool, error) {
				var e cloud.AuditEntry
				if err := json.Unmarshal(r.Bytes(1), &e); err != nil {
					return false, fmt.Errorf("read the audit log: %w", err)
				}
				e.ID = r.Int(0)
				all = append(all, e)
				return true, nil
			})
	})
	return all, err
}
