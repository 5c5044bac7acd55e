package terminal

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Table prints rows in aligned columns.
type Table struct {
	Head []string
	rows [][]string
}

// Add appends a row, which must have as many cells as the head.
func (t *Table) Add(cells ...string) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = Line(cell)
	}
	t.rows = append(t.rows, row)
}

// Print prints the head and the rows.
func (t *Table) Print(w io.Writer) error { return t.write(w, append([][]string{t.Head}, t.rows...)) }

// PrintRows prints the rows without the head.
func (t *Table) PrintRows(w io.Writer) error { return t.write(w, t.rows) }

func (t *Table) write(w io.Writer, rows [][]string) error {
	width := make([]int, len(t.Head))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Truncate shortens text to one line of at most n characters.
func Truncate(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
