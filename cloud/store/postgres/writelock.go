package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"valence/cloud"
	"valence/internal/pgdb"
	"valence/internal/wire"
)

// writeTx is a transaction that holds the row lock of cloud_turn.
type writeTx struct {
	s        *Store
	tx       pgdb.Tx
	position int64
	over     bool
}

// Begin implements cloud.WriteLock.
func (s *Store) Begin(ctx context.Context) (cloud.WriteTx, error) { return s.begin(ctx) }

func (s *Store) begin(ctx context.Context) (*writeTx, error) {
	// An expired context closes the connection, so it must outlast the lock.
	limit, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for again := 0; ; again++ {
		t := &writeTx{s: s}
		tx, err := s.locks.Begin(limit)
		if err == nil {
			t.tx = tx
			if err = tx.QueryRow(limit, "SELECT position FROM cloud_turn FOR UPDATE").Scan(&t.position); err == nil {
				return t, nil
			}
			t.End()
		}
		if again < 2 && limit.Err() == nil && pgdb.Retryable(err) {
			continue
		}
		return nil, fmt.Errorf("take the write lock: %w", err)
	}
}

// Position implements cloud.WriteTx.
func (t *writeTx) Position() int64 { return t.position }

// MessageID implements cloud.WriteTx.
func (t *writeTx) MessageID(ctx context.Context) (id int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = t.tx.QueryRow(ctx, "SELECT nextval('cloud_message_id')").Scan(&id)
	return id, err
}

// Undelivered implements cloud.WriteTx.
func (t *writeTx) Undelivered(ctx context.Context, atom string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	rows, err := t.tx.Query(ctx, "SELECT id FROM cloud_message WHERE atom = $1 ORDER BY id", atom)
	if err != nil {
		return nil, err
	}
	return pgdb.Column[int64](rows)
}

// PutArchive implements cloud.WriteTx.
func (t *writeTx) PutArchive(ctx context.Context, sha string, archive []byte) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	return putArchive(ctx, t.tx, sha, archive)
}

// Write implements cloud.WriteTx.
func (t *writeTx) Write(ctx context.Context, c *cloud.Change) error {
	if t.over {
		return errors.New("the transaction has ended")
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	defer t.End()
	start := time.Now()
	b := &pgdb.Batch{}
	position := t.position
	if len(c.Objects) > 0 {
		position++
		b.Queue("UPDATE cloud_turn SET position = $1", position)
		for _, o := range c.Objects {
			b.Queue(`INSERT INTO cloud_object(kind, id, account, body, position, dropped) VALUES($1, $2, $3, $4, $5, CASE WHEN $4::bytea IS NULL THEN now() END)
				ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, position = excluded.position, dropped = excluded.dropped`,
				o.Kind, pgdb.Sanitize(o.ID), o.Account, o.Body, position)
		}
		t.s.queueEvent(b, cloud.Event{Kind: cloud.EventChanged, Number: position})
	}
	if err := t.s.writeRest(ctx, t.tx, b, c); err != nil {
		return err
	}
	if err := t.tx.Commit(ctx); err != nil {
		return err
	}
	t.over = true
	t.position = position
	if t.s.o.OnCommit != nil {
		t.s.o.OnCommit(len(c.Objects)+len(c.Instructions)+len(c.Records), time.Since(start))
	}
	return nil
}

// End implements cloud.WriteTx.
func (t *writeTx) End() {
	if t.over {
		return
	}
	t.over = true
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = t.tx.Rollback(ctx) // if it fails, the connection is closed
}

// writeRest adds everything of a change except its objects, and sends the
// batch.
func (s *Store) writeRest(ctx context.Context, tx pgdb.Tx, b *pgdb.Batch, c *cloud.Change) error {
	for _, m := range c.Instructions {
		body, err := json.Marshal(&m.Instruction)
		if err != nil {
			return err
		}
		b.Queue("INSERT INTO cloud_message VALUES($1, $2, $3, $4, $5, $6)", m.ID, m.Account, m.AtomID, m.Request, m.Created.UnixNano(), body)
		s.queueEvent(b, cloud.Event{Kind: cloud.EventQueued, Atom: m.AtomID, Instructions: []int64{m.ID}})
	}
	if len(c.Dropped) > 0 {
		b.Queue("DELETE FROM cloud_message WHERE id = ANY($1)", c.Dropped)
		for _, ids := range chunks(c.Dropped, idsPerEvent) {
			s.queueEvent(b, cloud.Event{Kind: cloud.EventAcknowledged, Instructions: ids})
		}
	}
	for i := range c.Audit {
		body, err := json.Marshal(&c.Audit[i])
		if err != nil {
			return err
		}
		b.Queue("INSERT INTO cloud_audit(account, at, body) VALUES($1, $2, $3)", c.Audit[i].Account, c.Audit[i].At.UnixNano(), body)
	}
	if b.Len() > 0 {
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
	}
	return s.writeRecords(ctx, tx, c.Records)
}

// Write implements cloud.Objects. Changes of objects take the write lock.
func (s *Store) Write(ctx context.Context, c *cloud.Change) error {
	if len(c.Objects) > 0 {
		t, err := s.begin(ctx)
		if err != nil {
			return err
		}
		return t.Write(ctx, c)
	}
	return s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error { return s.writeRest(ctx, tx, &pgdb.Batch{}, c) })
}

// Position implements cloud.WriteLock.
func (s *Store) Position(ctx context.Context) (position int64, err error) {
	err = s.readOn(ctx, s.locks, func(r pgdb.Rows) error { return r.Scan(&position) }, "SELECT position FROM cloud_turn")
	s.failure.Store(nil)
	if err != nil {
		s.failure.Store(&err)
	}
	return position, err
}

// ChangesSince implements cloud.WriteLock. One statement reads a consistent
// state.
func (s *Store) ChangesSince(ctx context.Context, after int64, each func(cloud.Object) error) (int64, error) {
	var position, floor int64
	err := s.readOn(ctx, s.locks, func(r pgdb.Rows) error {
		var o cloud.Object
		var kind, id, account *string
		if err := r.Scan(&position, &floor, &kind, &id, &account, &o.Body); err != nil {
			return err
		}
		if after > 0 && after < floor {
			return cloud.ErrPositionExpired
		}
		if kind == nil {
			return nil
		}
		o.Kind, o.ID, o.Account = *kind, *id, *account
		return each(o)
	}, `SELECT t.position, t.floor, o.kind, o.id, o.account, o.body FROM cloud_turn AS t LEFT JOIN cloud_object AS o ON o.position > $1
		ORDER BY o.position, o.body IS NOT NULL`, after)
	return position, err
}

// Load implements cloud.Objects.
func (s *Store) Load(ctx context.Context, each func(cloud.Object) error) error {
	_, err := s.ChangesSince(ctx, 0, func(o cloud.Object) error {
		if o.Body == nil {
			return nil
		}
		return each(o)
	})
	return err
}

// Audit implements cloud.Objects.
func (s *Store) Audit(ctx context.Context, account string, below int64, limit int) ([]cloud.AuditEntry, error) {
	if below == 0 {
		below = 1<<63 - 1
	}
	var all []cloud.AuditEntry
	err := s.read(ctx, func(r pgdb.Rows) error {
		var id int64
		var body []byte
		if err := r.Scan(&id, &body); err != nil {
			return err
		}
		var e cloud.AuditEntry
		if err := json.Unmarshal(body, &e); err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		e.ID = id
		all = append(all, e)
		return nil
	}, "SELECT id, body FROM cloud_audit WHERE account = $1 AND id < $2 ORDER BY id DESC LIMIT $3", account, below, limit)
	return all, err
}

// unpack decodes an instruction.
func unpack(m *cloud.Instruction, id, created int64, body []byte) error {
	m.Created = time.Unix(0, created).UTC()
	var x wire.Instruction
	if err := json.Unmarshal(body, &x); err != nil {
		return fmt.Errorf("read the instruction %d: %w", id, err)
	}
	m.Instruction = x
	m.ID = id
	return nil
}
