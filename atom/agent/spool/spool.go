// Package spool stores the agent's state and its unsent reports.
package spool

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

// Limits of the unsent reports. Unrequested ones are dropped first, oldest
// first.
const (
	maxWaiting      = 50_000
	maxWaitingBytes = 64 << 20
	MaxBatch        = 500
	maxBatchBytes   = 1 << 20
)

// The kinds of reports in the order of sending.
const (
	KindDeployment = iota
	KindRequested  // an execution started by a request
	KindOther      // any other execution
)

var migrations = []sqlitedb.Migration{{Name: "agent", SQL: `
CREATE TABLE state(name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE watch(request TEXT PRIMARY KEY, execution TEXT NOT NULL, process TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rejected(request TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE report(id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX report_kind ON report(kind, id);
`}, {Name: "requests that were taken", SQL: `
CREATE TABLE taken(request TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
`}}

// Spool stores the agent's state, the running execution requests and the unsent
// reports. It is safe for concurrent use.
type Spool struct {
	db    *sqlitedb.DB
	count atomic.Int64 // unsent reports
	size  atomic.Int64

	mu    sync.Mutex
	acked []string // handled requests that will not be received again
}

// Report is an encoded report.
type Report struct {
	ID   int64
	Kind int
	Body []byte
}

// Request is an execution request whose end must be reported.
type Request struct{ ID, Execution, Process string }

func Open(folder string, log *slog.Logger) (*Spool, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	db, err := sqlitedb.Open(filepath.Join(folder, "agent.db"), sqlitedb.Options{Migrations: migrations, Log: log, Readers: 2})
	if err != nil {
		return nil, err
	}
	s := &Spool{db: db}
	if err := db.Setup(func(tx *sqlitedb.Tx) error { return s.recount(tx) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// Run commits until ctx ends. The other methods block until it runs.
func (s *Spool) Run(ctx context.Context) error { return s.db.Run(ctx) }

// Close closes the file after Run has returned.
func (s *Spool) Close() error { return s.db.Close() }

// Err returns the error that prevents writing, or nil.
func (s *Spool) Err() error { return s.db.Err() }

// Waiting returns the number of reports to be sent.
func (s *Spool) Waiting() int64 { return s.count.Load() }

func (s *Spool) recount(tx *sqlitedb.Tx) error {
	_, err := tx.One("SELECT count(*), coalesce(sum(size), 0) FROM report", nil, func(r sqlitedb.Row) { s.count.Store(r.Int(0)); s.size.Store(r.Int(1)) })
	return err
}

// LoadState decodes a named part of the state into out and reports whether it
// exists.
func (s *Spool) LoadState(ctx context.Context, name string, out any) (found bool, err error) {
	var body []byte
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT body FROM state WHERE name = ?", []any{name}, func(r sqlitedb.Row) { body = r.Bytes(0) })
		return err
	})
	if err != nil || !found {
		return false, err
	}
	return true, json.Unmarshal(body, out)
}

const putState = "INSERT INTO state(name, body) VALUES(?,?) ON CONFLICT(name) DO UPDATE SET body = excluded.body"

// SaveState stores a named part of the state and reports that follow from it,
// atomically.
func (s *Spool) SaveState(ctx context.Context, name string, value any, reports ...Report) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(putState, name, body); err != nil {
			return err
		}
		return s.insert(tx, reports)
	}))
}

// SaveStateBeforeRun is SaveState for use before Run.
func (s *Spool) SaveStateBeforeRun(name string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.db.Setup(func(tx *sqlitedb.Tx) error { _, err := tx.Exec(putState, name, body); return err })
}

// insert adds reports. The counters may be too high after a repeated
// transaction, until the next start.
func (s *Spool) insert(tx *sqlitedb.Tx, reports []Report) error {
	for _, r := range reports {
		s.count.Add(1)
		s.size.Add(int64(len(r.Body)))
		if _, err := tx.Exec("INSERT INTO report(kind, size, body) VALUES(?,?,?)", r.Kind, len(r.Body), r.Body); err != nil {
			return err
		}
	}
	return nil
}

// AddReports stores reports and stops tracking the requests that they complete.
// It returns the number of older reports dropped to make room.
func (s *Spool) AddReports(ctx context.Context, reports []Report, done []string) (dropped int64, err error) {
	s.mu.Lock()
	told := s.acked
	s.acked = nil
	s.mu.Unlock()
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if err := s.insert(tx, reports); err != nil {
			return err
		}
		for _, request := range done {
			if _, err := tx.Exec("DELETE FROM watch WHERE request = ?", request); err != nil {
				return err
			}
		}
		for _, request := range told {
			if _, err := tx.Exec("DELETE FROM taken WHERE request = ?", request); err != nil {
				return err
			}
		}
		dropped, err = 0, nil
		if s.count.Load() > maxWaiting || s.size.Load() > maxWaitingBytes {
			dropped, err = s.dropOldest(tx)
		}
		return err
	}))
	return dropped, err
}

// dropOldest drops a tenth of all reports, the oldest unrequested ones.
func (s *Spool) dropOldest(tx *sqlitedb.Tx) (int64, error) {
	n, err := tx.Exec("DELETE FROM report WHERE id IN (SELECT id FROM report WHERE kind = ? ORDER BY id LIMIT ?)", KindOther, max(s.count.Load()/10, s.count.Load()-maxWaiting))
	if err != nil {
		return 0, err
	}
	return n, s.recount(tx)
}

// ForgetAcked forgets requests whose acknowledgement the control plane has
// received. They are deleted with the next reports.
func (s *Spool) ForgetAcked(requests []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = append(s.acked, requests...)
}

const insertTaken = "INSERT INTO taken(request, at) VALUES(?,?) ON CONFLICT(request) DO NOTHING"

// Watch stores that a request was accepted and that the end of its execution
// must be reported.
func (s *Spool) Watch(ctx context.Context, w Request) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(insertTaken, w.ID, time.Now().Unix()); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO watch(request, execution, process) VALUES(?,?,?) ON CONFLICT(request) DO NOTHING", w.ID, w.Execution, w.Process)
		return err
	}))
}

// Reject stores that a request is rejected for good, with its report.
func (s *Spool) Reject(ctx context.Context, request string, r Report) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		n, err := tx.Exec("INSERT INTO rejected(request, at) VALUES(?,?) ON CONFLICT(request) DO NOTHING", request, time.Now().Unix())
		if err != nil || n == 0 {
			return err
		}
		if _, err := tx.Exec(insertTaken, request, time.Now().Unix()); err != nil {
			return err
		}
		return s.insert(tx, []Report{r})
	}))
}

// IsHandled reports whether a request was accepted or rejected before.
func (s *Spool) IsHandled(ctx context.Context, request string) (found bool, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT 1 FROM taken WHERE request = ? UNION ALL SELECT 1 FROM rejected WHERE request = ?", []any{request, request}, func(sqlitedb.Row) {})
		return err
	})
	return found, err
}

// The retention of rejections equals that of origins. Accepted requests are
// kept longer than any control plane repeats a message.
const (
	rejectedRetention = 7 * 24 * time.Hour
	takenRetention    = 400 * 24 * time.Hour
)

func (s *Spool) DeleteExpired(ctx context.Context) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		now := time.Now()
		if _, err := tx.Exec("DELETE FROM rejected WHERE at < ?", now.Add(-rejectedRetention).Unix()); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM taken WHERE at < ? AND request NOT IN (SELECT request FROM watch)", now.Add(-takenRetention).Unix())
		return err
	}))
}

// Watched returns the requests whose end is not reported yet.
func (s *Spool) Watched(ctx context.Context) (all []Request, err error) {
	err = s.db.ReadLong(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT request, execution, process FROM watch", nil, func(r sqlitedb.Row) (bool, error) {
			all = append(all, Request{r.Text(0), r.Text(1), r.Text(2)})
			return true, nil
		})
	})
	return all, err
}

// NextBatch returns at most limit reports to be sent next.
func (s *Spool) NextBatch(ctx context.Context, limit int) (batch []Report, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		size := 0
		return tx.Rows("SELECT id, kind, body FROM report ORDER BY kind, id LIMIT ?", []any{limit}, func(r sqlitedb.Row) (bool, error) {
			if size += len(r.Bytes(2)); size > maxBatchBytes && len(batch) > 0 {
				return false, nil
			}
			batch = append(batch, Report{r.Int(0), int(r.Int(1)), r.Bytes(2)})
			return true, nil
		})
	})
	return batch, err
}

// RemoveSent deletes delivered reports.
func (s *Spool) RemoveSent(ctx context.Context, batch []Report) error {
	err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, r := range batch {
			if _, err := tx.Exec("DELETE FROM report WHERE id = ?", r.ID); err != nil {
				return err
			}
		}
		return nil
	}))
	if err == nil {
		for _, r := range batch {
			s.count.Add(-1)
			s.size.Add(-int64(len(r.Body)))
		}
	}
	return err
}

// Decode assembles the message for a batch. It also returns the reports that
// cannot be decoded.
func Decode(instance string, batch []Report) (all *wire.Reports, damaged []Report) {
	all = &wire.Reports{Instance: instance}
	for _, r := range batch {
		var err error
		if r.Kind == KindDeployment {
			var d wire.DeploymentReport
			err = json.Unmarshal(r.Body, &d)
			all.Deployments = append(all.Deployments, d)
		} else {
			var e wire.ExecutionReport
			err = json.Unmarshal(r.Body, &e)
			all.Executions = append(all.Executions, e)
		}
		if err != nil {
			damaged = append(damaged, r)
		}
	}
	return all, damaged
}

func NewReport(kind int, value any) Report {
	body, err := json.Marshal(value)
	if err != nil {
		body = []byte("{}") // only our own types: cannot happen
	}
	return Report{Kind: kind, Body: body}
}
