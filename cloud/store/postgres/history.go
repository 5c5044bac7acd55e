package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"valence/cloud"
)

// Report implements cloud.History.
func (s *Store) Report(ctx context.Context, records []*cloud.ExecutionRecord, results []cloud.DeploymentResult) error {
	return s.write(ctx, len(records)+len(results), func(ctx context.Context, tx pgx.Tx) error {
		b := &pgx.Batch{}
		for i := range results {
			r := &results[i]
			body, err := json.Marshal(r)
			if err != nil {
				return err
			}
			b.Queue("INSERT INTO cloud_result VALUES($1, $2, $3, $4) ON CONFLICT (deployment, atom) DO UPDATE SET at = excluded.at, body = excluded.body",
				r.Deployment, r.AtomID, r.At.UnixNano(), body)
		}
		if b.Len() > 0 {
			if err := tx.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
		}
		return s.writeRecords(ctx, tx, records)
	})
}

// running are the statuses of executions that have not ended.
var running = []string{cloud.Enqueued, cloud.InProcess, cloud.Started}

// writeRecords stores records, or what is new of those that are there. A
// record's id is the one it was stored with first.
func (s *Store) writeRecords(ctx context.Context, tx pgx.Tx, records []*cloud.ExecutionRecord) error {
	if len(records) == 0 {
		return nil
	}
	if err := relate(ctx, tx, records); err != nil {
		return err
	}
	b := &pgx.Batch{}
	var requests []string
	for _, r := range inOrder(records) {
		body, err := json.Marshal(r)
		if err != nil {
			return err
		}
		var request *string
		if r.RequestID != "" {
			request = &r.RequestID
			requests = append(requests, r.RequestID)
		}
		b.Queue(`INSERT INTO cloud_record AS old(id, account, time, atom, execution, request, environment, process, status, body) VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (atom, execution) DO UPDATE SET status = excluded.status, request = coalesce(old.request, excluded.request), body = excluded.body
			WHERE old.status = ANY($11) OR old.request IS NULL AND excluded.request IS NOT NULL AND excluded.status <> ALL($11)`,
			r.ID, r.Account, r.Time.UnixNano(), r.AtomID, clean(r.Execution), request, r.EnvironmentID, r.ProcessID, r.Status, body, running)
	}
	for _, part := range chunks(requests, requestsTold) {
		s.tell(b, cloud.Event{What: cloud.Recorded, Requests: part})
	}
	return tx.SendBatch(ctx, b).Close()
}

// inOrder has those who report the same at once wait for each other instead of
// in a circle. What is of one execution stays in its order.
func inOrder(records []*cloud.ExecutionRecord) []*cloud.ExecutionRecord {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b *cloud.ExecutionRecord) int {
		if a.AtomID != b.AtomID {
			return strings.Compare(a.AtomID, b.AtomID)
		}
		return strings.Compare(a.Execution, b.Execution)
	})
	return records
}

// relate holds what atoms say of requests and of originals against what is
// known of them: each speaks for itself only.
func relate(ctx context.Context, tx pgx.Tx, records []*cloud.ExecutionRecord) error {
	type of struct{ atom, what string }
	var requests, originals []string
	var atoms []string
	for _, r := range records {
		if r.RequestID = clean(r.RequestID); r.RequestID != "" {
			requests = append(requests, r.RequestID)
		}
		if foreign(r) {
			atoms, originals = append(atoms, r.AtomID), append(originals, clean(r.OriginalID))
		}
	}
	asked, ids := map[of]bool{}, map[of]string{}
	if len(requests) > 0 {
		rows, err := tx.Query(ctx, "SELECT atom, id FROM cloud_request WHERE id = ANY($1)", requests)
		if err != nil {
			return err
		}
		var x of
		if _, err := pgx.ForEachRow(rows, []any{&x.atom, &x.what}, func() error { asked[x] = true; return nil }); err != nil {
			return err
		}
	}
	if len(originals) > 0 {
		rows, err := tx.Query(ctx, "SELECT r.atom, r.execution, r.id FROM cloud_record AS r JOIN unnest($1::text[], $2::text[]) AS x(atom, execution) USING (atom, execution)", atoms, originals)
		if err != nil {
			return err
		}
		var x of
		var id string
		if _, err := pgx.ForEachRow(rows, []any{&x.atom, &x.what, &id}, func() error { ids[x] = id; return nil }); err != nil {
			return err
		}
	}
	for _, r := range records {
		if r.RequestID != "" && !asked[of{r.AtomID, r.RequestID}] {
			r.RequestID = ""
		}
		if id := ids[of{r.AtomID, clean(r.OriginalID)}]; foreign(r) && id != "" {
			r.OriginalID = id
		}
		if at := (of{r.AtomID, clean(r.Execution)}); ids[at] == "" { // originals of what follows
			ids[at] = r.ID
		}
	}
	return nil
}

// foreign reports whether a record names its original by the atom's own id.
func foreign(r *cloud.ExecutionRecord) bool {
	return r.OriginalID != "" && !strings.HasPrefix(r.OriginalID, "execution-")
}

// Records implements cloud.History.
func (s *Store) Records(ctx context.Context, account string, f cloud.RecordFilter, after cloud.Place, limit int) ([]*cloud.ExecutionRecord, cloud.Place, error) {
	query, args := choose(account, f, after)
	var all []*cloud.ExecutionRecord
	var last, next cloud.Place
	args = append(args, limit+1)
	err := s.read(ctx, func(row pgx.Rows) error {
		if len(all) == limit {
			next = last
			return nil
		}
		var id string
		var body []byte
		if err := row.Scan(&last.Time, &last.Seq, &id, &body); err != nil {
			return err
		}
		r := &cloud.ExecutionRecord{}
		if err := json.Unmarshal(body, r); err != nil {
			return fmt.Errorf("read an execution record: %w", err)
		}
		r.ID = id
		all = append(all, r)
		return nil
	}, fmt.Sprintf("%s ORDER BY time DESC, seq DESC LIMIT $%d", query, len(args)), args...)
	return all, next, err
}

// choose writes the query of a filter.
func choose(account string, f cloud.RecordFilter, after cloud.Place) (string, []any) {
	where, args := []string{"account = $1"}, []any{clean(account)}
	add := func(clause string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			clause = strings.Replace(clause, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, clause)
	}
	if !f.From.IsZero() {
		add("time >= ?", f.From.UnixNano())
	}
	if !f.To.IsZero() {
		add("time < ?", f.To.UnixNano())
	}
	for _, c := range []struct{ column, value string }{
		{"id", f.ID}, {"request", f.RequestID}, {"atom", f.AtomID}, {"process", f.ProcessID}, {"status", f.Status},
	} {
		if c.value != "" {
			add(c.column+" = ?", clean(c.value))
		}
	}
	if f.Status != "" && f.Status != cloud.Complete {
		where = append(where, "status <> 'COMPLETE'") // so that the index of these is used
	}
	if len(f.Environments) > 0 {
		add("environment = ANY(?)", f.Environments)
	}
	if after != (cloud.Place{}) {
		add("(time, seq) < (?, ?)", after.Time, after.Seq)
	}
	return "SELECT time, seq, id, body FROM cloud_record WHERE " + strings.Join(where, " AND "), args
}

// Results implements cloud.History.
func (s *Store) Results(ctx context.Context, deployment string) ([]cloud.DeploymentResult, error) {
	var all []cloud.DeploymentResult
	err := s.read(ctx, func(row pgx.Rows) error {
		var body []byte
		if err := row.Scan(&body); err != nil {
			return err
		}
		var r cloud.DeploymentResult
		err := json.Unmarshal(body, &r)
		all = append(all, r)
		return err
	}, "SELECT body FROM cloud_result WHERE deployment = $1 ORDER BY atom COLLATE \"C\"", clean(deployment))
	return all, err
}

// purgeStep bounds what one statement deletes, and tombsFor is how long it is
// remembered that an object was deleted: who was away longer reads everything.
const (
	purgeStep = 500
	tombsFor  = time.Hour
)

// Purge implements cloud.History. Several control planes may purge at once:
// each passes over what another one deletes.
func (s *Store) Purge(ctx context.Context, before time.Time, over []string) (more bool, err error) {
	at := before.UnixNano()
	err = s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error {
		more = false
		for _, query := range []string{
			"DELETE FROM cloud_record WHERE seq IN (SELECT seq FROM cloud_record WHERE time < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
			"DELETE FROM cloud_request WHERE id IN (SELECT id FROM cloud_request WHERE created < $1 AND delivered IS NOT NULL LIMIT $2 FOR UPDATE SKIP LOCKED)",
			"DELETE FROM cloud_audit WHERE id IN (SELECT id FROM cloud_audit WHERE id IN (SELECT id FROM cloud_audit ORDER BY id LIMIT 5000) AND at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
		} {
			tag, err := tx.Exec(ctx, query, at, purgeStep)
			if err != nil {
				return err
			}
			more = more || tag.RowsAffected() == purgeStep
		}
		tag, err := tx.Exec(ctx, `DELETE FROM cloud_result WHERE (deployment, atom) IN
			(SELECT deployment, atom FROM cloud_result WHERE deployment = ANY($1) LIMIT $2 FOR UPDATE SKIP LOCKED)`, over, purgeStep)
		more = more || tag.RowsAffected() == purgeStep
		return err
	})
	if err != nil || more {
		return more, err
	}
	return false, s.write(ctx, 1, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT 1 FROM cloud_turn FOR UPDATE"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `WITH gone AS (DELETE FROM cloud_object WHERE dropped < now() - $1 * interval '1 second' RETURNING position)
			UPDATE cloud_turn SET floor = greatest(floor, (SELECT max(position) FROM gone)) WHERE EXISTS (SELECT 1 FROM gone)`, tombsFor.Seconds())
		return err
	})
}
