package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/cloud"
	"valence/internal/pgdb"
)

// Report implements cloud.History.
func (s *Store) Report(ctx context.Context, records []*cloud.ExecutionRecord, results []cloud.DeploymentResult) error {
	return s.write(ctx, len(records)+len(results), func(ctx context.Context, tx pgdb.Tx) error {
		b := &pgdb.Batch{}
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

// writeRecords inserts or updates records. A record retains its first id.
func (s *Store) writeRecords(ctx context.Context, tx pgdb.Tx, records []*cloud.ExecutionRecord) error {
	if len(records) == 0 {
		return nil
	}
	if err := resolveReferences(ctx, tx, records); err != nil {
		return err
	}
	b := &pgdb.Batch{}
	var requests []string
	for _, r := range sorted(records) {
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
			r.ID, r.Account, r.Time.UnixNano(), r.AtomID, pgdb.Sanitize(r.Execution), request, r.EnvironmentID, r.ProcessID, r.Status, body, running)
	}
	for _, part := range chunks(requests, requestsPerEvent) {
		s.queueEvent(b, cloud.Event{Kind: cloud.EventRecorded, Requests: part})
	}
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	return markResubmitted(ctx, tx, records)
}

// markResubmitted marks the records of the failed executions that others run
// again.
func markResubmitted(ctx context.Context, tx pgdb.Tx, records []*cloud.ExecutionRecord) error {
	var atoms, executions, originals []string
	for _, r := range records {
		if strings.HasPrefix(r.OriginalID, "execution-") && r.HasRun() {
			atoms, executions, originals = append(atoms, r.AtomID), append(executions, pgdb.Sanitize(r.Execution)), append(originals, pgdb.Sanitize(r.OriginalID))
		}
	}
	if len(originals) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT o.body, n.id, n.original FROM cloud_record AS o
		JOIN (SELECT r.id, r.atom, x.original FROM cloud_record AS r JOIN unnest($1::text[], $2::text[], $3::text[]) AS x(atom, execution, original) USING (atom, execution)) AS n
		ON o.id = n.original AND o.atom = n.atom ORDER BY o.seq FOR UPDATE OF o`, atoms, executions, originals)
	if err != nil {
		return err
	}
	b := &pgdb.Batch{}
	var body []byte
	var id, original string
	err = pgdb.ForEachRow(rows, []any{&body, &id, &original}, func() error {
		var x cloud.ExecutionRecord
		if err := json.Unmarshal(body, &x); err != nil || x.ResubmittedAs == id {
			return err
		}
		x.ResubmittedAs = id
		marked, err := json.Marshal(&x)
		b.Queue("UPDATE cloud_record SET body = $1 WHERE id = $2", marked, original)
		return err
	})
	if err != nil || b.Len() == 0 {
		return err
	}
	return tx.SendBatch(ctx, b).Close()
}

// sorted returns the records ordered by execution, so that concurrent
// transactions lock rows in the same order. The records of one execution keep
// their order.
func sorted(records []*cloud.ExecutionRecord) []*cloud.ExecutionRecord {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b *cloud.ExecutionRecord) int {
		if a.AtomID != b.AtomID {
			return strings.Compare(a.AtomID, b.AtomID)
		}
		return strings.Compare(a.Execution, b.Execution)
	})
	return records
}

// resolveReferences checks the requests and originals that atoms report against
// their own records: an atom cannot refer to those of others.
func resolveReferences(ctx context.Context, tx pgdb.Tx, records []*cloud.ExecutionRecord) error {
	type of struct{ atom, what string }
	var requests, originals []string
	var atoms []string
	for _, r := range records {
		if r.RequestID = pgdb.Sanitize(r.RequestID); r.RequestID != "" {
			requests = append(requests, r.RequestID)
		}
		if hasLocalOriginal(r) {
			atoms, originals = append(atoms, r.AtomID), append(originals, pgdb.Sanitize(r.OriginalID))
		}
	}
	asked, ids := map[of]bool{}, map[of]string{}
	if len(requests) > 0 {
		rows, err := tx.Query(ctx, "SELECT atom, id FROM cloud_request WHERE id = ANY($1)", requests)
		if err != nil {
			return err
		}
		var x of
		if err := pgdb.ForEachRow(rows, []any{&x.atom, &x.what}, func() error { asked[x] = true; return nil }); err != nil {
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
		if err := pgdb.ForEachRow(rows, []any{&x.atom, &x.what, &id}, func() error { ids[x] = id; return nil }); err != nil {
			return err
		}
	}
	for _, r := range records {
		if r.RequestID != "" && !asked[of{r.AtomID, r.RequestID}] {
			r.RequestID = ""
		}
		if id := ids[of{r.AtomID, pgdb.Sanitize(r.OriginalID)}]; hasLocalOriginal(r) && id != "" {
			r.OriginalID = id
		}
		if at := (of{r.AtomID, pgdb.Sanitize(r.Execution)}); ids[at] == "" { // for the records that follow
			ids[at] = r.ID
		}
	}
	return nil
}

// hasLocalOriginal reports whether the original is given as the atom's own id.
func hasLocalOriginal(r *cloud.ExecutionRecord) bool {
	return r.OriginalID != "" && !strings.HasPrefix(r.OriginalID, "execution-")
}

// Records implements cloud.History.
func (s *Store) Records(ctx context.Context, account string, f cloud.RecordFilter, after cloud.Cursor, limit int) ([]*cloud.ExecutionRecord, cloud.Cursor, error) {
	query, args := recordQuery(account, f, after)
	var all []*cloud.ExecutionRecord
	var last, next cloud.Cursor
	args = append(args, limit+1)
	err := s.read(ctx, func(row pgdb.Rows) error {
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

// recordQuery returns the query of a filter.
func recordQuery(account string, f cloud.RecordFilter, after cloud.Cursor) (string, []any) {
	where, args := []string{"account = $1"}, []any{pgdb.Sanitize(account)}
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
			add(c.column+" = ?", pgdb.Sanitize(c.value))
		}
	}
	if f.Status != "" && f.Status != cloud.Complete {
		where = append(where, "status <> 'COMPLETE'") // so that the partial index is used
	}
	if len(f.Environments) > 0 {
		add("environment = ANY(?)", f.Environments)
	}
	if after != (cloud.Cursor{}) {
		add("(time, seq) < (?, ?)", after.Time, after.Seq)
	}
	return "SELECT time, seq, id, body FROM cloud_record WHERE " + strings.Join(where, " AND "), args
}

// Results implements cloud.History.
func (s *Store) Results(ctx context.Context, deployment string) ([]cloud.DeploymentResult, error) {
	var all []cloud.DeploymentResult
	err := s.read(ctx, func(row pgdb.Rows) error {
		var body []byte
		if err := row.Scan(&body); err != nil {
			return err
		}
		var r cloud.DeploymentResult
		err := json.Unmarshal(body, &r)
		all = append(all, r)
		return err
	}, "SELECT body FROM cloud_result WHERE deployment = $1 ORDER BY atom COLLATE \"C\"", pgdb.Sanitize(deployment))
	return all, err
}

// purgeStep limits the deletions of one statement. Deleted objects are
// remembered for tombstoneTTL; a control plane that was away longer reloads
// everything.
const (
	purgeStep    = 500
	tombstoneTTL = time.Hour
)

// Purge implements cloud.History. Concurrent purges skip rows locked by each
// other.
func (s *Store) Purge(ctx context.Context, before time.Time, replaced []string) (more bool, err error) {
	at := before.UnixNano()
	err = s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
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
			(SELECT deployment, atom FROM cloud_result WHERE deployment = ANY($1) LIMIT $2 FOR UPDATE SKIP LOCKED)`, replaced, purgeStep)
		more = more || tag.RowsAffected() == purgeStep
		return err
	})
	if err != nil || more {
		return more, err
	}
	return false, s.write(ctx, 1, func(ctx context.Context, tx pgdb.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT 1 FROM cloud_turn FOR UPDATE"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `WITH gone AS (DELETE FROM cloud_object WHERE dropped < now() - $1 * interval '1 second' RETURNING position)
			UPDATE cloud_turn SET floor = greatest(floor, (SELECT max(position) FROM gone)) WHERE EXISTS (SELECT 1 FROM gone)`, tombstoneTTL.Seconds())
		return err
	})
}
