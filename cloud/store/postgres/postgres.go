// Package postgres keeps control planes in one PostgreSQL database, which
// several of them use at once. They hear of each other by LISTEN/NOTIFY, and
// change what is configured in turns.
package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"valence/cloud"
)

// Options of a store.
type Options struct {
	// URL names the database: postgres://user@host:port/database?sslmode=…, as
	// libpq takes it. What is missing is in PGHOST, PGPASSWORD, PGPASSFILE and so
	// on.
	URL string
	// Dir is a folder for files that live for moments.
	Dir string
	Log *slog.Logger
	// OnCommit observes each transaction that writes.
	OnCommit func(operations int, took time.Duration)
}

// Oldest is the oldest major version of PostgreSQL that is taken.
const Oldest = 14

// How long things may take. A session that holds the turn and says nothing
// loses it, so that a control plane that hangs does not stop the others.
const (
	connectTime   = 10 * time.Second
	statementTime = 15 * time.Second
	lockTime      = 10 * time.Second
	idleTurnTime  = 15 * time.Second
	callTime      = 20 * time.Second
	tickEvery     = 2 * time.Second
)

// connections is how many a control plane has at most, besides a few of its
// own, where the URL does not say it with pool_max_conns.
const connections = 16

// Store is the part of a control plane in a database. Its methods may be called
// from any goroutine.
type Store struct {
	o       Options
	log     *slog.Logger
	config  *pgx.ConnConfig
	pool    *pgxpool.Pool // for what is asked
	turns   *pgxpool.Pool // for turns and positions, so that slow queries do not hold these up
	plane   string        // this start of this control plane
	channel string        // of the notifications of this schema
	batch   atomic.Int64  // of beats
	failure atomic.Pointer[error]
	open    bool // the way to the database can be read on the network
}

var _ cloud.Shared = (*Store)(nil)

// Open connects, and takes the database through the migrations that it does not
// have. It fails with an *Error that says what to do.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, &Error{Text: "the address of the database cannot be read", Hint: "--store postgres://user@host:5432/database", err: err}
	}
	prepare(config, o.URL)
	name := make([]byte, 6)
	rand.Read(name) // never fails: crypto/rand
	s := &Store{o: o, log: o.Log, config: config.ConnConfig, plane: hex.EncodeToString(name)}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.migrate(ctx); err != nil {
		return nil, s.explain(err)
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, s.explain(err)
	}
	few := config.Copy()
	few.MaxConns = 4
	if s.turns, err = pgxpool.NewWithConfig(ctx, few); err != nil {
		s.pool.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

// prepare sets what every connection is to be like.
func prepare(config *pgxpool.Config, url string) {
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = connections
	}
	config.PingTimeout = 5 * time.Second
	c := config.ConnConfig
	if c.ConnectTimeout == 0 || c.ConnectTimeout > connectTime {
		c.ConnectTimeout = connectTime
	}
	if c.ValidateConnect == nil { // after a failover, not the one that only reads
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range map[string]string{
		"application_name": "valence cloud", "statement_timeout": ms(statementTime), "lock_timeout": ms(lockTime),
		"idle_in_transaction_session_timeout": ms(idleTurnTime), "timezone": "UTC", "client_encoding": "UTF8",
	} {
		if _, said := c.RuntimeParams[name]; !said || name != "application_name" {
			c.RuntimeParams[name] = value
		}
	}
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Run waits until ctx ends: the database does the rest.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close ends the connections.
func (s *Store) Close() error {
	s.pool.Close()
	s.turns.Close()
	return nil
}

// Err is nil while the database answers.
func (s *Store) Err() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Backup implements cloud.Store: it refuses.
func (s *Store) Backup(context.Context, string) error {
	return &cloud.Error{Kind: cloud.ErrConflict,
		Text: "this control plane keeps everything in PostgreSQL: back the database up with pg_dump or what your database has for it, and keep a copy of secrets.key elsewhere"}
}

// write runs a transaction. It is run again where nothing of it can have
// happened: a deadlock, or a connection that was found dead.
func (s *Store) write(ctx context.Context, operations int, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	start := time.Now()
	for again := 0; ; again++ {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return f(ctx, tx) })
		if err != nil && again < 3 && harmless(err) {
			continue
		}
		if err == nil && s.o.OnCommit != nil {
			s.o.OnCommit(operations, time.Since(start))
		}
		return err
	}
}

// harmless reports whether a transaction failed so that it may be run again.
func harmless(err error) bool {
	if pgconn.SafeToRetry(err) {
		return true
	}
	switch code(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}

// read runs one query; rows are given to each. Where the database does not
// answer, the error is cloud.ErrUnavailable.
func (s *Store) read(ctx context.Context, each func(pgx.Rows) error, query string, args ...any) error {
	return s.readFrom(ctx, s.pool, each, query, args...)
}

func (s *Store) readFrom(ctx context.Context, pool *pgxpool.Pool, each func(pgx.Rows) error, query string, args ...any) error {
	limit, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for again := 0; ; again++ {
		rows, err := pool.Query(limit, query, args...)
		seen := false
		if err == nil {
			for err == nil && rows.Next() {
				seen = true
				err = each(rows)
			}
			rows.Close()
			if err == nil {
				err = rows.Err()
			}
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !seen && again < 2 && harmless(err):
			continue
		}
		return fmt.Errorf("%w: %w", cloud.ErrUnavailable, err)
	}
}

// clean makes a text one that PostgreSQL takes: it takes no zero bytes.
func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\ufffd")
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// code gives the code of an error of the server, "" for another error.
func code(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Open reports whether what is said to the database can be read on the network
// between.
func (s *Store) Open() bool { return s.open }

// Name tells which database it is, for people.
func (s *Store) Name() string {
	return fmt.Sprintf("%s at %s, as %s", s.config.Database, net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port))), s.config.User)
}
