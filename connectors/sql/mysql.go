package sql

import (
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"net"
	"strconv"
	"strings"

	driverpkg "github.com/go-sql-driver/mysql"

	"valence/internal/access"
	"valence/internal/document"
)

var mySQL = dialect{
	quote: '`',
	param: func(n int, v any) (string, any) {
		text, ok := v.(document.Number)
		if !ok {
			return "?", v
		}
		arg := number(v)
		if _, isText := arg.(string); !isText {
			return "?", arg
		}
		if scale, ok := decimalScale(string(text)); ok { // text would be compared as a floating-point number
			return "cast(? as decimal(65," + strconv.Itoa(scale) + "))", arg
		}
		return "?", arg
	},
	emptyIn: func(not bool) string {
		if not {
			return "not in (select null from dual where false)"
		}
		return "in (select null from dual where false)"
	},
	column: mySQLColumn,
	exact: func(typ string, v any) any {
		if b, ok := v.([]byte); ok && (typ == "DATETIME" || typ == "TIMESTAMP") {
			return string(b) // the server does not read the zone of RFC 3339
		}
		return mySQLColumn(typ, v)
	},
	claim:     skipLocked,
	call:      callMySQL,
	state:     mySQLState,
	doneTable: "create table valence_done (\n  id varchar(200) character set utf8mb4 collate utf8mb4_bin primary key,\n  result longtext,\n  done_at timestamp not null default current_timestamp\n)",
	noTable:   "42S02",
	remember:  "insert into valence_done (id) values (%s) on duplicate key update id = valence_done.id",
	hasLastID: true,
}

// decimalScale returns the digits after the point of a number that is a valid
// DECIMAL.
func decimalScale(n string) (int, bool) {
	if strings.ContainsAny(n, "eE") || len(n) > 60 {
		return 0, false
	}
	_, fraction, _ := strings.Cut(n, ".")
	return len(fraction), len(fraction) <= 30
}

func openMySQL(s *settings, secure *tls.Config, dial access.DialFunc) (driver.Connector, error) {
	config := driverpkg.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.port()))
	config.User, config.Passwd, config.DBName = s.User, s.Password, s.Database
	config.TLS, config.DialFunc, config.Timeout = secure, dial, s.ConnectTimeout
	config.ClientFoundRows = true // as the other databases count
	config.Params = map[string]string{"time_zone": "'+00:00'"}
	config.Logger = silent{}
	return driverpkg.NewConnector(config)
}

// silent discards the log of the driver, which also returns the errors.
type silent struct{}

// Print implements the driver's logger.
func (silent) Print(...any) {}

// mySQLColumn returns a value of a result. Without arguments the server sends
// text, and otherwise the types of its columns.
func mySQLColumn(typ string, v any) any {
	typ = strings.TrimPrefix(typ, "UNSIGNED ")
	switch x := v.(type) {
	case float32:
		return float(float64(x), 32)
	case float64:
		return float(x, 64)
	case []byte:
		switch typ {
		case "TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "YEAR", "DECIMAL", "FLOAT", "DOUBLE":
			return decimal(string(x))
		case "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "BINARY", "VARBINARY", "BIT", "GEOMETRY":
			return x
		case "JSON":
			return document.Parse(string(x))
		case "DATETIME", "TIMESTAMP":
			return strings.Replace(string(x), " ", "T", 1) + "Z"
		}
		return string(x)
	}
	return v
}

func mySQLState(err error) (code string, retryable, ok bool) {
	var e *driverpkg.MySQLError
	if !errors.As(err, &e) {
		return "", false, false
	}
	code = strings.TrimRight(string(e.SQLState[:]), "\x00")
	if code == "" {
		code = "HY000"
	}
	switch e.Number {
	case 1205, 1213, 1020, 1040, 1053, 1203, 1226, 1927: // lock wait, deadlock, record changed, connections, shutdown, killed
		retryable = true
	}
	return code, retryable || strings.HasPrefix(code, "40") || strings.HasPrefix(code, "08"), true
}
