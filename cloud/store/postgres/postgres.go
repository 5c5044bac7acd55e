// Package postgres stores control planes in one PostgreSQL database that
// several of them use at once. They exchange events with LISTEN/NOTIFY, and a
// row lock serializes changes of the configuration.
package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"valence/cloud"
	"valence/internal/pgdb"
)

// Options of a store.
type Options struct {
	// URL is the database's address as libpq accepts it:
	// postgres://user@host:port/database?sslmode=…. PGHOST, PGPASSWORD,
	// PGPASSFILE and so on supply what it lacks.
	URL string
	// Dir is a folder for short-lived files.
	Dir string
	Log *slog.Logger
	// OnCommit observes each writing transaction.
	OnCommit func(operations int, took time.Duration)
}

// Timeouts. A session that holds the write lock and is idle loses it, so that a
// hanging control plane does not block the others.
const (
	statementTime = 15 * time.Second
	lockTime      = 10 * time.Second
	idleTurnTime  = 15 * time.Second
	callTime      = 20 * time.Second
	tickEvery     = 2 * time.Second
)

// connections is the size of the main pool unless the URL sets pool_max_conns.
const connections = 16

// Store is a control plane's access to a database. Its methods are safe for
// concurrent use.
type Store struct {
	o         Options
	log       *slog.Logger
	server    *pgdb.Server
	pool      *pgdb.Pool   // for reads and writes
	locks     *pgdb.Pool   // for the write lock and positions, so that slow queries do not delay them
	plane     string       // identifies this start of this control plane
	channel   string       // of the notifications
	batch     atomic.Int64 // the last batch of heartbeats
	failure   atomic.Pointer[error]
	plaintext bool // the connection crosses a network without encryption
}

var _ cloud.SharedStore = (*Store)(nil)

// Open connects and migrates the database. It returns a *pgdb.Error that says
// what to do.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	server, err := pgdb.Parse(o.URL, pgdb.Session{Name: "valence cloud", Connections: connections, Statement: statementTime, Lock: lockTime, Idle: idleTurnTime})
	if err != nil {
		return nil, err
	}
	name := make([]byte, 6)
	rand.Read(name) // never fails: crypto/rand
	s := &Store{o: o, log: o.Log, server: server, plane: hex.EncodeToString(name)}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.migrate(ctx); err != nil {
		return nil, server.Explain(err)
	}
	if s.pool, err = server.Pool(ctx, 0); err != nil {
		return nil, server.Explain(err)
	}
	if s.locks, err = server.Pool(ctx, 4); err != nil {
		s.pool.Close()
		return nil, server.Explain(err)
	}
	return s, nil
}

// Run waits until ctx ends. The database needs no background work.
func (s *Store) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close closes the connections.
func (s *Store) Close() error {
	s.pool.Close()
	s.locks.Close()
	return nil
}

// Err returns nil while the database answers.
func (s *Store) Err() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Backup implements cloud.Store. It always returns an error.
func (s *Store) Backup(context.Context, string) error {
	return &cloud.Error{Kind: cloud.ErrConflict,
		Text: "this control plane stores everything in PostgreSQL: back up the database with pg_dump or your provider's tools, and store a copy of secrets.key elsewhere"}
}

// write runs a transaction, and repeats it if it certainly had no effect: after
// a deadlock, or on a connection that was dead.
func (s *Store) write(ctx context.Context, operations int, f func(context.Context, pgdb.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	start := time.Now()
	for again := 0; ; again++ {
		err := pgdb.Begin(ctx, s.pool, func(tx pgdb.Tx) error { return f(ctx, tx) })
		if err != nil && again < 3 && pgdb.Retryable(err) {
			continue
		}
		if err == nil && s.o.OnCommit != nil {
			s.o.OnCommit(operations, time.Since(start))
		}
		return err
	}
}

// read runs a query and calls each for every row. It returns
// cloud.ErrUnavailable if the database does not answer.
func (s *Store) read(ctx context.Context, each func(pgdb.Rows) error, query string, args ...any) error {
	return s.readOn(ctx, s.pool, each, query, args...)
}

func (s *Store) readOn(ctx context.Context, pool *pgdb.Pool, each func(pgdb.Rows) error, query string, args ...any) error {
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
		case !seen && again < 2 && pgdb.Retryable(err):
			continue
		}
		return fmt.Errorf("%w: %w", cloud.ErrUnavailable, err)
	}
}

// Unencrypted reports whether the connection crosses a network without
// encryption.
func (s *Store) Unencrypted() bool { return s.plaintext }

// Name returns a description of the database for people.
func (s *Store) Name() string { return s.server.String() }
