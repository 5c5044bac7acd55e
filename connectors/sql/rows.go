package sql

import (
	"database/sql"
	"encoding/base64"
	"math"
	"slices"
	"strconv"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// maxResult is the maximum size of a result as JSON.
const maxResult = 64 << 20

// reader reads the rows of a result as JSON objects.
type reader struct {
	rows    *sql.Rows
	dialect *dialect
	plain   []string // the names of the columns
	names   [][]byte // as JSON with a colon
	types   []string
	values  []any
	into    []any
}

func (d *dialect) reader(rows *sql.Rows) (*reader, error) {
	columns, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	r := &reader{rows: rows, dialect: d, values: make([]any, len(columns)), into: make([]any, len(columns))}
	seen := map[string]bool{}
	for i, column := range columns {
		name := column.Name()
		if seen[name] {
			return nil, badCall("the result has two columns called %q; name them with `as`", spec.Clip(name))
		}
		seen[name] = true
		r.plain = append(r.plain, name)
		r.names = append(r.names, append(document.AppendString(nil, name), ':'))
		r.types = append(r.types, column.DatabaseTypeName())
		r.into[i] = &r.values[i]
	}
	return r, nil
}

// column returns the index of a column, or -1.
func (r *reader) column(name string) int { return slices.Index(r.plain, name) }

// bindable returns a value of the present row as one that dialect.render binds
// as the same value.
func (r *reader) bindable(i int) any {
	v := r.values[i]
	if f := r.dialect.exact; f != nil {
		v = f(r.types[i], v)
	} else {
		v = r.dialect.column(r.types[i], v)
	}
	switch x := v.(type) {
	case nil, bool, string, []byte, document.Number:
		return v
	case int64:
		return integer(x)
	}
	return document.Decode(document.Raw(appendValue(nil, v)))
}

// next appends the next row. more is false after the last one.
func (r *reader) next(dst []byte) (_ []byte, more bool, err error) {
	if !r.rows.Next() {
		return dst, false, r.rows.Err()
	}
	if err := r.rows.Scan(r.into...); err != nil {
		return dst, false, err
	}
	dst = append(dst, '{')
	for i, v := range r.values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, r.names[i]...)
		dst = appendValue(dst, r.dialect.column(r.types[i], v))
	}
	return append(dst, '}'), true, nil
}

// all appends the remaining rows as a list of at most limit rows.
func (r *reader) all(dst []byte, limit int) ([]byte, error) {
	dst = append(dst, '[')
	for n := 0; ; n++ {
		before := len(dst)
		if n > 0 {
			dst = append(dst, ',')
		}
		var more bool
		var err error
		if dst, more, err = r.next(dst); err != nil {
			return nil, err
		}
		switch {
		case !more:
			return append(dst[:before], ']'), nil
		case n == limit:
			return nil, &fault.Failure{Code: CodeTooMany, Source: fault.FromConnector, Message: "the query has more than " + strconv.Itoa(limit) + " rows; add a limit to it, or raise max_rows"}
		case len(dst) > maxResult:
			return nil, &fault.Failure{Code: fault.CodeTooLarge, Source: fault.FromConnector, Message: "the result exceeds 64 MiB; read fewer rows or columns"}
		}
	}
}

// appendValue appends a value of a column as JSON.
func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case []byte:
		dst = append(dst, `{"raw":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, `","encoding":"base64"}`...)
	}
	return document.AppendJSON(dst, v)
}

// float returns a floating-point number as the shortest number that is read as
// the same one, and infinities and NaN as text.
func float(f float64, bits int) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, bits)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return document.Number(strconv.FormatFloat(f, format, -1, bits))
}

// decimal returns the text of a number as a number, if it is one in JSON.
func decimal(s string) any {
	if spec.IsNumber(s) {
		return document.Number(s)
	}
	return s
}
