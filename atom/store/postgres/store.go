// Package postgres is the store of a group of atoms: members that share one
// PostgreSQL database. Any member accepts; each runs executions that it has accepted or
// taken over from a member whose lease has ended.
package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
	"valence/internal/pgdb"
)

// Options configures a member of a group.
type Options struct {
	// URL is the address of the database, see pgdb.Parse.
	URL string
	// Group is the name of the group. A database holds one.
	Group string
	// Member and Version describe this member for people.
	Member, Version string
	// Records is the default retention of ended executions; 0 means 30 days.
	Records time.Duration
	// BareTrace returns the trace of an outcome without its documents; nil:
	// the trace is dropped with them.
	BareTrace func(trace []byte) []byte
	Log       *slog.Logger
	// Check inspects the connection before anything is written; nil accepts it.
	Check func(*pgdb.Conn) error
	// OnCommit observes each commit: its number of operations and its duration.
	OnCommit func(operations int, took time.Duration)
}

// defaultRecords is the default of Options.Records.
const defaultRecords = 30 * 24 * time.Hour

// Timeouts. A session that is silent in a transaction ends before its lease, so
// that a member that hangs does not delay a takeover.
const (
	leaseTime     = 10 * time.Second
	renewEvery    = 3 * time.Second
	leaseMargin   = time.Second // by which a member believes its lease to be shorter
	idleTime      = 8 * time.Second
	statementTime = 15 * time.Second
	lockTime      = 10 * time.Second
	readTime      = 2 * time.Second
	connections   = 8

	writeConnections = 4
)

// Store is one member's access to the database of its group. Its methods are
// safe for concurrent use.
type Store struct {
	o      Options
	log    *slog.Logger
	server *pgdb.Server
	pool   *pgdb.Pool // for reads
	writes *pgdb.Pool // for commits and the lease, so that reads do not delay them
	group  group
	numbers
	lease
	committer
	recorder
	announcer
	clock   clock
	running runningSet
	changed notices
	members
	files files
}

var (
	_ store.Store = (*Store)(nil)
	_ store.Group = (*Store)(nil)
)

// group is the group as the database knows it.
type group struct {
	id    string
	key   []byte
	token string // of the admin API
	// mayLose says that a failover can lose commits, because no standby is
	// synchronous.
	mayLose bool
}

// Open joins a group, which it creates if the database has none. An error that
// people can mend is a *pgdb.Error; then nothing was written.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Records == 0 {
		o.Records = defaultRecords
	}
	if o.BareTrace == nil {
		o.BareTrace = func([]byte) []byte { return nil }
	}
	server, err := pgdb.Parse(o.URL, pgdb.Session{Name: "valence " + o.Group, Connections: connections, Statement: statementTime, Lock: lockTime, Idle: idleTime})
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, log: o.Log, server: server, clock: newClock()}
	s.announcer.more = sync.NewCond(&s.announcer.mu)
	s.committer.requests, s.committer.closed = make(chan *request, 4*batchLimit), make(chan struct{})
	s.recorder.queue = make(chan recordOp, maxRecords)
	s.running.kick, s.changed.kick, s.changed.left = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	s.numbers.fresh, s.members = map[int64]bool{}, newMembers()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.migrate(ctx); err != nil {
		return nil, server.Explain(err)
	}
	if s.pool, err = server.Pool(ctx, 0); err != nil {
		return nil, server.Explain(err)
	}
	if s.writes, err = server.Pool(ctx, writeConnections); err != nil {
		s.pool.Close()
		return nil, server.Explain(err)
	}
	if err := s.register(ctx); err != nil {
		s.Close()
		return nil, server.Explain(err)
	}
	return s, nil
}

// migrate upgrades the schema and identifies the group.
func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.server.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if s.o.Check != nil {
		if err := s.o.Check(conn); err != nil {
			return err
		}
	}
	if err := s.readSettings(ctx, conn); err != nil {
		return err
	}
	return s.server.Migrate(ctx, conn, schema, func(tx pgdb.Tx) error {
		id, key := make([]byte, 8), make([]byte, 32)
		rand.Read(id) // never fails: crypto/rand
		rand.Read(key)
		_, err := tx.Exec(ctx, "INSERT INTO atom_group(name, id, key) VALUES($1, $2, $3) ON CONFLICT DO NOTHING", s.o.Group, hex.EncodeToString(id), key)
		if err != nil {
			return err
		}
		name := ""
		if err := tx.QueryRow(ctx, "SELECT name, id, key FROM atom_group").Scan(&name, &s.group.id, &s.group.key); err != nil {
			return err
		}
		if name != s.o.Group {
			return &pgdb.Error{Text: fmt.Sprintf("the database %s belongs to the group %s", s.server.Database(), name),
				Hint: fmt.Sprintf("--group %s, or create a database for the group %s", name, s.o.Group)}
		}
		if err := checkComplete(ctx, tx); err != nil {
			return err
		}
		if err := checkMoved(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "UPDATE atom_group SET token = coalesce(token, $1) RETURNING token", rand.Text()+rand.Text()).Scan(&s.group.token)
	})
}

// readSettings reads the settings of the server that decide when a commit is safe. It rejects
// a server that acknowledges commits before they are on disk.
func (s *Store) readSettings(ctx context.Context, conn *pgdb.Conn) error {
	var commit, standbys, unlimited string
	err := conn.QueryRow(ctx, `SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), (SELECT coalesce(string_agg(name, ', ' ORDER BY name), '')
		FROM pg_settings WHERE name IN ('idle_in_transaction_session_timeout', 'lock_timeout', 'statement_timeout') AND setting = '0')`).Scan(&commit, &standbys, &unlimited)
	if err != nil {
		return err
	}
	if unlimited != "" { // a pooler drops the settings of connections
		s.log.Warn("the database user has no limits, so a member that hangs can block others for longer; set them with ALTER ROLE", "database", s.server.String(), "missing", unlimited)
	}
	if commit == "off" {
		return &pgdb.Error{Text: fmt.Sprintf("the database %s acknowledges commits before they are on disk: synchronous_commit is off", s.server.Database()),
			Hint: "ALTER ROLE … SET synchronous_commit = on, for the database user"}
	}
	s.group.mayLose = standbys == ""
	return nil
}

// MayLose reports whether a failover to a standby can lose acknowledged messages,
// because no standby confirms commits.
func (s *Store) MayLose() bool { return s.group.mayLose }

// Token returns the token of the group's admin API, which the first member creates.
func (s *Store) Token() string { return s.group.token }

// Dropped returns the number of executions that ran in memory and could not be
// recorded.
func (s *Store) Dropped() int64 { return s.recorder.dropped.Load() }

// String describes the database for people.
func (s *Store) String() string { return s.server.String() }

// Key returns the key that signs the ids of the group's executions.
func (s *Store) Key() []byte { return s.group.key }

// Run implements store.Store.
func (s *Store) Run(ctx context.Context) error {
	writing, stop := context.WithCancel(context.Background())
	defer stop()
	var parts, commits sync.WaitGroup
	commits.Go(func() { s.commitAll(writing) })
	parts.Go(func() { s.renew(ctx) })
	parts.Go(func() { s.adopt(ctx) })
	parts.Go(func() { s.watchLease(ctx) })
	parts.Go(func() { s.record(ctx) })
	parts.Go(func() { s.running.run(ctx, s) })
	parts.Go(func() { s.changed.run(ctx, s) })
	parts.Go(func() { s.listen(ctx) })
	parts.Go(func() { s.purge(ctx) })
	parts.Go(func() { s.keepFollowing(ctx) })
	<-ctx.Done()
	parts.Wait()
	stop()
	commits.Wait()
	s.leave()
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.pool.Close()
	s.writes.Close()
	return nil
}

// Err implements store.Backlog.
func (s *Store) Err() error {
	if err := s.committer.failure.Load(); err != nil {
		return unavailable(*err)
	}
	if s.lease.current() == 0 {
		return unavailable(store.ErrFenced)
	}
	return nil
}

func unavailable(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// write runs a statement that no execution depends on. Its time is limited, so
// that a connection that hangs is replaced.
func (s *Store) write(ctx context.Context, sql string, args ...any) error {
	limit, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	_, err := s.writes.Exec(limit, sql, args...)
	return err
}

// query calls each for every row, in a session whose statements end after
// readTime.
func (s *Store) query(ctx context.Context, each func(pgdb.Rows) error, sql string, args ...any) error {
	limit, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	for again := 0; ; again++ {
		seen, err := s.queryOnce(limit, each, sql, args...)
		switch {
		case err == nil:
			return nil
		case !seen && again < 3 && pgdb.Retryable(err):
			continue
		}
		return unavailable(err)
	}
}

func (s *Store) queryOnce(ctx context.Context, each func(pgdb.Rows) error, sql string, args ...any) (seen bool, err error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		seen = true
		if err := each(rows); err != nil {
			return seen, err
		}
	}
	return seen, rows.Err()
}

// clock is the database's clock, as far as the last renewal of the lease
// measured it. It follows no change of the machine's.
type clock struct {
	start  time.Time // with the monotonic reading
	offset *atomic.Int64
}

func newClock() clock { return clock{time.Now(), &atomic.Int64{}} }

// now returns the time of the database.
func (c clock) now() time.Time {
	return c.start.Add(time.Since(c.start) + time.Duration(c.offset.Load())).UTC().Round(0)
}

// set notes the time of the database at a moment.
func (c clock) set(database time.Time, at time.Time) {
	c.offset.Store(int64(database.Sub(c.start) - at.Sub(c.start)))
}

func nanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func timeOf(ns *int64) time.Time {
	if ns == nil {
		return time.Time{}
	}
	return time.Unix(0, *ns).UTC()
}
