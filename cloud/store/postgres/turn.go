package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"valence/cloud"
	"valence/internal/wire"
)

// turn is a transaction that holds the lock of cloud_turn.
type turn struct {
	s        *Store
	tx       pgx.Tx
	position int64
	over     bool
}

// Begin implements cloud.Turns.
func (s *Store) Begin(ctx context.Context) (cloud.Turn, error) { return s.begin(ctx) }

func (s *Store) begin(ctx context.Context) (*turn, error) {
	// A context that ends closes the connection: this one must not end before
	// the turn does.
	limit, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for again := 0; ; again++ {
		t := &turn{s: s}
		tx, err := s.turns.Begin(limit)
		if err == nil {
			t.tx = tx
			if err = tx.QueryRow(limit, "SELECT position FROM cloud_turn FOR UPDATE").Scan(&t.position); err == nil {
				return t, nil
			}
			t.End()
		}
		if again < 2 && limit.Err() == nil && harmless(err) {
			continue
		}
		return nil, fmt.Errorf("wait for the turn: %w", err)
	}
}

// Position implements cloud.Turn.
func (t *turn) Position() int64 { return t.position }

// MessageID implements cloud.Turn.
func (t *turn) MessageID(ctx context.Context) (id int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = t.tx.QueryRow(ctx, "SELECT nextval('cloud_message_id')").Scan(&id)
	return id, err
}

// Waiting implements cloud.Turn.
func (t *turn) Waiting(ctx context.Context, atom string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	rows, err := t.tx.Query(ctx, "SELECT id FROM cloud_message WHERE atom = $1 ORDER BY id", atom)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// PutArchive implements cloud.Turn.
func (t *turn) PutArchive(ctx context.Context, sha string, archive []byte) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	return putArchive(ctx, t.tx, sha, archive)
}

// Write implements cloud.Turn.
func (t *turn) Write(ctx context.Context, c *cloud.Change) error {
	if t.over {
		return errors.New("the turn is over")
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	defer t.End()
	start := time.Now()
	b := &pgx.Batch{}
	position := t.position
	if len(c.Objects) > 0 {
		position++
		b.Queue("UPDATE cloud_turn SET position = $1", position)
		for _, o := range c.Objects {
			b.Queue(`INSERT INTO cloud_object(kind, id, account, body, position, dropped) VALUES($1, $2, $3, $4, $5, CASE WHEN $4::bytea IS NULL THEN now() END)
				ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, position = excluded.position, dropped = excluded.dropped`,
				o.Kind, clean(o.ID), o.Account, o.Body, position)
		}
		t.s.tell(b, cloud.Event{What: cloud.Changed, Number: position})
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
		t.s.o.OnCommit(len(c.Objects)+len(c.Messages)+len(c.Records), time.Since(start))
	}
	return nil
}

// End implements cloud.Turn.
func (t *turn) End() {
	if t.over {
		return
	}
	t.over = true
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = t.tx.Rollback(ctx) // where it fails, the connection is closed
}

// writeRest adds everything of a change but its objects, and sends it.
func (s *Store) writeRest(ctx context.Context, tx pgx.Tx, b *pgx.Batch, c *cloud.Change) error {
	for _, m := range c.Messages {
		body, err := json.Marshal(&m.Message)
		if err != nil {
			return err
		}
		b.Queue("INSERT INTO cloud_message VALUES($1, $2, $3, $4, $5, $6)", m.ID, m.Account, m.AtomID, m.Request, m.Created.UnixNano(), body)
		s.tell(b, cloud.Event{What: cloud.Queued, Atom: m.AtomID, Messages: []int64{m.ID}})
	}
	if len(c.Dropped) > 0 {
		b.Queue("DELETE FROM cloud_message WHERE id = ANY($1)", c.Dropped)
		for _, ids := range chunks(c.Dropped, idsTold) {
			s.tell(b, cloud.Event{What: cloud.Acknowledged, Messages: ids})
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

// Write implements cloud.Objects. What changes objects takes the turn.
func (s *Store) Write(ctx context.Context, c *cloud.Change) error {
	if len(c.Objects) > 0 {
		t, err := s.begin(ctx)
		if err != nil {
			return err
		}
		return t.Write(ctx, c)
	}
	return s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error { return s.writeRest(ctx, tx, &pgx.Batch{}, c) })
}

// Position implements cloud.Turns.
func (s *Store) Position(ctx context.Context) (position int64, err error) {
	err = s.readFrom(ctx, s.turns, func(r pgx.Rows) error { return r.Scan(&position) }, "SELECT position FROM cloud_turn")
	s.failure.Store(nil)
	if err != nil {
		s.failure.Store(&err)
	}
	return position, err
}

// Since implements cloud.Turns. It is one statement, and so sees one moment.
func (s *Store) Since(ctx context.Context, after int64, each func(cloud.Object) error) (int64, error) {
	var position, floor int64
	err := s.readFrom(ctx, s.turns, func(r pgx.Rows) error {
		var o cloud.Object
		var kind, id, account *string
		if err := r.Scan(&position, &floor, &kind, &id, &account, &o.Body); err != nil {
			return err
		}
		if after > 0 && after < floor {
			return cloud.ErrBehind
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
	_, err := s.Since(ctx, 0, func(o cloud.Object) error {
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
	err := s.read(ctx, func(r pgx.Rows) error {
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

// unpack reads a message.
func unpack(m *cloud.Message, id, created int64, body []byte) error {
	m.Created = time.Unix(0, created).UTC()
	var x wire.Message
	if err := json.Unmarshal(body, &x); err != nil {
		return fmt.Errorf("read the message %d: %w", id, err)
	}
	m.Message = x
	m.ID = id
	return nil
}
