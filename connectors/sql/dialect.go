package sql

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// dialect holds the differences between the databases.
type dialect struct {
	quote byte // of names
	// param returns the n-th bind parameter for a value, and the argument.
	param func(n int, v any) (text string, arg any)
	// emptyIn returns the replacement of `in (…)`, or `not in (…)`, with an empty
	// list.
	emptyIn func(not bool) string
	// column returns a value of a result as a document value.
	column func(typ string, v any) any
	// exact returns a value of a result as one that can be bound again. nil is
	// column.
	exact func(typ string, v any) any
	// claim returns the texts before the condition and after the order of a query
	// that locks at most n rows of a table which are not locked.
	claim func(table string, n int) (before, after string)
	// rollsBack says that there are no read-only transactions: the writes of a query
	// are rolled back.
	rollsBack bool
	// unordered says that a derived table has no order.
	unordered bool
	// claimsAll says that a claim excludes all other writers.
	claimsAll bool
	// call calls a procedure and returns its document. nil: there are none.
	call func(ctx context.Context, c *connection, tx *work, p *procedureCall) ([]byte, error)
	// pipeline runs a statement with each of several arguments, and calls affected
	// with the number of rows of each. nil: one after the other is as fast.
	pipeline func(ctx context.Context, tx *work, text string, args [][]any, affected func(n int64) error) error
	// state returns the SQLSTATE of an error and whether another attempt may
	// succeed. ok is false if the error does not come from the database.
	state func(err error) (code string, retryable, ok bool)
	// doneTable is the DDL of the table for `once: true`.
	doneTable string
	// noTable is the SQLSTATE of a missing table. If it is empty, tables is a
	// query that returns a row if the table for `once: true` is there.
	noTable string
	tables  string
	// remember inserts a key into the table unless it is there.
	remember  string
	hasLastID bool
	// writable returns the statement that allows or forbids writing on a
	// connection. It is nil if read-only transactions do that.
	writable func(bool) string
}

var dialects = map[string]*dialect{driverPostgres: &postgres, driverMySQL: &mySQL, driverSQLite: &sqlite, driverSQLServer: &sqlServer, driverOracle: &oracle}

// skipLocked is the claim of PostgreSQL and MariaDB.
func skipLocked(table string, n int) (before, after string) {
	return "select * from " + table, " limit " + strconv.Itoa(n) + " for update skip locked"
}

// name quotes a name, such as public.orders.
func (d *dialect) name(name string) (string, error) {
	if name == "" || strings.ContainsRune(name, 0) {
		return "", errors.New("a table or column needs a name")
	}
	parts := strings.Split(name, ".")
	for i, p := range parts {
		if p == "" {
			return "", errors.New("the name " + strconv.Quote(spec.Clip(name)) + " has an empty part")
		}
		q := string(d.quote)
		parts[i] = q + strings.ReplaceAll(p, q, q+q) + q
	}
	return strings.Join(parts, "."), nil
}

// names quotes columns.
func (d *dialect) names(names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, n := range names {
		quoted, err := d.name(strings.ReplaceAll(n, ".", "\x00"))
		if err != nil {
			return nil, errors.New("the column " + strconv.Quote(spec.Clip(n)) + " is not a valid name")
		}
		out[i] = quoted
	}
	return out, nil
}

// render returns the text of a statement for the database, and its arguments.
func (d *dialect) render(texts []string, values []any) (string, []any, error) {
	if len(texts) != len(values)+1 {
		return "", nil, badCall("the statement needs %d values, got %d", len(texts)-1, len(values))
	}
	var b strings.Builder
	closing := false // the next text begins with a parenthesis that is left out
	args := make([]any, 0, len(values))
	add := func(v any) error {
		v, err := plain(v)
		if err != nil {
			return err
		}
		text, arg := d.param(len(args)+1, v)
		b.WriteString(text)
		args = append(args, arg)
		return nil
	}
	for i, text := range texts {
		if closing {
			text, closing = strings.TrimLeft(text, " \t\r\n")[1:], false
		}
		if i == len(values) {
			b.WriteString(text)
			break
		}
		list, isList := document.Decode(values[i]).([]any)
		open, not := inList(text, texts[i+1])
		switch {
		case !isList || open < 0:
			b.WriteString(text)
			if err := add(values[i]); err != nil {
				return "", nil, err
			}
		case len(list) == 0:
			b.WriteString(text[:open])
			b.WriteString(d.emptyIn(not))
			closing = true
		default:
			b.WriteString(text)
			for j, e := range list {
				if j > 0 {
					b.WriteString(", ")
				}
				if err := add(e); err != nil {
					return "", nil, err
				}
			}
		}
	}
	return b.String(), args, nil
}

// inList returns the offset of `in (` or `not in (` at the end of a text, if the
// next one closes the parenthesis, and otherwise -1.
func inList(text, next string) (at int, not bool) {
	if !strings.HasPrefix(strings.TrimLeft(next, " \t\r\n"), ")") {
		return -1, false
	}
	rest, ok := strings.CutSuffix(strings.TrimRight(text, " \t\r\n"), "(")
	if !ok {
		return -1, false
	}
	rest, ok = cutWord(rest, "in")
	if !ok {
		return -1, false
	}
	if before, ok := cutWord(rest, "not"); ok {
		return len(before), true
	}
	return len(rest), false
}

// cutWord removes a word from the end of a text.
func cutWord(text, word string) (string, bool) {
	trimmed := strings.TrimRight(text, " \t\r\n")
	if len(trimmed) <= len(word) || !strings.EqualFold(trimmed[len(trimmed)-len(word):], word) {
		return text, false
	}
	rest := trimmed[:len(trimmed)-len(word)]
	if c := rest[len(rest)-1]; c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80 {
		return text, false
	}
	return rest, true
}

// plain returns a value as nil, bool, document.Number, string or []byte: a file
// as its bytes, other lists and objects as JSON text.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string, []byte, document.Number:
		return v, nil
	}
	content, _, isFile, err := document.File(v)
	if err != nil {
		return nil, badCall("a value is not a valid file: %v", err)
	}
	if isFile {
		return content, nil
	}
	return string(document.AppendJSON(nil, v)), nil
}

// number returns a number as the narrowest type that holds it exactly, or as
// text. Other values are returned unchanged.
func number(v any) any {
	n, ok := v.(document.Number)
	if !ok {
		return v
	}
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i
	}
	return string(n)
}

func badCall(format string, args ...any) *fault.Failure {
	f := fault.Failf(CodeBadCall, format, args...)
	f.Source = fault.FromConnector
	return f
}
