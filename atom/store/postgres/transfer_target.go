package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"valence/atom/store/transfer"
	"valence/internal/pgdb"
)

// Target is a group to which a store is copied.
type Target struct {
	*archive
	progress transfer.Progress
}

// OpenTarget creates a group to which the origin is copied, or continues an
// interrupted copy. It writes nothing if the database holds something else.
// check may refuse the connection.
func OpenTarget(ctx context.Context, o Options, origin transfer.Origin, check func(*pgdb.Conn) error) (*Target, error) {
	a, err := openArchive(ctx, &o)
	if err != nil {
		return nil, err
	}
	if err := check(a.conn); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	t := &Target{archive: a}
	err = a.server.Migrate(ctx, a.conn, schema, func(tx pgdb.Tx) error { return t.begin(ctx, tx, o.Group, &origin) })
	if err != nil {
		return nil, errors.Join(a.explain(err), a.Close())
	}
	return t, nil
}

// Progress returns how far the copy has come.
func (t *Target) Progress() transfer.Progress { return t.progress }

func (t *Target) begin(ctx context.Context, tx pgdb.Tx, name string, origin *transfer.Origin) error {
	database, have := t.server.Database(), ""
	err := tx.QueryRow(ctx, "SELECT name FROM atom_group").Scan(&have)
	if err != nil && !errors.Is(err, pgdb.ErrNoRows) {
		return err
	}
	if have != "" && have != name {
		return &pgdb.Error{Text: fmt.Sprintf("the database %s belongs to the group %s", database, have), Hint: fmt.Sprintf("create a database for the group %s", name)}
	}
	if err := checkStopped(ctx, tx); err != nil {
		return err
	}
	var source, from, use string
	var at int64
	err = tx.QueryRow(ctx, "SELECT source, store, use, at, kinds, after, done FROM atom_migration").Scan(&source, &from, &use, &at, &t.progress.Kinds, &t.progress.After, &t.progress.Done)
	switch {
	case errors.Is(err, pgdb.ErrNoRows):
		return t.start(ctx, tx, name, origin)
	case err != nil:
		return err
	case from != origin.Store:
		return &pgdb.Error{Text: fmt.Sprintf("the database %s holds the migration of %s", database, source), Hint: "create another database"}
	case t.progress.Done && use != origin.Use:
		return &pgdb.Error{Text: fmt.Sprintf("%s was used after it was migrated to the database %s", origin.Name, database),
			Hint: "create another database; what happened in both since cannot be merged"}
	case !t.progress.Done && use != origin.Use: // the source has changed since: begin again
		t.progress = transfer.Progress{}
		if err := truncate(ctx, tx); err != nil {
			return err
		}
		return t.start(ctx, tx, name, origin)
	}
	t.progress.At = time.Unix(0, at).UTC()
	return nil
}

// start creates the group with the key of the origin.
func (t *Target) start(ctx context.Context, tx pgdb.Tx, name string, origin *transfer.Origin) error {
	used, err := holdsData(ctx, tx)
	if err != nil {
		return err
	}
	if used != "" {
		return &pgdb.Error{Text: fmt.Sprintf("the group %s in the database %s is not empty: it has %s", name, t.server.Database(), used), Hint: "create a database for the group"}
	}
	id := make([]byte, 8)
	rand.Read(id) // never fails: crypto/rand
	t.progress.At = time.Now().UTC()
	b := &pgdb.Batch{}
	b.Queue("INSERT INTO atom_group(name, id, key) VALUES($1, $2, $3) ON CONFLICT (one) DO UPDATE SET key = excluded.key", name, hex.EncodeToString(id), origin.Key)
	b.Queue("INSERT INTO atom_migration(source, store, use, at, next) VALUES($1, $2, $3, $4, $5)", origin.Name, origin.Store, origin.Use, t.progress.At.UnixNano(), origin.Next)
	return tx.SendBatch(ctx, b).Close()
}

// dataTables are the tables that a migration copies.
var dataTables = []string{"atom_execution", "atom_journal", "atom_lane", "atom_lane_item", "atom_dedupe", "atom_origin", "atom_newest", "atom_wait", "atom_signal",
	"atom_hold", "atom_reply", "atom_state", "atom_value", "atom_cursor", "atom_content", "atom_mark", "atom_write"}

// holdsData returns the name of a table that is not empty, or "".
func holdsData(ctx context.Context, tx pgdb.Tx) (string, error) {
	for _, table := range append(slices.Clone(dataTables), "atom_moved") {
		used := false
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+table+")").Scan(&used); err != nil {
			return "", err
		}
		if used {
			return "rows in " + table, nil
		}
	}
	return "", nil
}

// truncate empties the group.
func truncate(ctx context.Context, tx pgdb.Tx) error {
	for _, table := range append(slices.Clone(dataTables), "atom_migration", "atom_member", "atom_running", "atom_block") {
		if _, err := tx.Exec(ctx, "TRUNCATE "+table); err != nil {
			return err
		}
	}
	return nil
}

// Reader returns the copy for its verification.
func (t *Target) Reader(context.Context) (transfer.Reader, error) { return t.archive, nil }

// Restart makes the next migration begin again.
func (t *Target) Restart(ctx context.Context) error {
	return t.explain(pgdb.Begin(ctx, t.conn, func(tx pgdb.Tx) error { return truncate(ctx, tx) }))
}

// Finish ends the migration: members may start.
func (t *Target) Finish(ctx context.Context) error {
	_, err := t.conn.Exec(ctx, "UPDATE atom_migration SET done = true")
	return t.explain(err)
}

// rowTable is the table of a kind.
type rowTable struct {
	name    string
	columns []string
	convert func(values []any) []any // may be nil
}

var rowTables = map[transfer.Kind]rowTable{
	transfer.Contents: {"atom_content", []string{"hash", "body"}, present(1)},
	transfer.Lanes: {"atom_lane", []string{"scope", "key", "since", "free", "tail"}, func(values []any) []any {
		return append(values, values[3]) // see completions
	}},
	transfer.LaneItems: {"atom_lane_item", []string{"scope", "key", "pos", "seq", "process", "due"}, nil},
	transfer.Dedupe: {"atom_dedupe", []string{"process", "key", "until", "seq", "received", "holder", "reply"}, func(values []any) []any {
		if b, ok := values[6].([]byte); ok && len(b) > 0 {
			values[6] = b[1:]
		}
		return values
	}},
	transfer.Origins: {"atom_origin", []string{"key", "seq", "received", "until"}, nil},
	transfer.Newest:  {"atom_newest", []string{"process", "key", "seq"}, nil},
	transfer.Waits:   {"atom_wait", []string{"seq", "place", "state", "path", "match", "until", "kind", "at", "body"}, nil},
	transfer.Signals: {"atom_signal", []string{"match", "until", "kind", "at", "body"}, nil},
	transfer.Holds:   {"atom_hold", []string{"cause", "seq"}, nil},
	transfer.Replies: {"atom_reply", []string{"seq", "until", "body"}, present(2)},
	transfer.States:  {"atom_state", []string{"process", "name", "version"}, nil},
	transfer.Values:  {"atom_value", []string{"process", "name", "key", "value"}, present(3)},
	transfer.Cursors: {"atom_cursor", []string{"source", "position"}, nil},
	transfer.Marks:   {"atom_mark", []string{"hash", "until"}, nil},
	transfer.Writes:  {"atom_write", []string{"seq", "path", "system", "record", "until"}, nil},
}

// present returns a conversion for a column that is never null.
func present(column int) func([]any) []any {
	return func(values []any) []any {
		if values[column] == nil {
			values[column] = []byte{}
		}
		return values
	}
}

// rowsPerCopy is the number of rows in one statement.
const rowsPerCopy = 2000

// WriteRows implements transfer.Writer.
func (t *Target) WriteRows(ctx context.Context, kind transfer.Kind, write func(func([]any) error) error) error {
	table := rowTables[kind]
	var failed error // of the source
	err := pgdb.Begin(ctx, t.conn, func(tx pgdb.Tx) error {
		var rows [][]any
		flush := func() error {
			err := pgdb.Copy(ctx, tx, table.name, table.columns, rows)
			rows = rows[:0]
			return err
		}
		var written error
		failed = write(func(values []any) error {
			own := slices.Clone(values)
			for i, v := range own {
				if s, ok := v.(string); ok {
					own[i] = pgdb.Sanitize(s)
				}
			}
			if table.convert != nil {
				own = table.convert(own)
			}
			if rows = append(rows, own); len(rows) == rowsPerCopy {
				written = flush()
			}
			return written
		})
		if written != nil || failed != nil {
			return errors.Join(written, failed)
		}
		if err := flush(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE atom_migration SET kinds = kinds + 1")
		return err
	})
	if failed != nil {
		return failed
	}
	return t.explain(err)
}

var executionColumns = []string{"seq", "process", "plan", "env", "received", "state", "due", "reason", "attempt", "crashes", "suspended", "expires", "origin", "meta", "track", "tags",
	"doc_type", "lane_scope", "lane_key", "lane_pos", "lane_block", "doc", "data", "started", "ended", "fingerprint", "error", "trace", "resolved", "drop_documents", "keep",
	"documents", "keep_until", "documents_until", "kept"}

// executionRow returns the columns of an execution.
func executionRow(x *transfer.Execution) []any {
	m := &x.Message
	row := []any{m.Seq, pgdb.Sanitize(m.Process), m.Plan, m.Env, m.Received.UnixNano(), codes[string(x.State)], nanos(x.Due), pgdb.Sanitize(x.Reason), x.Attempt, x.Crashes, x.Attempt > 0,
		nanos(m.Expires), text(m.Origin), m.Meta, appendTrack(m.Track), tags(m.Track), pgdb.Sanitize(m.DocType), nil, nil, nil, nil, m.Doc, m.Data}
	if l := m.Lane; l != nil {
		copy(row[17:], []any{pgdb.Sanitize(l.Scope), []byte(l.Key), l.Pos, l.Block})
	}
	o := x.Outcome
	if o == nil {
		return append(row, make([]any, len(executionColumns)-len(row))...)
	}
	row[5] = codes[string(o.Status)]
	keep, documents := retention(o, x.Unresolved(), x.Since, defaultRecords)
	return append(row, o.Started.UnixNano(), o.Ended.UnixNano(), pgdb.Sanitize(o.Fingerprint), o.Error, o.Trace, o.Resolved, o.DropDocuments, int64(o.Keep), int64(o.Documents),
		keep, documents, orNil(x.Kept))
}

// WriteExecutions implements transfer.Writer.
func (t *Target) WriteExecutions(ctx context.Context, all []*transfer.Execution) error {
	var rows, entries [][]any
	for _, x := range all {
		rows = append(rows, executionRow(x))
		for i := range x.Journal {
			e := &x.Journal[i]
			entries = append(entries, []any{x.Seq, pgdb.Sanitize(e.Path), pgdb.Sanitize(e.Kind), nanos(e.At), e.Body})
		}
	}
	err := pgdb.Begin(ctx, t.conn, func(tx pgdb.Tx) error {
		if err := pgdb.Copy(ctx, tx, "atom_execution", executionColumns, rows); err != nil {
			return err
		}
		if err := pgdb.Copy(ctx, tx, "atom_journal", []string{"seq", "path", "kind", "at", "body"}, entries); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE atom_migration SET after = $1", all[len(all)-1].Seq)
		return err
	})
	return t.explain(err)
}

// completions derive columns and tables that members need. The executions belong to a member
// that has ended, so that the first one that starts adopts them.
var completions = []string{
	"UPDATE atom_lane AS l SET tail = greatest(free, (SELECT coalesce(max(pos), 0) FROM atom_lane_item AS i WHERE i.scope = l.scope AND i.key = l.key))",
	`UPDATE atom_execution AS x SET waits = true FROM atom_lane_item AS i
		WHERE x.seq = i.seq AND x.state < 4 AND i.pos > (SELECT min(pos) FROM atom_lane_item AS h WHERE h.scope = i.scope AND h.key = i.key)`,
	"DELETE FROM atom_member", "DELETE FROM atom_running", "DELETE FROM atom_block",
	`WITH ended AS (INSERT INTO atom_member(epoch, name, version, joined, until, adopts)
			VALUES(nextval('atom_epoch'), 'migration', '', clock_timestamp(), '-infinity', false) RETURNING epoch),
		blocks AS (INSERT INTO atom_block(id, holder) SELECT b.id, e.epoch FROM (SELECT DISTINCT seq >> 20 AS id FROM atom_execution WHERE state < 4) AS b, ended AS e)
		INSERT INTO atom_running(epoch, seqs) SELECT epoch, '{}' FROM ended`,
	"SELECT setval('atom_block_id', greatest((SELECT (next - 1) >> 20 FROM atom_migration), 1))",
}

// Complete implements transfer.Writer.
func (t *Target) Complete(ctx context.Context) error {
	err := pgdb.Begin(ctx, t.conn, func(tx pgdb.Tx) error {
		for _, sql := range completions {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
	for _, table := range dataTables {
		if err == nil {
			_, err = t.conn.Exec(ctx, "ANALYZE "+table)
		}
	}
	return t.explain(err)
}
