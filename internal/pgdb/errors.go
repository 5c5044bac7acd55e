package pgdb

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Error says why a database cannot be used, with a hint.
type Error struct {
	Text string
	Hint string
	err  error
}

// Error returns the message. It never contains a password.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the driver's error.
func (e *Error) Unwrap() error { return e.err }

// Explain returns an error of the driver as an *Error.
func (s *Server) Explain(err error) error {
	if own := (*Error)(nil); errors.As(err, &own) {
		return err
	}
	c := s.config.ConnConfig
	user, database, at := c.User, c.Database, s.address()
	say := func(hint, format string, args ...any) error {
		return &Error{Text: fmt.Sprintf(format, args...), Hint: hint, err: err}
	}
	code := Code(err)
	if errors.Is(err, errReadOnly) {
		code = "25006"
	}
	switch code {
	case "3D000":
		return say("createdb "+database+", as a user with the privilege CREATEDB", "the server %s has no database %s", at, database)
	case "28P01":
		return say("set PGPASSWORD or PGPASSWORD_FILE, or add a line to the file named by PGPASSFILE", "wrong password for the database user %s", user)
	case "28000":
		if c.TLSConfig == nil || len(c.Fallbacks) > 0 {
			return say("add ?sslmode=verify-full to the URL, or a line to pg_hba.conf", "the server %s rejects the user %s from this address without TLS", at, user)
		}
		return say("add a line to pg_hba.conf, or use another user", "the server %s rejects the user %s from this address", at, user)
	case "42501":
		return say(fmt.Sprintf("GRANT CREATE, USAGE ON SCHEMA public TO %q; in the database %s, or make the user its owner", user, database),
			"the user %s lacks privileges in the database %s: %s", user, database, message(err))
	case "53300":
		return say("close other connections, raise max_connections, or set ?pool_max_conns= in the URL", "the server %s has no free connections", at)
	case "57P03":
		return say("retry in a moment", "the server %s is starting, stopping or recovering", at)
	case "25006":
		return say("use the address of the primary, or all addresses with target_session_attrs=read-write", "the database %s at %s is read-only, like a standby", database, at)
	case "08P01": // PgBouncer; no server of PostgreSQL says it to this client
		return say("connect to PostgreSQL directly, or add ignore_startup_parameters = statement_timeout, lock_timeout, idle_in_transaction_session_timeout to pgbouncer.ini",
			"the connection pooler at %s refuses the settings of the connection: %s", at, message(err))
	case "42P05", "26000":
		return say("connect to PostgreSQL directly, or add ?default_query_exec_mode=exec to the URL", "the connection pooler at %s does not keep prepared statements apart: %s", at, message(err))
	case "":
		return s.explainNetwork(err, say)
	}
	return say("see the log of the database", "cannot use the database %s at %s: %v", database, at, err)
}

// explainNetwork explains an error that the server did not send.
func (s *Server) explainNetwork(err error, say func(hint, format string, args ...any) error) error {
	at := s.address()
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch op := (*net.OpError)(nil); {
	case errors.As(err, &host):
		return say("use a host name of the certificate in the URL", "the certificate of the server %s is for another host: %v", at, host)
	case errors.As(err, &unknown):
		return say("add sslrootcert=ca.crt to the URL", "the certificate of the server %s is signed by an unknown authority", at)
	case errors.As(err, &invalid):
		return say("renew the certificate of the server", "the certificate of the server %s is not valid: %v", at, invalid)
	case errors.Is(err, context.DeadlineExceeded):
		return say("check the address and firewalls", "the server %s did not answer in time", at)
	case errors.As(err, &op):
		return say("check the address, and that the server is running", "cannot reach the server %s: %v", at, op)
	}
	hint := "see the log of the database"
	if s.config.ConnConfig.TLSConfig != nil {
		hint = "check that the server accepts TLS (ssl = on), or see its log"
	}
	return say(hint, "cannot use the database %s at %s: %v", s.Database(), at, err)
}

// message returns the server's message.
func message(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}
