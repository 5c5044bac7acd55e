package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"valence/cloud"
	"valence/internal/pgdb"
)

// Enqueue implements cloud.Mailboxes. One statement inserts the request or
// waits for a concurrent one with the same key and finds it. The database
// assigns the instruction's id.
func (s *Store) Enqueue(ctx context.Context, r *cloud.ExecutionRequest, m *cloud.Instruction) (string, error) {
	kept := *r
	kept.Document = nil // the instruction holds it until it is acknowledged
	body, err := json.Marshal(&kept)
	if err != nil {
		return "", err
	}
	instruction, err := json.Marshal(&m.Instruction)
	if err != nil {
		return "", err
	}
	var key *string
	if r.IdempotencyKey != "" {
		k := pgdb.Sanitize(r.IdempotencyKey)
		key = &k
	}
	id := ""
	err = s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH r AS (INSERT INTO cloud_request(id, account, atom, created, idempotency, body) VALUES($1, $2, $3, $4, $5, $6)
				ON CONFLICT (account, idempotency) WHERE idempotency IS NOT NULL DO NOTHING RETURNING id),
			m AS (INSERT INTO cloud_message(id, account, atom, request, created, body) SELECT nextval('cloud_message_id'), $2, $3, id, $4, $7 FROM r RETURNING id)
			SELECT id, pg_notify($8, '{"w":"queued","p":"' || $9 || '","a":' || to_json($3::text) || ',"m":[' || id || ']}') FROM m`,
			r.ID, r.Account, r.AtomID, r.Created.UnixNano(), key, body, instruction, s.channel, s.plane)
		if err != nil {
			return err
		}
		for rows.Next() {
			id = r.ID
			if err := rows.Scan(&m.ID, nil); err != nil {
				rows.Close()
				return err
			}
		}
		if err := rows.Err(); err != nil || id != "" {
			return err
		}
		return tx.QueryRow(ctx, "SELECT id FROM cloud_request WHERE account = $1 AND idempotency = $2", r.Account, key).Scan(&id)
	})
	return id, err
}

// Undelivered implements cloud.Mailboxes.
func (s *Store) Undelivered(ctx context.Context, each func(string, int64) error) (highest int64, err error) {
	err = s.read(ctx, func(r pgdb.Rows) error { return r.Scan(&highest) }, "SELECT last_value FROM cloud_message_id")
	if err != nil {
		return 0, err
	}
	return highest, s.read(ctx, func(r pgdb.Rows) error {
		var atom string
		var id int64
		if err := r.Scan(&atom, &id); err != nil {
			return err
		}
		return each(atom, id)
	}, "SELECT atom, id FROM cloud_message ORDER BY atom, id")
}

// Instructions implements cloud.Mailboxes. The query skips most instructions that would
// not fit.
func (s *Store) Instructions(ctx context.Context, atom string, ids []int64, bytes int) ([]*cloud.Instruction, error) {
	var all []*cloud.Instruction
	full := false
	err := s.read(ctx, func(r pgdb.Rows) error {
		m := &cloud.Instruction{AtomID: atom}
		var id, created int64
		var body []byte
		if err := r.Scan(&id, &m.Account, &m.Request, &created, &body); err != nil {
			return err
		}
		if bytes -= len(body); full || bytes < 0 && len(all) > 0 {
			full = true
			return nil
		}
		all = append(all, m)
		return unpack(m, id, created, body)
	}, `SELECT id, account, request, created, body FROM (
			SELECT *, sum(length(body)) OVER (ORDER BY id) - length(body) AS before FROM cloud_message WHERE atom = $1 AND id = ANY($2)
		) AS m WHERE before <= $3 ORDER BY id`, pgdb.Sanitize(atom), ids, bytes)
	return all, err
}

// OlderThan implements cloud.Mailboxes.
func (s *Store) OlderThan(ctx context.Context, before time.Time, limit int) ([]*cloud.Instruction, error) {
	var all []*cloud.Instruction
	err := s.read(ctx, func(r pgdb.Rows) error {
		m := &cloud.Instruction{}
		var id, created int64
		var body []byte
		if err := r.Scan(&id, &m.Account, &m.AtomID, &m.Request, &created, &body); err != nil {
			return err
		}
		all = append(all, m)
		return unpack(m, id, created, body)
	}, `SELECT * FROM (SELECT id, account, atom, request, created, body FROM cloud_message ORDER BY id LIMIT $2) AS m WHERE created < $1 ORDER BY id`, before.UnixNano(), limit)
	return all, err
}

// Acknowledge implements cloud.Mailboxes.
func (s *Store) Acknowledge(ctx context.Context, atom string, ids []int64, at time.Time) error {
	return s.write(ctx, len(ids), func(ctx context.Context, tx pgdb.Tx) error {
		b := &pgdb.Batch{}
		for _, part := range chunks(ids, idsPerEvent) {
			b.Queue(`WITH m AS (SELECT id, request FROM cloud_message WHERE atom = $1 AND id = ANY($2) ORDER BY id FOR UPDATE),
				d AS (DELETE FROM cloud_message WHERE id IN (SELECT id FROM m)),
				u AS (UPDATE cloud_request SET delivered = $3 WHERE id IN (SELECT request FROM m WHERE request <> '') AND delivered IS NULL)
				SELECT pg_notify($4, '{"w":"acknowledged","p":"' || $5 || '","a":' || to_json($1::text) || ',"m":[' || string_agg(id::text, ',') || ']}') FROM m HAVING count(*) > 0`,
				pgdb.Sanitize(atom), part, at.UnixNano(), s.channel, s.plane)
		}
		return tx.SendBatch(ctx, b).Close()
	})
}

// ExecutionRequest implements cloud.Mailboxes.
func (s *Store) ExecutionRequest(ctx context.Context, account, id string) (*cloud.ExecutionRequest, error) {
	var found *cloud.ExecutionRequest
	err := s.read(ctx, func(r pgdb.Rows) error {
		var body []byte
		var delivered *int64
		if err := r.Scan(&body, &delivered); err != nil {
			return err
		}
		found = &cloud.ExecutionRequest{}
		if err := json.Unmarshal(body, found); err != nil {
			return fmt.Errorf("read the request %s: %w", id, err)
		}
		if delivered != nil {
			found.Delivered = time.Unix(0, *delivered).UTC()
		}
		return nil
	}, "SELECT body, delivered FROM cloud_request WHERE id = $1 AND account = $2", pgdb.Sanitize(id), pgdb.Sanitize(account))
	return found, err
}
