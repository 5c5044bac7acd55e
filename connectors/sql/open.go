package sql

import (
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// The names of the drivers.
const (
	driverPostgres  = "postgres"
	driverMySQL     = "mysql"
	driverSQLite    = "sqlite"
	driverSQLServer = "sqlserver"
	driverOracle    = "oracle"
)

// The values of `tls:`.
const (
	tlsRequired = "required"
	tlsNone     = "none"
)

// connection is an open connection, with a pool of sessions.
type connection struct {
	db          *sql.DB
	connector   driver.Connector // opens connections outside of the pool
	pollTimeout time.Duration    // of a statement of a subscription
	dialect     *dialect
	where       string // describes the database in messages, without secrets
	streams     streams
	sockets     *sync.Map // *socket by driver.Conn, of drivers that ignore contexts
}

var _ connectors.Connection = (*connection)(nil)

// Close closes the sessions.
func (c *connection) Close() error {
	c.streams.close()
	return c.db.Close()
}

// check reports problems that no single field can find. Values may still be
// expressions.
func check(v any) (wrong []string) {
	s := v.(*settings)
	if s.Driver == driverSQLite {
		if s.Database == "" {
			wrong = append(wrong, "sqlite needs `database:`, the path of its file")
		}
		if s.URL != "" || s.Host != "" || s.User != "" || s.Password != "" {
			wrong = append(wrong, "`url:`, `host:`, `user:` and `password:` have no effect with sqlite; name the file in `database:`")
		}
		return wrong
	}
	if s.Driver == driverOracle && !withOracle {
		wrong = append(wrong, errNoOracle.Error())
	}
	switch {
	case s.URL == "" && s.Host == "":
		wrong = append(wrong, "the connection needs `url:` or `host:`")
	case s.URL != "" && (s.Host != "" || s.Port != 0 || s.Database != ""):
		wrong = append(wrong, "`url:` excludes `host:`, `port:` and `database:`")
	}
	if spec.Literal(s.URL) {
		if _, err := s.fromURL(); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	return wrong
}

var errURL = errors.New("`url:` must be the URL of a database, such as postgres://user@db.example/warehouse")

// fromURL returns the settings with the parts of the URL.
func (s settings) fromURL() (settings, error) {
	if s.URL == "" {
		return s, nil
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || u.Fragment != "" {
		return s, errURL // the URL may contain a password
	}
	schemes := map[string]string{"postgres": driverPostgres, "postgresql": driverPostgres, "mysql": driverMySQL, "mariadb": driverMySQL, "sqlserver": driverSQLServer, "oracle": driverOracle}
	if schemes[u.Scheme] != s.Driver {
		return s, errors.New("`url:` is not for `driver: " + s.Driver + "`: it must start with " + s.Driver + "://")
	}
	s.Host, s.Database = u.Hostname(), strings.TrimPrefix(u.Path, "/")
	if u.User != nil {
		if s.User == "" {
			s.User = u.User.Username()
		}
		if password, ok := u.User.Password(); ok && s.Password == "" {
			s.Password = password
		}
	}
	if port := u.Port(); port != "" {
		if s.Port, err = strconv.Atoi(port); err != nil {
			return s, errURL
		}
	}
	for key, values := range u.Query() {
		mode := map[string]string{"disable": tlsNone, "require": tlsRequired, "verify-ca": tlsRequired, "verify-full": tlsRequired}[values[0]]
		switch {
		case key != "sslmode":
			return s, errors.New("`url:` has the parameter " + strconv.Quote(key) + ", which is not supported; use the keys of the connection and `session:`")
		case mode == "":
			return s, errors.New("`url:` has an sslmode that is not supported; use `tls: required` or `tls: none`")
		case s.TLS == "":
			s.TLS = mode
		}
	}
	return s, nil
}

// open returns a connection without touching the network.
func open(s *settings, policy *access.Policy) (*connection, error) {
	if wrong := check(s); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	t, err := s.fromURL()
	if err != nil {
		return nil, err
	}
	var connector driver.Connector
	sockets := &sync.Map{}
	at := t.Driver + "://" + net.JoinHostPort(t.Host, strconv.Itoa(t.port())) + "/" + t.Database
	switch t.Driver {
	case driverSQLite:
		at = "sqlite:" + t.Database
		connector, err = openSQLite(&t, policy)
	default:
		var secure *tls.Config
		if secure, err = t.tls(policy); err != nil {
			return nil, err
		}
		if err := policy.CheckURL(&url.URL{Scheme: t.Driver, Host: net.JoinHostPort(t.Host, strconv.Itoa(t.port()))}); err != nil {
			return nil, err
		}
		dial := recorded(policy.Dialer(net.Dialer{Timeout: t.ConnectTimeout}))
		switch t.Driver {
		case driverPostgres:
			sockets = nil // the driver respects contexts
			connector, err = openPostgres(&t, secure, dial)
		case driverMySQL:
			connector, err = openMySQL(&t, secure, dial)
		case driverSQLServer:
			connector = openSQLServer(&t, secure, dial)
		case driverOracle:
			connector, err = openOracle(&t, secure, dial)
		}
	}
	if err != nil {
		return nil, err
	}
	sessions := &sessionConnector{connector, t.Session, t.ConnectTimeout, sockets}
	db := sql.OpenDB(sessions)
	db.SetMaxOpenConns(t.Pool.Max)
	db.SetMaxIdleConns(t.Pool.Max)
	db.SetConnMaxIdleTime(t.Pool.Idle)
	return &connection{db: db, connector: sessions, pollTimeout: time.Minute, dialect: dialects[t.Driver], where: at, sockets: sockets,
		streams: streams{limit: t.Pool.Max / 2, open: map[string]*stream{}}}, nil
}

func (s *settings) port() int {
	if s.Port != 0 {
		return s.Port
	}
	return map[string]int{driverPostgres: 5432, driverMySQL: 3306, driverSQLServer: 1433, driverOracle: 1521}[s.Driver]
}

// tls returns how to encrypt, or nil.
func (s *settings) tls(policy *access.Policy) (*tls.Config, error) {
	mode := s.TLS
	if mode == "" {
		mode = tlsRequired
		if ip, err := netip.ParseAddr(s.Host); strings.EqualFold(s.Host, "localhost") || err == nil && ip.IsLoopback() {
			mode = tlsNone
		}
	}
	if mode == tlsNone {
		if s.CA != "" {
			return nil, errors.New("`ca:` has no effect without `tls: required`")
		}
		return nil, nil
	}
	return (&tlsconfig.Settings{CA: s.CA, ServerName: s.Host}).Config(policy)
}
