package importer

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// database returns the settings of a connection to a database.
func (r *reader) database(driver, dsn string) (*yaml.Node, error) {
	switch driver = strings.ToLower(driver); driver {
	case "postgres", "postgresql", "pgx":
		u, err := url.Parse(strings.TrimPrefix(dsn, "jdbc:"))
		if err != nil || u.Host == "" {
			return nil, errors.New("the address of the database is not a URL")
		}
		return r.databaseAt("postgres", u), nil
	case "mysql":
		if u, err := url.Parse(strings.TrimPrefix(dsn, "jdbc:")); err == nil && u.Host != "" {
			return r.databaseAt("mysql", u), nil
		}
		m := mysqlDSN.FindStringSubmatch(dsn)
		if m == nil {
			return nil, errors.New("the address of the database is not translated")
		}
		return r.databaseAt("mysql", &url.URL{Host: m[3], Path: "/" + m[4], User: url.UserPassword(m[1], m[2])}), nil
	case "sqlite", "sqlite3":
		file, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(dsn, "jdbc:sqlite:"), "file:"), "?")
		if file == "" || strings.Contains(file, ":memory:") {
			return nil, errors.New("a database in memory has no counterpart")
		}
		return mapping("driver", "sqlite", "database", literal(file)), nil
	}
	return nil, fmt.Errorf("there is no connector for databases of the kind %s", shorten(driver, 30))
}

var mysqlDSN = regexp.MustCompile(`^([^:@/]*):?([^@/]*)@tcp\(([^)]+)\)/([^?]*)`)

func (r *reader) databaseAt(driver string, u *url.URL) *yaml.Node {
	settings := mapping("driver", driver, "host", literal(u.Hostname()))
	var port int
	if _, err := fmt.Sscanf(u.Port(), "%d", &port); err == nil && port > 0 {
		set(settings, "port", port)
	}
	if name := strings.Trim(u.Path, "/"); name != "" {
		set(settings, "database", literal(name))
	}
	if u.User != nil && u.User.Username() != "" {
		set(settings, "user", literal(u.User.Username()))
		if _, ok := u.User.Password(); ok {
			set(settings, "password", r.secret("DATABASE_PASSWORD", "the password of "+u.User.Username()+" at "+u.Host))
		}
	}
	if u.Query().Get("sslmode") == "disable" {
		set(settings, "tls", "none")
	}
	return settings
}

// reads reports whether a statement only reads.
func reads(statement string) bool {
	first, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(statement))+" ", " ")
	return first == "select" || first == "with" || first == "show" || first == "values"
}

// bind replaces the placeholders of a statement (`?`, `$1`) by expressions.
func bind(statement string, args []string) (string, error) {
	var out strings.Builder
	quoted, n := byte(0), 0
	for i := 0; i < len(statement); i++ {
		c := statement[i]
		switch {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quoted = c
		case c == '?':
			n++
			if n > len(args) {
				return "", errors.New("the statement has more placeholders than arguments")
			}
			out.WriteString("${" + args[n-1] + "}")
			continue
		case c == '$' && i+1 < len(statement) && statement[i+1] >= '1' && statement[i+1] <= '9':
			end, at := i+1, 0
			for end < len(statement) && statement[end] >= '0' && statement[end] <= '9' && at < 1000 {
				at = at*10 + int(statement[end]-'0')
				end++
			}
			if at > len(args) {
				return "", errors.New("the statement has more placeholders than arguments")
			}
			out.WriteString("${" + args[at-1] + "}")
			i = end - 1
			continue
		case c == '$' && i+1 < len(statement) && statement[i+1] == '{':
			return "", errors.New("parts of the statement are computed")
		}
		out.WriteByte(c)
	}
	return out.String(), nil
}

// sqlProcessor translates a statement.
func (x *benthos) sqlProcessor(key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	dsn := o.text("dsn", "data_source_name")
	var settings *yaml.Node
	if t, err := x.b.interpolate(dsn, false); err == nil && len(t) == 1 && t[0].expr && t.fixed() {
		settings = mapping("driver", sqlDriver(o.text("driver")), "url", t)
	} else if settings, err = x.database(o.text("driver"), dsn); err != nil {
		return nil, err
	}
	o.get("driver")
	args, err := x.arguments(o.text("args_mapping"))
	if err != nil {
		return nil, err
	}
	columns := func() (list []string) {
		for _, c := range elements(o.get("columns")) {
			list = append(list, c.Value)
		}
		return list
	}
	var statement string
	switch key.Value {
	case "sql_raw":
		statement = o.text("query")
		o.get("exec_only", "unsafe_dynamic_query")
	case "sql_select":
		statement = "select " + strings.Join(columns(), ", ") + " from " + o.text("table")
		if where := o.text("where"); where != "" {
			statement += " where " + where
		}
		if suffix := o.text("suffix"); suffix != "" {
			statement += " " + suffix
		}
	default:
		list := columns()
		if len(args) < len(list) {
			return nil, errors.New("the arguments are not a list of values")
		}
		statement = "insert into " + o.text("table") + " (" + strings.Join(list, ", ") + ") values (" + strings.TrimSuffix(strings.Repeat("?, ", len(list)), ", ") + ")"
		if suffix := o.text("suffix"); suffix != "" {
			statement += " " + suffix
		}
	}
	statement, err = bind(statement, args)
	if err != nil {
		return nil, err
	}
	o.get("conn_max_idle", "conn_max_open", "conn_max_idle_time", "conn_max_life_time", "max_in_flight", "batching", "args_mapping")
	op := "exec"
	if reads(statement) {
		op = "query"
	}
	connection := x.connection("database", "sql", settings)
	return []*yaml.Node{x.step(key, part, nil, "call", connection+"."+op, "with", mapping("sql", statement))}, nil
}

func sqlDriver(driver string) string {
	if driver == "mssql" {
		return "sqlserver"
	}
	return driver
}

// arguments translates `root = [ a, b ]`.
func (x *benthos) arguments(src string) ([]string, error) {
	if strings.TrimSpace(src) == "" {
		return nil, nil
	}
	tokens, err := scan(src)
	if err != nil {
		return nil, err
	}
	p := &parser{dialect: x.b, tokens: tokens, named: map[string]string{}}
	p.skipLines()
	if p.peek().text == "root" {
		p.next()
		if !p.sign("=") {
			return nil, errors.New("the arguments are not a list of values")
		}
		p.skipLines()
	}
	if !p.sign("[") {
		return nil, errors.New("the arguments are not a list of values")
	}
	list, err := p.arguments("[")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range list {
		v, err := p.sub(a)
		if err != nil {
			return nil, err
		}
		out = append(out, v.text)
	}
	return out, nil
}
