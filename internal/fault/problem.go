// Package fault holds what can be wrong: Problem for a mistake in a user's
// file, Failure for a step or a call that failed while running.
package fault

import (
	"fmt"
	"sort"
	"strings"
)

// Pos is a place in a user's file. Line and Col count from 1; zero means the
// whole file.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"column,omitempty"`
}

// String prints the place the way editors jump to: file:line:col.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Code names a kind of problem. Codes are stable: tools and documents refer to them.
type Code string

// Severity tells whether a problem stops a project from being used.
type Severity int

// The severities. The zero value is Error, so that nothing is weakened by omission.
const (
	Error Severity = iota
	Warning
)

// String is "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Problem is one mistake in a user's file. It prints as a line an editor can
// jump to, and says what to do next.
type Problem struct {
	Pos
	Severity Severity
	Code     Code
	Msg      string
	Hint     string
}

// Error prints "file:line:col: error: msg [code]" and, on a line of its own, the hint.
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

// Problems is all that is wrong with a project, reported at once.
type Problems []*Problem

// Error prints every problem, one after the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// HasErrors reports whether one of them is more than a warning.
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
