//go:build oracle

package sql

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	goora "github.com/sijms/go-ora/v2"
	"github.com/sijms/go-ora/v2/network"

	"valence/internal/access"
	"valence/internal/document"
)

// withOracle says that the program was built with the driver for Oracle.
const withOracle = true

var errNoOracle error

// oracle is untested against a server.
var oracle = dialect{
	quote: '"',
	param: func(n int, v any) (string, any) {
		if b, ok := v.(bool); ok { // older servers have no boolean
			v = int64(0)
			if b {
				v = int64(1)
			}
		}
		return ":" + strconv.Itoa(n), number(v)
	},
	emptyIn: func(not bool) string {
		if not {
			return "not in (select null from dual where 1 = 0)"
		}
		return "in (select null from dual where 1 = 0)"
	},
	column: func(typ string, v any) any {
		switch x := v.(type) {
		case time.Time:
			return x.Format(time.RFC3339Nano)
		case float64:
			return float(x, 64)
		case string:
			if typ == "NUMBER" {
				return decimal(x)
			}
		}
		return v
	},
	// The rows that the program reads are locked, and those that the driver has
	// read ahead.
	claim: func(table string, _ int) (before, after string) {
		return "select * from " + table, " for update skip locked"
	},
	rollsBack: true,
	unordered: true,
	call:      callOracle,
	state:     oracleState,
	doneTable: "create table valence_done (\n  id varchar2(200) primary key,\n  result clob,\n  done_at timestamp default systimestamp not null\n)",
	noTable:   "42S02",
	remember:  "begin insert into valence_done (id) values (%s); exception when dup_val_on_index then null; end;",
}

// contextDialer dials through the policy.
type contextDialer struct{ dial access.DialFunc }

// DialContext implements the driver's dialer.
func (d contextDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address)
}

func openOracle(s *settings, secure *tls.Config, dial access.DialFunc) (driver.Connector, error) {
	options := map[string]string{"CONNECTION TIMEOUT": strconv.Itoa(max(1, int(s.ConnectTimeout/time.Second)))}
	if secure != nil {
		options["SSL"], options["SSL VERIFY"] = "true", "true"
	}
	c, ok := goora.NewConnector(goora.BuildUrl(s.Host, s.port(), s.Database, s.User, s.Password, options)).(*goora.OracleConnector)
	if !ok {
		return nil, errors.New("the driver of Oracle has another connector")
	}
	c.Dialer(contextDialer{dial})
	if secure != nil {
		c.WithTLSConfig(secure)
	}
	return c, nil
}

// oracleStates maps the numbers of errors to SQLSTATEs.
var oracleStates = map[int]string{
	1: "23505", 1400: "23502", 2291: "23503", 2292: "23503", 2290: "23514", 942: "42S02", 904: "42S22", 900: "42000", 1031: "42501", 1017: "28000", 28000: "28000",
	12899: "22001", 1722: "22018", 1476: "22012", 60: "40001", 8177: "40001", 54: "55P03", 30006: "55P03", 1653: "53100", 18: "53300", 20: "53300", 12519: "53300",
	1033: "57P03", 1034: "57P03", 1089: "57P01", 28: "57P01", 1012: "08003", 3113: "08006", 3114: "08003", 3135: "08006", 1456: "25006",
}

func oracleState(err error) (code string, retryable, ok bool) {
	var e *network.OracleError
	if !errors.As(err, &e) {
		return "", false, false
	}
	code, known := oracleStates[e.ErrCode]
	if !known {
		code = "HY000"
	}
	for _, class := range []string{"08", "40", "53", "55", "57"} {
		retryable = retryable || strings.HasPrefix(code, class)
	}
	return code, retryable, true
}

// callOracle calls a procedure. The values of its output parameters are text.
func callOracle(ctx context.Context, c *connection, tx *work, p *procedureCall) ([]byte, error) {
	var list []string
	var args []any
	var dests []*sql.NullString
	var outs []string
	for i, x := range p.parameters {
		text, arg := c.dialect.param(i+1, x.value)
		if x.out {
			dest := &sql.NullString{}
			if x.in && arg != nil {
				value, err := plainText(arg)
				if err != nil {
					return nil, err
				}
				dest.String, dest.Valid = value, true
			}
			outs, dests = append(outs, x.name), append(dests, dest)
			arg = goora.Out{Dest: dest, Size: 32767, In: x.in}
		}
		if x.name != "" && !p.positional {
			text = x.name + " => " + text
			if _, err := c.dialect.names([]string{x.name}); err != nil || strings.ContainsAny(x.name, " ;,()'\"") {
				return nil, badCall("%q is not the name of a parameter", x.name)
			}
		}
		list, args = append(list, text), append(args, arg)
	}
	if _, err := tx.ExecContext(ctx, "begin "+p.name+"("+strings.Join(list, ", ")+"); end;", args...); err != nil {
		return nil, err
	}
	o := outcome{out: &document.Object{}, results: []any{}}
	for i, name := range outs {
		var v any
		if dests[i].Valid {
			v = dests[i].String
		}
		o.out.Set(name, v)
	}
	return o.json(), nil
}
