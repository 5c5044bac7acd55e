// Package fault defines errors for users: Problem for a mistake in a file, and
// Failure for a step or call that failed at run time.
package fault

import (
	"fmt"
	"sort"
	"strings"
)

// Pos is a position in a file. Line and Col count from 1; zero means the whole
// file.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"column,omitempty"`
}

// String returns the position as file:line:col.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Code identifies a kind of problem. Codes are stable.
type Code string

// Severity is the severity of a problem. A project with errors cannot be used.
type Severity int

// The severities. The zero value is Error.
const (
	Error Severity = iota
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Problem is one mistake in a file, with a hint how to fix it.
type Problem struct {
	Pos
	Severity Severity
	Code     Code
	Msg      string
	Hint     string
	Fix      Edit // empty if there is no correction of the line
	Secret   bool // the line shows a secret, from the position on
}

// Edit corrects a line: New replaces Old, which contains the position of the
// problem or follows it.
type Edit struct{ Old, New string }

// Apply returns the line with the correction. col is the position of the
// problem, counted from 1. It returns "" if there is no correction of this line.
func (e Edit) Apply(line string, col int) string {
	if e.Old == "" || e.Old == e.New {
		return ""
	}
	at := offsetOf(line, col)
	for from := 0; from <= len(line); {
		i := strings.Index(line[from:], e.Old)
		if i < 0 {
			return ""
		}
		if i += from; i+len(e.Old) > at {
			return line[:i] + e.New + line[i+len(e.Old):]
		}
		from = i + 1
	}
	return ""
}

// Correct adds the correction of a word, unless corrected is empty.
func (p *Problem) Correct(word, corrected string) {
	if corrected != "" {
		p.Fix = Edit{Old: word, New: corrected}
	}
}

// offsetOf returns the byte offset of a column, which counts characters from 1.
func offsetOf(line string, col int) int {
	for i := range line {
		if col--; col < 1 {
			return i
		}
	}
	return len(line)
}

// Error returns "file:line:col: error: msg [code]", and the hint on a second line.
func (p *Problem) Error() string {
	var b strings.Builder
	if at := p.Pos.String(); at != "" {
		b.WriteString(at)
		b.WriteString(": ")
	}
	fmt.Fprintf(&b, "%s: %s [%s]", p.Severity, p.Msg, p.Code)
	if p.Hint != "" {
		b.WriteString("\n    try: ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

// Problems is a list of problems.
type Problems []*Problem

// Error returns all problems, one after the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// HasErrors reports whether any problem is an error.
func (ps Problems) HasErrors() bool {
	for _, p := range ps {
		if p.Severity == Error {
			return true
		}
	}
	return false
}

// Sort orders the problems by file, line and column, errors before warnings.
func (ps Problems) Sort() {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		if a.Col != b.Col {
			return a.Col < b.Col
		}
		return a.Severity < b.Severity
	})
}
