package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error is why a database cannot be used, and what to do.
type Error struct {
	Text string
	Hint string
	err  error
}

// Error says what is wrong. It never holds a password.
func (e *Error) Error() string { return e.Text }

// Unwrap gives the driver's error.
func (e *Error) Unwrap() error { return e.err }

// explain makes an error that says what to do of one of the driver.
func (s *Store) explain(err error) error {
	if own := (*Error)(nil); errors.As(err, &own) {
		return err
	}
	user, database, at := s.config.User, s.config.Database, net.JoinHostPort(s.config.Host, fmt.Sprint(s.config.Port))
	say := func(hint, format string, args ...any) error {
		return &Error{Text: fmt.Sprintf(format, args...), Hint: hint, err: err}
	}
	switch code(err) {
	case "3D000":
		return say("createdb "+database+", as a user who may", "the server %s has no database %s", at, database)
	case "28P01":
		return say("PGPASSWORD, or a line in the file that PGPASSFILE names", "the password for the user %s of the database is not right", user)
	case "28000":
		if s.config.TLSConfig == nil || len(s.config.Fallbacks) > 0 {
			return say("?sslmode=verify-full in the URL, or a line in pg_hba.conf", "the server %s lets the user %s in from here only with TLS, or not at all", at, user)
		}
		return say("a line in pg_hba.conf, or another user", "the server %s does not let the user %s in from here", at, user)
	case "42501":
		return say(fmt.Sprintf("GRANT CREATE, USAGE ON SCHEMA public TO %q; in the database %s, or make the user its owner", user, database),
			"the user %s may not do what the control plane has to in the database %s: %s", user, database, message(err))
	case "53300":
		return say("fewer elsewhere, a higher max_connections, or ?pool_max_conns= in the URL", "the server %s has no connection left", at)
	case "57P03":
		return say("the same again in a little while", "the server %s is starting, stopping or recovering", at)
	case "25006":
		return say("the address of the primary, or all addresses and target_session_attrs=read-write", "the server %s only reads: it is a standby", at)
	case "":
		if errors.Is(err, context.DeadlineExceeded) {
			return say("the address, and whether a firewall is between", "the server %s does not answer in time", at)
		}
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			return say("the address, and whether the server runs", "the server %s cannot be reached: %v", at, op)
		}
	}
	return say("the log of the database", "the database %s at %s cannot be used: %v", database, at, err)
}

// message gives the server's own words.
func message(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
