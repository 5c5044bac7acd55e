package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite/history"
	"valence/atom/store/transfer"
	"valence/internal/atomicfile"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Target is a folder to which a store is copied. Its methods are called one at a
// time.
type Target struct {
	dir      string
	o        Options
	s        *Store // nil: closed
	reader   *Source
	origin   transfer.Origin
	progress transfer.Progress
}

var _ transfer.Writer = (*Target)(nil)

// Settings of an unfinished migration.
const (
	settingKinds = "migration kinds"
	settingAfter = "migration after"
)

// OpenTarget creates a folder to which the origin is copied, or continues an
// interrupted copy. It writes nothing if the folder holds something else.
func OpenTarget(dir string, o Options, origin transfer.Origin) (*Target, error) {
	o.importing = true
	t := &Target{dir: dir, o: o, origin: origin}
	m, done, err := datafolder.ReadImport(dir)
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		if err := checkEmpty(dir); err != nil {
			return nil, err
		}
		m = &datafolder.Import{From: origin.Name, Store: origin.Store, Use: origin.Use, At: time.Now().UTC()}
		if err := errors.Join(datafolder.Create(dir), m.Write(dir)); err != nil {
			return nil, err
		}
	case m.Store != origin.Store:
		return nil, clierror.Failed("--to with another folder", "the folder %s holds the migration of %s", dir, m.From)
	case done && m.Use != origin.Use:
		return nil, clierror.Failed("--to with another folder; what happened in both since cannot be merged", "%s was used after it was migrated to %s", origin.Name, dir)
	case done:
		t.progress = transfer.Progress{At: m.At, Done: true}
		return t, nil
	case m.Use != origin.Use: // the source has changed since: begin again
		lock, err := sqlitedb.LockDir(dir)
		if err != nil {
			return nil, err
		}
		m = &datafolder.Import{From: origin.Name, Store: origin.Store, Use: origin.Use, At: time.Now().UTC()}
		if err := errors.Join(datafolder.ClearImport(dir), m.Write(dir), lock.Release()); err != nil {
			return nil, err
		}
	}
	t.progress.At = m.At
	return t, t.open()
}

func checkEmpty(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && len(list) > 0 {
		err = clierror.Failed("--to with a folder that does not exist", "the folder %s is not empty: it has %s", dir, list[0].Name())
	}
	return err
}

// open opens the store, and reads the progress.
func (t *Target) open() (err error) {
	if info, err := os.Stat(filepath.Join(t.dir, databaseFile)); err != nil || info.Size() == 0 { // killed before it was written
		if err := datafolder.ClearImport(t.dir); err != nil {
			return err
		}
	}
	key := filepath.Join(t.dir, t.o.KeyFile)
	if _, missing := os.Stat(key); missing != nil {
		if err := atomicfile.Write(key, t.origin.Key, 0o600); err != nil {
			return err
		}
	}
	if t.s, err = Open(t.dir, t.o); err != nil {
		return err
	}
	err = t.s.db.Setup(func(tx *sqlitedb.Tx) error {
		kinds, err := setting(tx, settingKinds)
		if err != nil {
			return err
		}
		t.progress.Kinds = int(kinds)
		if t.progress.After, err = setting(tx, settingAfter); err != nil {
			return err
		}
		return setSetting(tx, settingClean, 1) // nothing runs in it
	})
	if err != nil {
		return errors.Join(err, t.Close())
	}
	return nil
}

// Name describes the folder for people.
func (t *Target) Name() string { return "the data folder " + t.dir }

// Progress returns how far the copy has come.
func (t *Target) Progress() transfer.Progress { return t.progress }

// Close closes the folder.
func (t *Target) Close() error {
	var err error
	if t.reader != nil {
		err = t.reader.Close()
		t.reader = nil
	}
	if t.s != nil {
		err = errors.Join(err, t.s.Close())
		t.s = nil
	}
	return err
}

// rowInserts write the rows of each kind whose columns need no conversion.
var rowInserts = map[transfer.Kind]string{
	transfer.Contents:  "INSERT INTO content(hash, body) VALUES(?,?)",
	transfer.Lanes:     "INSERT INTO lane(scope, key, head, pos, process, state, since, free) VALUES(?1, CAST(?2 AS TEXT), 0, 0, '', 0, ?3, ?4)", // see completions
	transfer.LaneItems: "INSERT INTO lane_item(scope, key, pos, seq, process, due) VALUES(?, CAST(? AS TEXT), ?, ?, ?, ?)",
	transfer.Dedupe:    "INSERT INTO dedupe(process, key, until, seq, received, holder, reply) VALUES(?,?,?,?,?,?,?)",
	transfer.Origins:   "INSERT INTO origin(key, seq, received, until) VALUES(?,?,?,?)",
	transfer.Newest:    `INSERT INTO "coalesce"(process, key, seq, until) VALUES(?,?,?,0)`, // see completions
	transfer.Holds:     "INSERT INTO held(what, seq) VALUES(?,?)",
	transfer.States:    "INSERT INTO remembered(process, name, version) VALUES(?1, substr(?2, 2), ?3)",
	transfer.Cursors:   "INSERT INTO cursor(source, value) VALUES(CAST(? AS TEXT),?)",
	transfer.Marks:     "INSERT INTO mark(key, until) VALUES(?,?)",
	transfer.Writes:    "INSERT INTO writing(seq, path, system, record, until) VALUES(?,?,?,?,?)",
	transfer.Waits:     "INSERT INTO wait(seq, place, state, path, match, until, body) VALUES(?,?,?,?,?,?,?)",
	transfer.Signals:   "INSERT INTO kept(match, until, body) VALUES(?,?,?)",
}

// WriteRows implements transfer.Writer.
func (t *Target) WriteRows(_ context.Context, kind transfer.Kind, write func(func([]any) error) error) error {
	var pinned pins
	defer func() { pinned.release() }()
	err := t.s.db.Setup(func(tx *sqlitedb.Tx) error {
		err := write(func(values []any) error {
			switch kind {
			case transfer.Values:
				return insertValue(tx, values)
			case transfer.Replies:
				p, err := t.insertReply(tx, values)
				pinned = append(pinned, p...)
				return err
			case transfer.Waits:
				values = t.storedWait(values)
			case transfer.Signals:
				values = append(values[:2:2], earlyBody(values[2:]))
			case transfer.Contents, transfer.Cursors:
				values[1] = notNull(values[1])
			}
			_, err := tx.Exec(rowInserts[kind], values...)
			return err
		})
		if err != nil {
			return err
		}
		t.progress.Kinds++
		return setSetting(tx, settingKinds, int64(t.progress.Kinds))
	})
	return errors.Join(err, t.s.db.Fold())
}

// notNull returns an empty blob for a column that is never null.
func notNull(v any) any {
	if v == nil {
		return []byte{}
	}
	return v
}

func insertValue(tx *sqlitedb.Tx, values []any) (err error) {
	name, _ := values[1].(string)
	if name == "" {
		_, err = tx.Exec("INSERT INTO property(process, name, value) VALUES(?, CAST(? AS TEXT), ?)", values[0], values[2], notNull(values[3]))
		return err
	}
	_, err = tx.Exec("INSERT INTO print(process, name, key, hash) VALUES(?, ?, CAST(? AS TEXT), ?)", values[0], name[1:], values[2], notNull(values[3]))
	return err
}

func (t *Target) insertReply(tx *sqlitedb.Tx, values []any) (pins, error) {
	seq, _ := values[0].(int64)
	body, _ := values[2].([]byte)
	reply := &storedReply{DeferredReply: &store.DeferredReply{Body: body}}
	if body == nil {
		reply.Body = []byte{}
	}
	if until, ok := values[1].(int64); ok {
		reply.Until = time.Unix(0, until)
	}
	pinned, err := t.s.blobs.spill(body, &reply.bodyFile)
	if err == nil {
		err = storeReply(tx, seq, reply)
	}
	return pinned, err
}

// storedWait returns a wait as the database holds it.
func (t *Target) storedWait(values []any) []any {
	state, _ := values[2].(int64)
	out := append(values[:6:6], nil)
	for stored, name := range waitStates {
		if name == state {
			out[2] = stored
		}
	}
	if state == transfer.WaitEarly {
		out[5], out[6] = t.progress.At.Add(waitKnown).UnixNano(), earlyBody(values[6:])
	}
	return out
}

// earlyBody encodes the columns of a signal that has arrived early.
func earlyBody(values []any) []byte {
	e := store.Entry{}
	e.Kind, _ = values[0].(string)
	if at, ok := values[1].(int64); ok {
		e.At = time.Unix(0, at).UTC()
	}
	e.Body, _ = values[2].([]byte)
	return encodeEntry(e)
}

// WriteExecutions implements transfer.Writer. The history is on disk before the
// progress, and tolerates executions that are written again.
func (t *Target) WriteExecutions(_ context.Context, all []*transfer.Execution) error {
	enc := &recordEncoder{bareTrace: t.s.o.BareTrace}
	byDay := map[time.Time][]*history.Record{}
	var rows []*transfer.Execution
	for _, x := range all {
		if x.Outcome == nil || x.Unresolved() {
			rows = append(rows, x)
			continue
		}
		entries := make([]storedEntry, len(x.Journal))
		for i := range x.Journal {
			entries[i].Entry = x.Journal[i]
		}
		day := x.Since.UTC().Truncate(24 * time.Hour)
		byDay[day] = append(byDay[day], enc.encode(&storedMessage{Message: &x.Message}, entries, &storedOutcome{Outcome: *x.Outcome}, x.Attempt, x.Crashes)...)
	}
	for day, records := range byDay {
		if err := t.s.history.Append(records, day, true); err != nil {
			return err
		}
	}
	var pinned pins
	defer func() { pinned.release() }()
	err := t.s.db.Setup(func(tx *sqlitedb.Tx) error {
		for _, x := range rows {
			p, err := t.insertExecution(tx, x)
			if pinned = append(pinned, p...); err != nil {
				return fmt.Errorf("execution %d: %w", x.Seq, err)
			}
		}
		t.progress.After = all[len(all)-1].Seq
		return setSetting(tx, settingAfter, t.progress.After)
	})
	return errors.Join(err, t.s.db.Fold())
}

// insertExecution inserts the row of a live or unresolved execution.
func (t *Target) insertExecution(tx *sqlitedb.Tx, x *transfer.Execution) (pinned pins, err error) {
	var message pendingAccept
	pinned, err = t.s.blobs.spillMessage(&x.Message, &message)
	if err != nil {
		return pinned, err
	}
	var entries []storedEntry
	more, err := t.s.blobs.spillEntries(x.Journal, &entries)
	if pinned = append(pinned, more...); err != nil {
		return pinned, err
	}
	state, outcome, ended := statusCode(string(x.State)), []byte(nil), (*storedOutcome)(nil)
	if x.Outcome != nil {
		ended = &storedOutcome{Outcome: *x.Outcome}
		more, err := t.s.blobs.spill(ended.Trace, &ended.traceFile)
		if pinned = append(pinned, more...); err != nil {
			return pinned, err
		}
		state, outcome = statusCode(string(ended.Status)), appendCRC(appendOutcome(nil, ended, true), 0)
		if err := writeFailure(tx, x.Seq, x.Process, ended, int(x.Kept)); err != nil {
			return pinned, err
		}
	}
	if err := insertRow(tx, &message.storedMessage, state, x.Attempt, x.Crashes, outcome); err != nil {
		return pinned, err
	}
	if x.Reason != "" {
		if _, err := tx.Exec("UPDATE execution SET why = ? WHERE seq = ?", x.Reason, x.Seq); err != nil {
			return pinned, err
		}
	}
	if !x.Expires.IsZero() {
		if _, err := tx.Exec("INSERT INTO expiry(seq, process, until, received) VALUES(?,?,?,?)", x.Seq, x.Process, x.Expires.UnixNano(), x.Received.UnixNano()); err != nil {
			return pinned, err
		}
	}
	for rest := entries; len(rest) > 0; {
		n := min(len(rest), entriesPerRow)
		if err := writeEntries(tx, x.Seq, rest[:n]); err != nil {
			return pinned, err
		}
		rest = rest[n:]
	}
	return pinned, writeFiles(tx, x.Seq, &message.storedMessage, entries, ended)
}

// entriesPerRow is the number of entries in a row of a copied journal.
const entriesPerRow = 50

// completions make the first execution of each lane its head, and derive the end
// of coalescing keys.
var completions = []string{
	`UPDATE lane SET (head, pos, process) = (SELECT seq, pos, process FROM lane_item AS i WHERE i.scope = lane.scope AND i.key = lane.key ORDER BY pos LIMIT 1)
		WHERE head = 0`,
	"DELETE FROM lane_item WHERE EXISTS (SELECT 1 FROM lane AS l WHERE l.scope = lane_item.scope AND l.key = lane_item.key AND l.pos = lane_item.pos)",
	`UPDATE lane SET state = CASE WHEN since IS NOT NULL THEN 3
		WHEN EXISTS (SELECT 1 FROM execution AS x WHERE x.seq = lane.head AND x.state = 1 AND x.due IS NULL AND x.attempt = 0) THEN 1 ELSE 2 END`,
	`UPDATE "coalesce" SET until = coalesce((SELECT due FROM execution AS x WHERE x.seq = "coalesce".seq AND x.state < 4),
		(SELECT due FROM lane_item AS i WHERE i.seq = "coalesce".seq), 0)`,
}

// Complete implements transfer.Writer.
func (t *Target) Complete(context.Context) error {
	t.s.seqs.next.Store(max(t.origin.Next, t.s.seqs.next.Load()))
	return t.s.db.Setup(func(tx *sqlitedb.Tx) error {
		for _, sql := range completions {
			if _, err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// Reader closes the store, and returns the copy for its verification.
func (t *Target) Reader(ctx context.Context) (transfer.Reader, error) {
	err := t.Close()
	if err == nil {
		t.reader, err = openSource(ctx, t.dir, t.o.KeyFile)
	}
	return t.reader, err
}

// Restart makes the next migration begin again.
func (t *Target) Restart(context.Context) error {
	return datafolder.Import{From: t.origin.Name, Store: t.origin.Store, At: time.Now().UTC()}.Write(t.dir)
}

// Finish ends the migration: an atom may start on the folder.
func (t *Target) Finish(context.Context) error {
	if err := t.Close(); err != nil {
		return err
	}
	return datafolder.EndImport(t.dir)
}
