package sql

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/spec"
)

// sqlServer is untested against a server.
var sqlServer = dialect{
	quote: '"',
	param: func(n int, v any) (string, any) { return "@p" + strconv.Itoa(n), number(v) },
	emptyIn: func(not bool) string {
		if not {
			return "not in (select null where 1 = 0)"
		}
		return "in (select null where 1 = 0)"
	},
	column: sqlServerColumn,
	claim: func(table string, n int) (before, after string) {
		return "select top (" + strconv.Itoa(n) + ") * from " + table + " with (updlock, readpast, rowlock)", ""
	},
	rollsBack: true,
	unordered: true,
	call:      callSQLServer,
	state:     sqlServerState,
	doneTable: "create table valence_done (\n  id varchar(200) primary key,\n  result nvarchar(max),\n  done_at datetime2 not null default sysutcdatetime()\n)",
	noTable:   "42S02",
	remember:  "if not exists (select 1 from valence_done with (updlock, holdlock) where id = %[1]s) insert into valence_done (id) values (%[1]s)",
}

// hostDialer dials through the policy, which also judges names.
type hostDialer struct {
	dial access.DialFunc
	host string
}

// DialContext implements mssql.Dialer.
func (d hostDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address)
}

// HostName implements mssql.HostDialer.
func (d hostDialer) HostName() string { return d.host }

func openSQLServer(s *settings, secure *tls.Config, dial access.DialFunc) driver.Connector {
	config := msdsn.Config{
		Host: s.Host, Port: uint64(s.port()), Database: s.Database, User: s.User, Password: s.Password, AppName: "valence",
		Protocols: []string{"tcp"}, Encryption: msdsn.EncryptionDisabled, DialTimeout: s.ConnectTimeout, DisableRetry: true, PacketSize: 4096,
		HostInCertificateProvided: true, TLSConfig: secure,
	}
	if secure != nil {
		config.Encryption = msdsn.EncryptionRequired
	}
	c := mssql.NewConnectorConfig(config)
	c.Dialer = hostDialer{dial, s.Host}
	return c
}

// sqlServerColumn returns a value of a result.
func sqlServerColumn(typ string, v any) any {
	switch x := v.(type) {
	case time.Time:
		switch typ {
		case "DATE":
			return x.Format(time.DateOnly)
		case "TIME":
			return x.Format("15:04:05.999999999")
		}
		return x.Format(time.RFC3339Nano)
	case float64:
		if typ == "REAL" {
			return float(x, 32)
		}
		return float(x, 64)
	case []byte:
		switch typ {
		case "DECIMAL", "NUMERIC", "MONEY", "SMALLMONEY":
			return decimal(string(x))
		case "UNIQUEIDENTIFIER":
			var id mssql.UniqueIdentifier
			if id.Scan(x) == nil {
				return id.String()
			}
		}
	}
	return v
}

// sqlServerStates maps the numbers of errors to SQLSTATEs.
var sqlServerStates = map[int32]string{
	2627: "23505", 2601: "23505", 547: "23503", 515: "23502", 208: "42S02", 207: "42S22", 102: "42000", 229: "42501", 18456: "28000", 4060: "3D000", 8152: "22001", 2628: "22001",
	245: "22018", 8114: "22018", 8134: "22012", 1205: "40001", 3960: "40001", 1222: "55P03", 1105: "53100", 9002: "53100", 10928: "53300", 10929: "53300",
	6005: "57P01", 40501: "53300", 40613: "57P03", 40197: "57P01",
}

func sqlServerState(err error) (code string, retryable, ok bool) {
	var e mssql.Error
	if !errors.As(err, &e) {
		return "", false, false
	}
	code, known := sqlServerStates[e.Number]
	if !known {
		code = "HY000"
	}
	for _, class := range []string{"40", "53", "55", "57"} {
		retryable = retryable || strings.HasPrefix(code, class)
	}
	return code, retryable, true
}

// callSQLServer calls a procedure. The values of its output parameters are text.
func callSQLServer(ctx context.Context, c *connection, tx *work, p *procedureCall) ([]byte, error) {
	var args []any
	outs := map[string]*sql.NullString{}
	for _, x := range p.parameters {
		v := number(x.value)
		if x.out {
			dest := &sql.NullString{}
			if x.in && v != nil {
				text, err := plainText(v)
				if err != nil {
					return nil, err
				}
				dest.String, dest.Valid = text, true
			}
			outs[x.name] = dest
			v = sql.Out{Dest: dest, In: x.in}
		}
		if x.name != "" && !p.positional {
			v = sql.Named(x.name, v)
		}
		args = append(args, v)
	}
	rows, err := tx.QueryContext(ctx, p.name, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	o := outcome{out: &document.Object{}, results: []any{}}
	if err := o.sets(c.dialect, rows); err != nil {
		return nil, err
	}
	if err := rows.Close(); err != nil { // now the output parameters are set
		return nil, err
	}
	for _, x := range p.parameters {
		if dest := outs[x.name]; dest != nil && x.out && !slices.Contains(o.out.Keys(), x.name) {
			var v any
			if dest.Valid {
				v = dest.String
			}
			o.out.Set(x.name, v)
		}
	}
	return o.json(), nil
}

// plainText returns a value of a parameter as text.
func plainText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", badCall("a parameter that is input and output must be text or a number, not %s", spec.Clip(document.TypeName(v)))
}
