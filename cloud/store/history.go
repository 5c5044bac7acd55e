package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"valence/cloud"
	"valence/internal/sqlitedb"
)

// Report implements cloud.History.
func (s *Store) Report(ctx context.Context, records []*cloud.ExecutionRecord, results []cloud.DeploymentResult) error {
	return s.write(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, r := range records {
			if err := writeRecord(tx, r); err != nil {
				return err
			}
		}
		for i := range results {
			if err := writeResult(tx, &results[i]); err != nil {
				return err
			}
		}
		return nil
	}))
}

// writeRecord inserts or updates a record.
func writeRecord(tx *sqlitedb.Tx, r *cloud.ExecutionRecord) error {
	if err := resolveReferences(tx, r); err != nil {
		return err
	}
	var seq int64
	var was cloud.ExecutionRecord
	var asked bool
	var decodeErr error
	known, err := tx.One("SELECT seq, request, body FROM record WHERE atom = ? AND execution = ?", []any{r.AtomID, r.Execution},
		func(row sqlitedb.Row) {
			seq, asked, decodeErr = row.Int(0), !row.Null(1), json.Unmarshal(row.Bytes(2), &was)
		})
	if err = errors.Join(err, decodeErr); err != nil {
		return err
	}
	r.ResubmittedAs = was.ResubmittedAs
	if known {
		// After a crash, an atom may report the request of an execution only
		// after its end.
		if r.ID = was.ID; was.Ended() && (asked || r.RequestID == "" || !r.Ended()) {
			return nil
		}
	}
	if err := markResubmitted(tx, r); err != nil {
		return err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var request any
	if r.RequestID != "" {
		request = r.RequestID
	}
	if known {
		_, err = tx.Exec("UPDATE record SET status = ?, request = coalesce(request, ?), body = ? WHERE seq = ?", r.Status, request, body, seq)
		return err
	}
	_, err = tx.Exec("INSERT INTO record(id, account, time, atom, execution, request, environment, process, status, body) VALUES(?,?,?,?,?,?,?,?,?,?)",
		r.ID, r.Account, r.Time.UnixNano(), r.AtomID, r.Execution, request, r.EnvironmentID, r.ProcessID, r.Status, body)
	return err
}

// markResubmitted marks the record of the failed execution that r runs again.
func markResubmitted(tx *sqlitedb.Tx, r *cloud.ExecutionRecord) error {
	if !strings.HasPrefix(r.OriginalID, "execution-") || !r.HasRun() {
		return nil
	}
	var original cloud.ExecutionRecord
	var seq int64
	var decodeErr error
	found, err := tx.One("SELECT seq, body FROM record WHERE id = ? AND atom = ?", []any{r.OriginalID, r.AtomID}, func(row sqlitedb.Row) {
		seq, decodeErr = row.Int(0), json.Unmarshal(row.Bytes(1), &original)
	})
	if err = errors.Join(err, decodeErr); err != nil || !found || original.ResubmittedAs == r.ID {
		return err
	}
	original.ResubmittedAs = r.ID
	body, err := json.Marshal(&original)
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE record SET body = ? WHERE seq = ?", body, seq)
	return err
}

// resolveReferences checks the request and original that an atom reports
// against its own records: an atom cannot refer to those of others.
func resolveReferences(tx *sqlitedb.Tx, r *cloud.ExecutionRecord) error {
	if r.RequestID != "" {
		found, err := tx.One("SELECT 1 FROM request WHERE id = ? AND atom = ?", []any{r.RequestID, r.AtomID}, func(sqlitedb.Row) {})
		if err != nil {
			return err
		}
		if !found {
			r.RequestID = ""
		}
	}
	if r.OriginalID == "" || strings.HasPrefix(r.OriginalID, "execution-") {
		return nil
	}
	_, err := tx.One("SELECT id FROM record WHERE atom = ? AND execution = ?", []any{r.AtomID, r.OriginalID}, func(row sqlitedb.Row) { r.OriginalID = row.Text(0) })
	return err
}

// writeResult stores the newest result of a deployment on an atom. Results are
// reported in order; clocks are not compared, because they may be set back.
func writeResult(tx *sqlitedb.Tx, r *cloud.DeploymentResult) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO result VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at, body = excluded.body",
		r.Deployment, r.AtomID, r.At.UnixNano(), body)
	return err
}

// Records implements cloud.History.
func (s *Store) Records(ctx context.Context, account string, f cloud.RecordFilter, after cloud.Cursor, limit int) ([]*cloud.ExecutionRecord, cloud.Cursor, error) {
	query, args := recordQuery(account, f, after)
	var all []*cloud.ExecutionRecord
	var last, next cloud.Cursor
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(query+" LIMIT ?", append(args, limit+1), func(row sqlitedb.Row) (bool, error) {
			if len(all) == limit {
				next = last
				return false, nil
			}
			r := &cloud.ExecutionRecord{}
			if err := json.Unmarshal(row.Bytes(2), r); err != nil {
				return false, fmt.Errorf("read an execution record: %w", err)
			}
			last = cloud.Cursor{Time: row.Int(0), Seq: row.Int(1)}
			all = append(all, r)
			return true, nil
		})
	})
	return all, next, err
}

// recordQuery returns the query of a filter, newest first, without a limit.
func recordQuery(account string, f cloud.RecordFilter, after cloud.Cursor) (string, []any) {
	where, args := []string{"account = ?"}, []any{account}
	order := " ORDER BY time DESC, seq DESC"
	if f.ID != "" || f.RequestID != "" {
		// At most one record matches. The plus signs prevent a scan of the
		// account's index, which already has the wanted order.
		where[0], order = "+account = ?", " ORDER BY +time DESC, +seq DESC"
	}
	add := func(clause string, values ...any) { where, args = append(where, clause), append(args, values...) }
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
			add(c.column+" = ?", c.value)
		}
	}
	if f.Status != "" && f.Status != cloud.Complete {
		where = append(where, "status <> 'COMPLETE'") // so that the partial index is used
	}
	if len(f.Environments) > 0 {
		var values []any
		for _, e := range f.Environments {
			values = append(values, e)
		}
		add("environment IN (?"+strings.Repeat(", ?", len(values)-1)+")", values...)
	}
	if after != (cloud.Cursor{}) {
		add("(time, seq) < (?, ?)", after.Time, after.Seq)
	}
	return "SELECT time, seq, body FROM record WHERE " + strings.Join(where, " AND ") + order, args
}

// Results implements cloud.History.
func (s *Store) Results(ctx context.Context, deployment string) ([]cloud.DeploymentResult, error) {
	var all []cloud.DeploymentResult
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT body FROM result WHERE deployment = ? ORDER BY atom", []any{deployment}, func(row sqlitedb.Row) (bool, error) {
			var r cloud.DeploymentResult
			err := json.Unmarshal(row.Bytes(0), &r)
			all = append(all, r)
			return true, err
		})
	})
	return all, err
}

// LastSeen implements cloud.History.
func (s *Store) LastSeen(ctx context.Context) (map[string]time.Time, error) {
	all := map[string]time.Time{}
	err := s.db.ReadLong(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT atom, at FROM seen", nil, func(row sqlitedb.Row) (bool, error) {
			all[row.Text(0)] = time.Unix(0, row.Int(1)).UTC()
			return true, nil
		})
	})
	return all, err
}

// SaveLastSeen implements cloud.History.
func (s *Store) SaveLastSeen(ctx context.Context, at map[string]time.Time) error {
	return s.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for atom, t := range at {
			if _, err := tx.Exec("INSERT INTO seen VALUES(?, ?) ON CONFLICT DO UPDATE SET at = excluded.at", atom, t.UnixNano()); err != nil {
				return err
			}
		}
		return nil
	}))
}
