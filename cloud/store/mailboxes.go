package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"valence/cloud"
	"valence/internal/sqlitedb"
)

// Enqueue implements cloud.Mailboxes.
func (s *Store) Enqueue(ctx context.Context, r *cloud.ExecutionRequest, m *cloud.Instruction) (string, error) {
	kept := *r
	kept.Document = nil // the instruction holds it until it is acknowledged
	body, err := json.Marshal(&kept)
	if err != nil {
		return "", err
	}
	op := &enqueueOp{r: r, m: m, body: body}
	err = s.write(ctx, op)
	return op.id, err
}

type enqueueOp struct {
	r    *cloud.ExecutionRequest
	m    *cloud.Instruction
	body []byte
	id   string
}

func (o *enqueueOp) Do(tx *sqlitedb.Tx) error {
	o.id = o.r.ID
	var key any
	if o.r.IdempotencyKey != "" {
		key = o.r.IdempotencyKey
		found, err := tx.One("SELECT id FROM request WHERE account = ? AND idempotency = ?", []any{o.r.Account, o.r.IdempotencyKey},
			func(r sqlitedb.Row) { o.id = r.Text(0) })
		if err != nil || found {
			return err
		}
	}
	_, err := tx.Exec("INSERT INTO request VALUES(?, ?, ?, ?, NULL, ?, ?)", o.r.ID, o.r.Account, o.r.AtomID, o.r.Created.UnixNano(), key, o.body)
	if err != nil {
		return err
	}
	return writeInstruction(tx, o.m)
}

func writeInstruction(tx *sqlitedb.Tx, m *cloud.Instruction) error {
	body, err := json.Marshal(&m.Instruction)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO message VALUES(?, ?, ?, ?, ?, ?)", m.ID, m.Account, m.AtomID, m.Request, m.Created.UnixNano(), body)
	return err
}

// Undelivered implements cloud.Mailboxes.
func (s *Store) Undelivered(ctx context.Context, each func(string, int64) error) (highest int64, err error) {
	err = s.db.ReadLong(ctx, func(tx *sqlitedb.Tx) error {
		if _, err := tx.One("SELECT seq FROM sqlite_sequence WHERE name = 'message'", nil, func(r sqlitedb.Row) { highest = r.Int(0) }); err != nil {
			return err
		}
		return tx.Rows("SELECT atom, id FROM message ORDER BY id", nil, func(r sqlitedb.Row) (bool, error) { return true, each(r.Text(0), r.Int(1)) })
	})
	return highest, err
}

// Instructions implements cloud.Mailboxes.
func (s *Store) Instructions(ctx context.Context, atom string, ids []int64, bytes int) ([]*cloud.Instruction, error) {
	var all []*cloud.Instruction
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		for _, id := range ids {
			m := &cloud.Instruction{AtomID: atom}
			var body []byte
			found, err := tx.One("SELECT account, request, created, body FROM message WHERE id = ? AND atom = ?", []any{id, atom}, func(r sqlitedb.Row) {
				m.Account, m.Request, m.Created, body = r.Text(0), r.Text(1), time.Unix(0, r.Int(2)).UTC(), r.Bytes(3)
			})
			if err != nil {
				return err
			}
			if !found {
				continue // acknowledged meanwhile
			}
			if bytes -= len(body); bytes < 0 && len(all) > 0 {
				return nil
			}
			if err := json.Unmarshal(body, &m.Instruction); err != nil {
				return fmt.Errorf("read the instruction %d: %w", id, err)
			}
			all = append(all, m)
		}
		return nil
	})
	return all, err
}

// OlderThan implements cloud.Mailboxes.
func (s *Store) OlderThan(ctx context.Context, before time.Time, limit int) ([]*cloud.Instruction, error) {
	var all []*cloud.Instruction
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		// Ids grow with time, so the oldest instructions come first.
		return tx.Rows("SELECT id, account, atom, request, created, body FROM message ORDER BY id LIMIT ?", []any{limit}, func(r sqlitedb.Row) (bool, error) {
			m := &cloud.Instruction{Account: r.Text(1), AtomID: r.Text(2), Request: r.Text(3), Created: time.Unix(0, r.Int(4)).UTC()}
			if !m.Created.Before(before) {
				return false, nil
			}
			if err := json.Unmarshal(r.Bytes(5), &m.Instruction); err != nil {
				return false, fmt.Errorf("read the instruction %d: %w", r.Int(0), err)
			}
			all = append(all, m)
			return true, nil
		})
	})
	return all, err
}

// Acknowledge implements cloud.Mailboxes.
func (s *Store) Acknowledge(ctx context.Context, atom string, ids []int64, at time.Time) error {
	return s.write(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, id := range ids {
			request := ""
			found, err := tx.One("SELECT request FROM message WHERE id = ? AND atom = ?", []any{id, atom}, func(r sqlitedb.Row) { request = r.Text(0) })
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if _, err := tx.Exec("DELETE FROM message WHERE id = ?", id); err != nil {
				return err
			}
			if request == "" {
				continue
			}
			if _, err := tx.Exec("UPDATE request SET delivered = ? WHERE id = ? AND delivered IS NULL", at.UnixNano(), request); err != nil {
				return err
			}
		}
		return nil
	}))
}

// ExecutionRequest implements cloud.Mailboxes.
func (s *Store) ExecutionRequest(ctx context.Context, account, id string) (*cloud.ExecutionRequest, error) {
	var r *cloud.ExecutionRequest
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		var failure error
		_, err := tx.One("SELECT body, delivered FROM request WHERE id = ? AND account = ?", []any{id, account}, func(row sqlitedb.Row) {
			r = &cloud.ExecutionRequest{}
			failure = json.Unmarshal(row.Bytes(0), r)
			if !row.Null(1) {
				r.Delivered = time.Unix(0, row.Int(1)).UTC()
			}
		})
		if err == nil {
			err = failure
		}
		return err
	})
	return r, err
}
