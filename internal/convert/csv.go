package convert

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CSVToJSON reads a table by RFC 4180: a list of objects by the names in the
// first row, or, without header, a list of lists. Every value is text exactly
// as it stands, line breaks in quotes included. Lines end in LF or CRLF, a byte
// order mark is skipped, empty lines are left out. delimiter 0 is a comma.
//
// Bare quotes, rows longer or shorter than the header, and headers that are
// empty or there twice are errors.
func CSVToJSON(b []byte, header bool, delimiter rune) ([]byte, error) {
	sep, err := checkDelimiter(delimiter)
	if err != nil {
		return nil, err
	}
	src := b
	if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		src = b[3:]
	}
	if !utf8.Valid(src) {
		at := 0
		for r, n := utf8.DecodeRune(src); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(src[at:]) {
			at += n
		}
		return nil, errorAt(b, len(b)-len(src)+at, "", "byte 0x%02x is not UTF-8", src[at])
	}
	r := &csvReader{src: b, at: len(b) - len(src), sep: sep}
	var names []string
	out := append(make([]byte, 0, 2*len(b)), '[')
	for row := 0; ; {
		start := r.at
		fields, err := r.record()
		if err != nil {
			return nil, err
		}
		if fields == nil {
			break
		}
		if header && names == nil {
			if names, err = r.header(start, fields); err != nil {
				return nil, err
			}
			continue
		}
		if header && len(fields) != len(names) {
			return nil, errorAt(b, start, "/"+strconv.Itoa(row), "the row has %d fields, the header %d", len(fields), len(names))
		}
		if row++; row > 1 {
			out = append(out, ',')
		}
		out = appendRow(out, names, fields)
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
		return "", &SyntaxError{Msg: strconv.QuoteRune(d) + " cannot delimit the fields of CSV"}
	}
	return string(d), nil
}

type csvReader struct {
	src    []byte
	at     int
	sep    string
	fields []string
}

// record gives the next row, nil at the end. The slice is reused.
func (r *csvReader) record() ([]string, error) {
	for r.at < len(r.src) && r.lineEnd() > 0 {
		r.at += r.lineEnd()
	}
	if r.at == len(r.src) {
		return nil, nil
	}
	r.fields = r.fields[:0]
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

// lineEnd is the length of the line end that stands here, 0 if there is none.
func (r *csvReader) lineEnd() int {
	switch {
	case r.src[r.at] == '\n':
		return 1
	case r.src[r.at] == '\r' && r.at+1 < len(r.src) && r.src[r.at+1] == '\n':
		return 2
	case r.src[r.at] == '\r' && r.at+1 == len(r.src):
		return 1
	}
	return 0
}

// field reads up to the next delimiter, line end or end.
func (r *csvReader) field() (string, error) {
	if r.at < len(r.src) && r.src[r.at] == '"' {
		return r.quoted()
	}
	start := r.at
	for r.at < len(r.src) && r.lineEnd() == 0 && !bytes.HasPrefix(r.src[r.at:], []byte(r.sep)) {
		if r.src[r.at] == '"' {
			return "", errorAt(r.src, r.at, "", "a quote inside a field that does not start with one: quote the whole field and double the quote")
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
			return "", errorAt(r.src, start, "", "the quoted field that starts here has no end")
		}
		r.at += n + 1
		if r.at < len(r.src) && r.src[r.at] == '"' {
			r.at++
			continue
		}
		if r.at < len(r.src) && r.lineEnd() == 0 && !bytes.HasPrefix(r.src[r.at:], []byte(r.sep)) {
			return "", errorAt(r.src, r.at, "", "%s follows a quoted field", quoteAt(r.src, r.at))
		}
		return strings.ReplaceAll(string(r.src[start+1:r.at-1]), `""`, `"`), nil
	}
}

func (r *csvReader) header(start int, fields []string) ([]string, error) {
	for i, name := range fields {
		if name == "" {
			return nil, errorAt(r.src, start, "", "column %d of the header has no name", i+1)
		}
	}
	seen := make(map[string]bool, len(fields))
	for _, name := range fields {
		if seen[name] {
			return nil, errorAt(r.src, start, "", "the header has %q twice", clip(name))
		}
		seen[name] = true
	}
	return slices.Clone(fields), nil
}

// JSONToCSV writes a list as a table by RFC 4180, lines ended by CRLF. The rows
// are objects, whose columns are all keys in the order they first appear, or,
// without header, lists. Numbers and booleans are written as they stand, null
// and missing keys as empty fields. A list or an object in a field is an error.
func JSONToCSV(data string, header bool, delimiter rune) ([]byte, error) {
	sep, err := checkDelimiter(delimiter)
	if err != nil {
		return nil, err
	}
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	if v.kind() != jsonArray {
		return nil, pathError(nil, "CSV is written from a list of objects or of lists")
	}
	w := &csvWriter{sep: sep, column: map[string]int{}}
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
}

// columns collects the names of the columns and checks the kinds of the rows.
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
			return pathError(path, "a row of CSV is written from an object or a list")
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
	return v.each(func(_ string, row value) error {
		fields := make([]string, len(w.names))
		j := 0
		err := row.each(func(name string, f value) error {
			if k := f.kind(); k == jsonObject || k == jsonArray {
				if row.kind() == jsonArray {
					name = strconv.Itoa(j)
				}
				return pathError([]string{strconv.Itoa(i), name}, "a list or an object does not fit into a field of CSV")
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
			i == 0 && len(w.out) == 0 && strings.HasPrefix(f, "\ufeff")
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
