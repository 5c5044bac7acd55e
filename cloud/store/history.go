package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"valence/cloud"
	"valence/internal/sqlitedb"
)

// Report implements cloud.History.
func (s *Store) Report(ctx context.Context, records []*cloud.ExecutionRecord, results []cloud.DeploymentResult) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
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

// writeRecord stores a record, or what is new of one that is there.
func writeRecord(tx *sqlitedb.Tx, r *cloud.ExecutionRecord) error {
	if err := relate(tx, r); err != nil {
		return err
	}
	var seq int64
	var was cloud.ExecutionRecord
	var asked bool
	known, err := tx.One("SELECT seq, id, status, request FROM record WHERE atom = ? AND execution = ?", []any{r.AtomID, r.Execution},
		func(row sqlitedb.Row) {
			seq, was.ID, was.Status, asked = row.Int(0), row.Text(1), row.Text(2), !row.Null(3)
		})
	if err != nil {
		return err
	}
	if known {
		// That it was asked for may be told only after its end, by an atom that was killed between.
		if r.ID = was.ID; was.Ended() && (asked || r.RequestID == "" || !r.Ended()) {
			return nil
		}
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

// relate holds what an atom says of a request and of an original against what
// is known of that atom: it speaks for itself only.
func relate(tx *sqlitedb.Tx, r *cloud.ExecutionRecord) error {
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

// writeResult keeps what an atom told last of a deployment. Atoms report in
// order, so it is what came last: a clock that was put right goes backwards.
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
func (s *Store) Records(ctx context.Context, account string, f cloud.RecordFilter, after cloud.Place, limit int) ([]*cloud.ExecutionRecord, cloud.Place, error) {
	query, args := choose(account, f, after)
	var all []*cloud.ExecutionRecord
	var last, next cloud.Place
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows(query+" LIMIT ?", append(args, limit+1), func(row sqlitedb.Row) (bool, error) {
			if len(all) == limit {
				next = last
				return false, nil
			}
			r := &cloud.ExecutionRecord{}
			if err := json.Unmarshal(row.Bytes(2), r); err != nil {
				return false, fmt.Errorf("read an execution record: %w", err)
			}
			last = cloud.Place{Time: row.Int(0), Seq: row.Int(1)}
			all = append(all, r)
			return true, nil
		})
	})
	return all, next, err
}

// choose writes the query of a filter, newest first, but for its limit.
func choose(account string, f cloud.RecordFilter, after cloud.Place) (string, []any) {
	where, args := []string{"account = ?"}, []any{account}
	order := " ORDER BY time DESC, seq DESC"
	if f.ID != "" || f.RequestID != "" {
		// A record or none: the plus signs keep the index of the account, which is
		// in the right order already, from being read to its end for it.
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
		where = append(where, "status <> 'COMPLETE'") // so that the index of these is used
	}
	if len(f.Environments) > 0 {
		var values []any
		for _, e := range f.Environments {
			values = append(values, e)
		}
		add("environment IN (?"+strings.Repeat(", ?", len(values)-1)+")", values...)
	}
	if after != (cloud.Place{}) {
		add("(time, seq) < (?, ?)", after.Time, after.Seq)
	}
	return "SELECT time, seq, body FROM record WHERE " + strings.Join(where, " AND ") + order, args
}

// Results implements cloud.History.
func (s *Store) Results(ctx context.Context, deployment string) ([]cloud.DeploymentResult, error) {
	var all []cloud.DeploymentResult
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
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

// Seen implements cloud.History.
func (s *Store) Seen(ctx context.Context, at map[string]time.Time) error {
	return s.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for atom, t := range at {
			if _, err := tx.Exec("INSERT INTO seen VALUES(?, ?) ON CONFLICT DO UPDATE SET at = excluded.at", atom, t.UnixNano()); err != nil {
				return err
			}
		}
		return nil
	}))
}
