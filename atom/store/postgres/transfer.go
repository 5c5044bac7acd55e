package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"valence/atom/store"
	"valence/atom/store/transfer"
	"valence/internal/pgdb"
)

// ErrRunning is returned if members of the group are running.
var ErrRunning = errors.New("the group is running")

// archive is a group that no member runs. It is read or written as a whole.
type archive struct {
	server *pgdb.Server
	conn   *pgdb.Conn // holds the lock of migrations
	more   *pgdb.Conn // for the journals, while conn reads the executions
	name   string
	group  group
}

// migrationLock is the advisory lock of a migration, besides lockClass.
const migrationLock = 0

// Describe describes a group for people. It does not connect.
func Describe(o Options) (string, error) {
	server, err := pgdb.Parse(o.URL, pgdb.Session{})
	if err != nil {
		return "", err
	}
	return describe(server, &o), nil
}

func describe(server *pgdb.Server, o *Options) string {
	return fmt.Sprintf("the group %s in the database %s", o.Group, server.Place())
}

// openArchive connects. Statements may take as long as they need.
func openArchive(ctx context.Context, o *Options) (*archive, error) {
	server, err := pgdb.Parse(o.URL, pgdb.Session{Name: "valence migrate " + o.Group, Lock: time.Minute})
	if err != nil {
		return nil, err
	}
	a := &archive{server: server, name: describe(server, o)}
	if a.conn, err = server.Connect(ctx); err != nil {
		return nil, server.Explain(err)
	}
	if a.more, err = server.Connect(ctx); err != nil {
		return nil, errors.Join(server.Explain(err), a.Close())
	}
	if err := a.lock(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// lock waits for a while: the server may not have noticed yet that an earlier
// migration was killed.
func (a *archive) lock(ctx context.Context) error {
	for start := time.Now(); ; {
		locked := false
		if err := a.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", lockClass, migrationLock).Scan(&locked); err != nil || locked {
			return a.explain(err)
		}
		if time.Since(start) > lockTime {
			return &pgdb.Error{Text: "another migration uses the database " + a.server.Database(), Hint: "wait until it has ended"}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// explain returns an error of the database with a hint.
func (a *archive) explain(err error) error {
	if err == nil || errors.Is(err, ErrRunning) {
		return err
	}
	return a.server.Explain(err)
}

// Name describes the group for people.
func (a *archive) Name() string { return a.name }

// Close closes the connections.
func (a *archive) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), lockTime)
	defer cancel()
	err := a.conn.Close(ctx)
	if a.more != nil {
		err = errors.Join(err, a.more.Close(ctx))
	}
	return err
}

// checkComplete returns an error if a migration into the database has not ended.
func checkComplete(ctx context.Context, tx pgdb.Tx) error {
	source := ""
	err := tx.QueryRow(ctx, "SELECT source FROM atom_migration WHERE NOT done").Scan(&source)
	if errors.Is(err, pgdb.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return &pgdb.Error{Text: "the migration of " + source + " into this database has not ended", Hint: "run the same valence migrate again; it continues"}
}

// checkMoved returns an error if the group was moved elsewhere.
func checkMoved(ctx context.Context, tx pgdb.Tx) error {
	target := ""
	err := tx.QueryRow(ctx, "SELECT target FROM atom_moved").Scan(&target)
	if errors.Is(err, pgdb.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return &pgdb.Error{Text: "this group was moved to " + target,
		Hint: "start the atom there; or, to continue here without anything that happened there since: psql -c 'DELETE FROM atom_moved'"}
}

// checkStopped returns ErrRunning if a member has a lease.
func checkStopped(ctx context.Context, on interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgdb.Row
}) error {
	members := 0
	if err := on.QueryRow(ctx, "SELECT count(*) FROM atom_member WHERE until >= clock_timestamp()").Scan(&members); err != nil {
		return err
	}
	if members > 0 {
		return ErrRunning
	}
	return nil
}

// Source is a group that is copied elsewhere.
type Source struct {
	*archive
	origin transfer.Origin
}

// OpenSource opens a group to copy it. It changes nothing. check may refuse the
// connection.
func OpenSource(ctx context.Context, o Options, check func(*pgdb.Conn) error) (*Source, error) {
	a, err := openArchive(ctx, &o)
	if err != nil {
		return nil, err
	}
	if err := check(a.conn); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	s := &Source{archive: a}
	if err := s.check(ctx, o.Group); err != nil {
		return nil, errors.Join(a.explain(err), a.Close())
	}
	if err := s.checkFiles(ctx); err != nil {
		return nil, errors.Join(a.explain(err), a.Close())
	}
	return s, nil
}

// checkFiles checks that no execution refers to a stored file; see blob.Store.
func (s *Source) checkFiles(ctx context.Context) error {
	n := 0
	if err := s.conn.QueryRow(ctx, "SELECT count(DISTINCT name) FROM atom_file_use").Scan(&n); err != nil || n == 0 {
		return err
	}
	return &pgdb.Error{Text: fmt.Sprintf("executions refer to %d stored files, which a migration does not copy", n), Hint: "wait until these executions have ended and their documents are deleted, see retention"}
}

// check checks that the database holds the group, and that it is stopped.
func (s *Source) check(ctx context.Context, name string) error {
	database := s.server.Database()
	exists := false
	if err := s.conn.QueryRow(ctx, "SELECT to_regclass('atom_schema') IS NOT NULL").Scan(&exists); err != nil {
		return err
	}
	if !exists {
		return &pgdb.Error{Text: "the database " + database + " holds no group", Hint: "--from with the address of another database, or a data folder"}
	}
	version, known := 0, len(schema.Migrations)
	if err := s.conn.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM atom_schema").Scan(&version); err != nil {
		return err
	}
	if version != known {
		return &pgdb.Error{Text: fmt.Sprintf("the database %s has schema version %d, and this program %d", database, version, known),
			Hint: "migrate with the version that the group runs"}
	}
	if err := pgdb.Begin(ctx, s.conn, func(tx pgdb.Tx) error { return checkComplete(ctx, tx) }); err != nil {
		return err
	}
	have := ""
	if err := s.conn.QueryRow(ctx, "SELECT name, id, key FROM atom_group").Scan(&have, &s.group.id, &s.group.key); err != nil {
		return err
	}
	if have != name {
		return &pgdb.Error{Text: fmt.Sprintf("the database %s belongs to the group %s", database, have), Hint: "--group " + have}
	}
	if err := checkStopped(ctx, s.conn); err != nil {
		return err
	}
	cancelled := 0
	if err := s.conn.QueryRow(ctx, "SELECT count(*) FROM atom_execution WHERE cancelled AND state < 4").Scan(&cancelled); err != nil {
		return err
	}
	if cancelled > 0 { // their members have yet to end them
		return &pgdb.Error{Text: fmt.Sprintf("%d executions of the group are being cancelled", cancelled), Hint: "start a member until they have ended"}
	}
	return s.identify(ctx)
}

func (s *Source) identify(ctx context.Context) error {
	use, err := lastEpoch(ctx, s.conn)
	if err != nil {
		return err
	}
	next := int64(0)
	err = s.conn.QueryRow(ctx, "SELECT greatest((SELECT last_value FROM atom_block_id), (SELECT coalesce(max(seq), 0) >> 20 FROM atom_execution))").Scan(&next)
	s.origin = transfer.Origin{Name: s.name, Store: "group " + s.group.id, Use: use, Key: s.group.key, Next: (next + 1) << blockBits}
	return err
}

// lastEpoch identifies the last start of a member.
func lastEpoch(ctx context.Context, on interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgdb.Row
}) (use string, err error) {
	err = on.QueryRow(ctx, "SELECT last_value || CASE WHEN is_called THEN '' ELSE ' unused' END FROM atom_epoch").Scan(&use)
	return use, err
}

// Origin identifies the content of the group.
func (s *Source) Origin() transfer.Origin { return s.origin }

// MovedTo returns the target to which the group was moved; "" if it was not.
func (s *Source) MovedTo(ctx context.Context) (target string, err error) {
	err = s.conn.QueryRow(ctx, "SELECT coalesce((SELECT target FROM atom_moved), '')").Scan(&target)
	return target, err
}

// MarkMoved marks the group as moved, unless a member has started since
// OpenSource. No member starts on it from then on.
func (s *Source) MarkMoved(ctx context.Context, target string) error {
	err := pgdb.Begin(ctx, s.conn, func(tx pgdb.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE atom_member IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return err
		}
		use, err := lastEpoch(ctx, tx)
		if err != nil {
			return err
		}
		if use != s.origin.Use {
			return ErrRunning
		}
		_, err = tx.Exec(ctx, "INSERT INTO atom_moved(target, at) VALUES($1, clock_timestamp()) ON CONFLICT (one) DO UPDATE SET target = excluded.target", target)
		return err
	})
	return s.explain(err)
}

// rowQueries read the rows of each kind.
var rowQueries = map[transfer.Kind]string{
	transfer.Contents: "SELECT hash, body FROM atom_content",
	transfer.Lanes:    "SELECT scope, key, since, free FROM atom_lane",
	transfer.LaneItems: `SELECT i.scope, i.key, i.pos, i.seq, i.process, CASE WHEN x.waits THEN i.due END
		FROM atom_lane_item AS i LEFT JOIN atom_execution AS x ON x.seq = i.seq`,
	transfer.Dedupe:  `SELECT process, key, until, seq, received, holder, '\x01'::bytea || reply FROM atom_dedupe WHERE claim IS NULL`,
	transfer.Origins: "SELECT key, seq, received, until FROM atom_origin",
	transfer.Newest:  "SELECT process, key, seq FROM atom_newest",
	transfer.Waits: `SELECT seq, place, state::bigint, path, match, CASE WHEN state <> 4 THEN until END, CASE WHEN state = 4 THEN kind END,
		CASE WHEN state = 4 THEN at END, CASE WHEN state = 4 THEN body END FROM atom_wait`,
	transfer.Signals: "SELECT match, until, kind, at, body FROM atom_signal ORDER BY id",
	transfer.Holds:   "SELECT cause, seq FROM atom_hold",
	transfer.Replies: "SELECT seq, until, body FROM atom_reply",
	transfer.States:  "SELECT process, name, version FROM atom_state WHERE version > 0",
	transfer.Values:  "SELECT process, name, key, value FROM atom_value",
	transfer.Cursors: "SELECT source, position FROM atom_cursor WHERE position IS NOT NULL",
	transfer.Marks:   "SELECT hash, until FROM atom_mark",
	transfer.Writes:  "SELECT seq, path, system, record, until FROM atom_write",
}

// Rows implements transfer.Reader.
func (a *archive) Rows(ctx context.Context, kind transfer.Kind, each func([]any) error) error {
	rows, err := a.conn.Query(ctx, rowQueries[kind])
	if err != nil {
		return a.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err == nil {
			err = each(values)
		}
		if err != nil {
			return err
		}
	}
	return a.explain(rows.Err())
}

// Executions implements transfer.Reader. Executions that a dead member was
// running count a crash, as with a takeover.
func (a *archive) Executions(ctx context.Context, after int64, _ time.Time, each func(*transfer.Execution) error) error {
	ran := map[int64]bool{}
	rows, err := a.conn.Query(ctx, "SELECT DISTINCT unnest(seqs) FROM atom_running")
	if err != nil {
		return a.explain(err)
	}
	seqs, err := pgdb.Column[int64](rows)
	if err != nil {
		return a.explain(err)
	}
	for _, seq := range seqs {
		ran[seq] = true
	}
	j := &journals{}
	if j.rows, err = a.more.Query(ctx, "SELECT seq, path, kind, at, body FROM atom_journal WHERE seq > $1 ORDER BY seq, id", after); err != nil {
		return a.explain(err)
	}
	defer j.rows.Close()
	rows, err = a.conn.Query(ctx, "SELECT "+recordColumns+", expires, started, ended, fingerprint, error, trace, resolved, drop_documents, keep, documents, keep_until, kept, doc, data"+
		" FROM atom_execution WHERE seq > $1 ORDER BY seq", after)
	if err != nil {
		return a.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scanTransfer(rows)
		if err != nil {
			return err
		}
		if x.Journal, err = j.of(x.Seq); err != nil {
			return a.explain(err)
		}
		if ran[x.Seq] && x.Outcome == nil {
			x.Crashes++
		}
		if err := each(x); err != nil {
			return err
		}
	}
	return a.explain(rows.Err())
}

// journals reads the journals of executions in order of number.
type journals struct {
	rows  pgdb.Rows
	seq   int64 // of next
	next  store.Entry
	ready bool // next is set
}

// of returns the journal of an execution. Those of earlier ones are skipped.
func (j *journals) of(seq int64) (all []store.Entry, err error) {
	for {
		if !j.ready {
			if !j.rows.Next() {
				return all, j.rows.Err()
			}
			var at *int64
			j.next = store.Entry{}
			if err := j.rows.Scan(&j.seq, &j.next.Path, &j.next.Kind, &at, &j.next.Body); err != nil {
				return nil, err
			}
			j.next.At, j.ready = timeOf(at), true
		}
		if j.seq > seq {
			return all, nil
		}
		if j.seq == seq {
			all = append(all, j.next)
		}
		j.ready = false
	}
}

func scanTransfer(r pgdb.Rows) (*transfer.Execution, error) {
	var scan recordScan
	var o store.Outcome
	var expires, started, ended, keep, documents, until, kept *int64
	var fingerprint *string
	var drop *bool
	into := append(scan.into(), &expires, &started, &ended, &fingerprint, &o.Error, &o.Trace, &o.Resolved, &drop, &keep, &documents, &until, &kept, &scan.doc, &scan.data)
	if err := r.Scan(into...); err != nil {
		return nil, err
	}
	record, err := scan.record()
	if err != nil {
		return nil, fmt.Errorf("read execution %d: %w", scan.x.Seq, err)
	}
	x := &transfer.Execution{Record: *record}
	if scan.state < firstEnded {
		x.Expires = timeOf(expires)
		return x, nil
	}
	o.Status, o.Fingerprint, o.DropDocuments = store.Status(names[scan.state]), *fingerprint, *drop
	o.Started, o.Ended = momentOf(*started), momentOf(*ended)
	o.Keep, o.Documents = time.Duration(*keep), time.Duration(*documents)
	x.Outcome, x.Due = &o, time.Time{}
	switch {
	case x.Unresolved():
		if kept != nil {
			x.Kept = *kept
		}
	case until != nil:
		x.Since = timeOf(until).Add(-lifeOf(&o))
	}
	return x, nil
}

// lifeOf returns for how long an ended execution is kept.
func lifeOf(o *store.Outcome) time.Duration {
	if o.Keep > 0 {
		return o.Keep
	}
	return defaultRecords
}

// momentOf returns a time that may have been zero when it was stored.
func momentOf(ns int64) time.Time {
	if ns == (time.Time{}).UnixNano() {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
