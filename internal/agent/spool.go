package agent

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

// The bounds of what waits to be reported. What nobody asked for is dropped
// first, the oldest of it.
const (
	maxWaiting      = 50_000
	maxWaitingBytes = 64 << 20
	batchReports    = 500
	batchBytes      = 1 << 20
)

// The kinds of what is reported, in the order of sending.
const (
	aDeployment = iota
	aRequest    // an execution that was asked for
	another     // any other execution
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

// spool is what the agent keeps on disk: its state, which executions it must
// report, and what waits to be sent.
type spool struct {
	db     *sqlitedb.DB
	number atomic.Int64 // reports that wait
	bytes  atomic.Int64

	mu   sync.Mutex
	told []string // requests that were taken and that do not come again
}

// report is one thing to be sent.
type report struct {
	id   int64
	kind int
	body []byte
}

// watched is an execution request whose end is to be reported.
type watched struct{ request, execution, process string }

func openSpool(folder string, log *slog.Logger) (*spool, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	db, err := sqlitedb.Open(filepath.Join(folder, "agent.db"), sqlitedb.Options{Migrations: migrations, Log: log, Readers: 2})
	if err != nil {
		return nil, err
	}
	s := &spool{db: db}
	if err := db.Setup(func(tx *sqlitedb.Tx) error { return s.count(tx) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *spool) count(tx *sqlitedb.Tx) error {
	_, err := tx.One("SELECT count(*), coalesce(sum(size), 0) FROM report", nil, func(r sqlitedb.Row) { s.number.Store(r.Int(0)); s.bytes.Store(r.Int(1)) })
	return err
}

// load reads one part of the state into out, and reports whether it is there.
func (s *spool) load(ctx context.Context, name string, out any) (found bool, err error) {
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

// save writes one part of the state, with reports that follow from it: both or
// neither.
func (s *spool) save(ctx context.Context, name string, value any, reports ...report) error {
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

// saveFirst is save before the spool runs.
func (s *spool) saveFirst(name string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.db.Setup(func(tx *sqlitedb.Tx) error { _, err := tx.Exec(putState, name, body); return err })
}

// insert adds reports. The counts are what is on disk or more: a transaction
// that is undone and made again counts twice, until the next start.
func (s *spool) insert(tx *sqlitedb.Tx, reports []report) error {
	for _, r := range reports {
		s.number.Add(1)
		s.bytes.Add(int64(len(r.body)))
		if _, err := tx.Exec("INSERT INTO report(kind, size, body) VALUES(?,?,?)", r.kind, len(r.body), r.body); err != nil {
			return err
		}
	}
	return nil
}

// add keeps reports, and takes the requests that they answer off the watch. It
// gives how many older ones had to be dropped for them.
func (s *spool) add(ctx context.Context, reports []report, done []string) (dropped int64, err error) {
	s.mu.Lock()
	told := s.told
	s.told = nil
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
		if s.number.Load() > maxWaiting || s.bytes.Load() > maxWaitingBytes {
			dropped, err = s.prune(tx)
		}
		return err
	}))
	return dropped, err
}

// prune drops the oldest reports that nobody asked for: a tenth of all, and
// not one by one.
func (s *spool) prune(tx *sqlitedb.Tx) (int64, error) {
	n, err := tx.Exec("DELETE FROM report WHERE id IN (SELECT id FROM report WHERE kind = ? ORDER BY id LIMIT ?)", another, max(s.number.Load()/10, s.number.Load()-maxWaiting))
	if err != nil {
		return 0, err
	}
	return n, s.count(tx)
}

// knows takes requests whose messages the control plane has seen acknowledged:
// they do not come again. They are forgotten with the next reports.
func (s *spool) knows(requests []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, requests...)
}

const putTaken = "INSERT INTO taken(request, at) VALUES(?,?) ON CONFLICT(request) DO NOTHING"

// watch keeps that a request was taken, and that its execution is to be
// reported when it ends.
func (s *spool) watch(ctx context.Context, w watched) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(putTaken, w.request, time.Now().Unix()); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO watch(request, execution, process) VALUES(?,?,?) ON CONFLICT(request) DO NOTHING", w.request, w.execution, w.process)
		return err
	}))
}

// reject keeps that a request is not run, now or when it comes again, with the
// report that says so.
func (s *spool) reject(ctx context.Context, request string, r report) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		n, err := tx.Exec("INSERT INTO rejected(request, at) VALUES(?,?) ON CONFLICT(request) DO NOTHING", request, time.Now().Unix())
		if err != nil || n == 0 {
			return err
		}
		if _, err := tx.Exec(putTaken, request, time.Now().Unix()); err != nil {
			return err
		}
		return s.insert(tx, []report{r})
	}))
}

// wasTaken reports whether a request was taken or rejected, and so is not to be
// run when it comes again.
func (s *spool) wasTaken(ctx context.Context, request string) (found bool, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		found, err = tx.One("SELECT 1 FROM taken WHERE request = ? UNION ALL SELECT 1 FROM rejected WHERE request = ?", []any{request, request}, func(sqlitedb.Row) {})
		return err
	})
	return found, err
}

// How long it is known that a request was rejected, as long as an origin is,
// and that one was taken whose acknowledgement may not have arrived: longer than
// any control plane keeps it.
const (
	rememberRejected = 7 * 24 * time.Hour
	rememberTaken    = 400 * 24 * time.Hour
)

func (s *spool) forget(ctx context.Context) error {
	return s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		now := time.Now()
		if _, err := tx.Exec("DELETE FROM rejected WHERE at < ?", now.Add(-rememberRejected).Unix()); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM taken WHERE at < ? AND request NOT IN (SELECT request FROM watch)", now.Add(-rememberTaken).Unix())
		return err
	}))
}

// watching gives every request whose end was not reported yet.
func (s *spool) watching(ctx context.Context) (all []watched, err error) {
	err = s.db.ReadLong(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT request, execution, process FROM watch", nil, func(r sqlitedb.Row) (bool, error) {
			all = append(all, watched{r.Text(0), r.Text(1), r.Text(2)})
			return true, nil
		})
	})
	return all, err
}

// batch gives what is to be sent next, at most limit.
func (s *spool) batch(ctx context.Context, limit int) (batch []report, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		size := 0
		return tx.Rows("SELECT id, kind, body FROM report ORDER BY kind, id LIMIT ?", []any{limit}, func(r sqlitedb.Row) (bool, error) {
			if size += len(r.Bytes(2)); size > batchBytes && len(batch) > 0 {
				return false, nil
			}
			batch = append(batch, report{r.Int(0), int(r.Int(1)), r.Bytes(2)})
			return true, nil
		})
	})
	return batch, err
}

// sent removes reports that the control plane has.
func (s *spool) sent(ctx context.Context, batch []report) error {
	err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, r := range batch {
			if _, err := tx.Exec("DELETE FROM report WHERE id = ?", r.id); err != nil {
				return err
			}
		}
		return nil
	}))
	if err == nil {
		for _, r := range batch {
			s.number.Add(-1)
			s.bytes.Add(-int64(len(r.body)))
		}
	}
	return err
}

// bodies puts a batch into the form that is sent, and gives those that cannot be read.
func bodies(instance string, batch []report) (all *wire.Reports, damaged []report) {
	all = &wire.Reports{Instance: instance}
	for _, r := range batch {
		var err error
		if r.kind == aDeployment {
			var d wire.DeploymentReport
			err = json.Unmarshal(r.body, &d)
			all.Deployments = append(all.Deployments, d)
		} else {
			var e wire.ExecutionReport
			err = json.Unmarshal(r.body, &e)
			all.Executions = append(all.Executions, e)
		}
		if err != nil {
			damaged = append(damaged, r)
		}
	}
	return all, damaged
}

func reportOf(kind int, value any) report {
	body, err := json.Marshal(value)
	if err != nil {
		body = []byte("{}") // of our own types: it cannot be
	}
	return report{kind: kind, body: body}
}
