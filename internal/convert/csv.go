package convert

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CSVToJSON converts a table (RFC 4180) to a list of objects with the names of
// the first row, or without header to a list of lists. Values are text exactly
// as written, including line breaks in quotes. Lines end with LF, CRLF or CR; a
// byte order mark and empty lines are skipped. If delimiter is 0, it is a
// comma.
//
// Bare quotes, rows longer or shorter than the header, and empty or duplicate
// header names are errors. So is an unquoted first row of one field that contains
// another common delimiter: the table probably has that one.
//
// Like all conversions, it stops when ctx ends, and reserves the memory of its
// result in the budget of ctx.
func CSVToJSON(ctx context.Context, b []byte, header bool, delimiter rune) ([]byte, error) {
	sep, err := checkDelimiter(delimiter)
	if err != nil {
		return nil, err
	}
	if err := checkUTF8(b); err != nil {
		return nil, err
	}
	r := &csvReader{src: b, at: len(b) - len(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))), sep: sep}
	var names []string
	m := newMeter(ctx, len(b))
	if err := m.use(2 * len(b)); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, 2*len(b)), '[')
	defer m.finish()
	for row := 0; ; {
		fields, err := r.record()
		if err != nil {
			return nil, err
		}
		if fields == nil {
			break
		}
		if header && names == nil {
			if names, err = r.header(fields); err != nil {
				return nil, err
			}
			continue
		}
		if !header && row == 0 {
			if err := r.single(fields, "the first row has a single field, which"); err != nil {
				return nil, err
			}
		}
		if header && len(fields) != len(names) {
			return nil, syntaxError(b, r.start, "/"+strconv.Itoa(row), "the row has %d fields, but the header has %d", len(fields), len(names))
		}
		if row++; row > 1 {
			out = append(out, ',')
		}
		out = appendRow(out, names, fields)
		if err := m.wrote(len(out)); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

func appendRow(dst []byte, names, fields []string) []byte {
	open, end := byte('['), byte(']')
	if names != nil {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		if names != nil {
			dst = append(appendText(dst, names[i]), ':')
		}
		dst = appendText(dst, f)
	}
	return append(dst, end)
}

func checkDelimiter(d rune) (string, error) {
	switch {
	case d == 0:
		return ",", nil
	case d == '"' || d == '\r' || d == '\n' || d == utf8.RuneError || !utf8.ValidRune(d):
		return "", &SyntaxError{Msg: strconv.QuoteRune(d) + " is not a valid CSV delimiter"}
	}
	return string(d), nil
}

type csvReader struct {
	src    []byte
	at     int
	start  int // of the current row
	sep    string
	fields []string
}

// record returns the next row, or nil at the end. The slice is reused.
func (r *csvReader) record() ([]string, error) {
	for r.at < len(r.src) && r.lineEnd() > 0 {
		r.at += r.lineEnd()
	}
	if r.at == len(r.src) {
		return nil, nil
	}
	r.start, r.fields = r.at, r.fields[:0]
	for {
		field, err := r.field()
		if err != nil {
			return nil, err
		}
		r.fields = append(r.fields, field)
		if r.at == len(r.src) {
			return r.fields, nil
		}
		if n := r.lineEnd(); n > 0 {
			r.at += n
			return r.fields, nil
		}
		r.at += len(r.sep)
	}
}

// lineEnd returns the length of the line ending at the current position, or 0.
func (r *csvReader) lineEnd() int {
	switch {
	case r.src[r.at] == '\n':
		return 1
	case r.src[r.at] == '\r' && r.at+1 < len(r.src) && r.src[r.at+1] == '\n':
		return 2
	case r.src[r.at] == '\r':
		return 1
	}
	return 0
}

// field reads up to the next delimiter, line ending or the end of input.
func (r *csvReader) field() (string, error) {
	if r.at < len(r.src) && r.src[r.at] == '"' {
		return r.quoted()
	}
	start := r.at
	for r.at < len(r.src) && r.lineEnd() == 0 && !bytes.HasPrefix(r.src[r.at:], []byte(r.sep)) {
		if r.src[r.at] == '"' {
			return "", syntaxError(r.src, r.at, "", "unexpected quote in an unquoted field: quote the whole field and double the quotes in it")
		}
		r.at++
	}
	return string(r.src[start:r.at]), nil
}

func (r *csvReader) quoted() (string, error) {
	start := r.at
	for r.at++; ; {
		n := bytes.IndexByte(r.src[r.at:], '"')
		if n < 0 {
			return "", syntaxError(r.src, start, "", "unterminated quoted field")
		}
		r.at += n + 1
		if r.at < len(r.src) && r.src[r.at] == '"' {
			r.at++
			continue
		}
		if r.at < len(r.src) && r.lineEnd() == 0 && !bytes.HasPrefix(r.src[r.at:], []byte(r.sep)) {
			return "", syntaxError(r.src, r.at, "", "unexpected %s after a quoted field", quoteAt(r.src, r.at))
		}
		return strings.ReplaceAll(string(r.src[start+1:r.at-1]), `""`, `"`), nil
	}
}

// otherDelimiters are the delimiters that a first row with a single field
// probably has if it contains one.
const otherDelimiters = ",;\t|"

// single returns an error if the current row has one unquoted field that
// contains another delimiter.
func (r *csvReader) single(fields []string, subject string) error {
	if len(fields) != 1 || r.src[r.start] == '"' {
		return nil
	}
	if i := strings.IndexAny(fields[0], otherDelimiters); i >= 0 {
		return syntaxError(r.src, r.start+i, "", "%s contains %q: set the delimiter to that, or write the field in quotes", subject, fields[0][i:i+1])
	}
	return nil
}

func (r *csvReader) header(fields []string) ([]string, error) {
	if err := r.single(fields, "the header has a single column, whose name"); err != nil {
		return nil, err
	}
	for i, name := range fields {
		if name == "" {
			return nil, syntaxError(r.src, r.start, "", "column %d of the header has no name", i+1)
		}
	}
	seen := make(map[string]bool, len(fields))
	for _, name := range fields {
		if seen[name] {
			return nil, syntaxError(r.src, r.start, "", "duplicate column name %q in the header", clip(name))
		}
		seen[name] = true
	}
	return slices.Clone(fields), nil
}

// JSONToCSV converts a list to a table (RFC 4180) with CRLF line endings. Rows
// are objects, whose columns are all keys in order of first appearance, or
// without header lists. Numbers and booleans are written as they are, null and
// missing keys as empty fields. A list or an object within a field is an error.
func JSONToCSV(ctx context.Context, data string, header bool, delimiter rune) ([]byte, error) {
	sep, err := checkDelimiter(delimiter)
	if err != nil {
		return nil, err
	}
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	if v.kind() != jsonArray {
		return nil, pathError(nil, "CSV needs a list of objects or a list of lists")
	}
	w := &csvWriter{sep: sep, column: map[string]int{}, meter: newMeter(ctx, len(data))}
	defer w.meter.finish()
	if err := w.columns(v, header); err != nil {
		return nil, err
	}
	if header && len(w.names) > 0 {
		w.row(w.names)
	}
	if err := w.rows(v); err != nil {
		return nil, err
	}
	return w.out, nil
}

type csvWriter struct {
	out    []byte
	sep    string
	names  []string
	column map[string]int
	meter  *meter
}

// columns collects the column names and checks the types of the rows.
func (w *csvWriter) columns(v value, header bool) error {
	i, first := 0, kind(0)
	return v.each(func(_ string, row value) error {
		k := row.kind()
		if i == 0 {
			first = k
		}
		path := []string{strconv.Itoa(i)}
		i++
		switch {
		case k != jsonObject && k != jsonArray:
			return pathError(path, "a CSV row must be an object or a list")
		case k == jsonArray && header:
			return pathError(path, "with a header the rows must be objects, whose keys name the columns")
		case k != first:
			return pathError(path, "the rows must be all objects or all lists")
		case k == jsonArray:
			return nil
		}
		return row.each(func(name string, _ value) error {
			if _, ok := w.column[name]; ok {
				return nil
			}
			if name == "" && header {
				return pathError(append(path, name), "a column must have a name")
			}
			w.column[name] = len(w.names)
			w.names = append(w.names, name)
			return nil
		})
	})
}

func (w *csvWriter) rows(v value) error {
	i := 0
	var fields []string // reused
	return v.each(func(_ string, row value) error {
		if err := w.meter.wrote(len(w.out) + len(w.names)); err != nil {
			return err
		}
		fields = append(fields[:0], make([]string, len(w.names))...)
		j := 0
		err := row.each(func(name string, f value) error {
			if k := f.kind(); k == jsonObject || k == jsonArray {
				if row.kind() == jsonArray {
					name = strconv.Itoa(j)
				}
				return pathError([]string{strconv.Itoa(i), name}, "a CSV field cannot contain a list or an object")
			}
			if row.kind() == jsonArray {
				fields = append(fields, f.text())
			} else {
				fields[w.column[name]] = f.text()
			}
			j++
			return nil
		})
		i++
		w.row(fields)
		return err
	})
}

func (w *csvWriter) row(fields []string) {
	for i, f := range fields {
		if i > 0 {
			w.out = append(w.out, w.sep...)
		}
		quote := strings.ContainsAny(f, "\"\r\n") || strings.Contains(f, w.sep) ||
			f == "" && len(fields) == 1 || strings.HasPrefix(f, " ") || strings.HasSuffix(f, " ") ||
			i == 0 && len(w.out) == 0 && (strings.HasPrefix(f, "\ufeff") || len(fields) == 1 && strings.ContainsAny(f, otherDelimiters))
		if !quote {
			w.out = append(w.out, f...)
			continue
		}
		w.out = append(w.out, '"')
		w.out = append(w.out, strings.ReplaceAll(f, `"`, `""`)...)
		w.out = append(w.out, '"')
	}
	w.out = append(w.out, '\r', '\n')
}
