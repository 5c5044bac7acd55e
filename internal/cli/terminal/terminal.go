// Package terminal is how commands read input and print output: streams,
// tables, JSON, progress, documents and times.
package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Streams are the standard streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// PrintJSON prints JSON text indented, with its numbers and keys unchanged.
func PrintJSON(w io.Writer, text []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(text), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// EncodeJSON prints a value as indented JSON.
func EncodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Count returns a number with its noun: 1 file, 2 files.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Indent indents every line by four spaces.
func Indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// Field returns the line of a named value. Further lines of the value are
// indented, so that they do not look like other fields.
func Field(name, value string) string {
	return fmt.Sprintf("%-12s %s\n", Line(name), strings.ReplaceAll(value, "\n", "\n             "))
}

// plainWord matches a path that a shell reads as one word.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./][A-Za-z0-9_@%+=:,./-]*$`)

// ChangeDir returns the shell command that changes to a folder.
func ChangeDir(path string) string {
	path = RelativePath(path)
	if !plainWord.MatchString(path) {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
		if strings.HasPrefix(path, "'-") {
			path = "./" + path
		}
	}
	return "cd " + path
}

// RelativePath returns path relative to the working directory, if it is below it.
func RelativePath(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}
