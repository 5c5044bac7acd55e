// Package strictyaml parses the supported subset of YAML: the JSON subset without
// tags, anchors and tabs. It reports everything else with its position and a
// hint, and looks for the probable cause of syntax errors.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

// Codes of the problems found by this package.
const (
	CodeNotText      fault.Code = "not-text"
	CodeSyntax       fault.Code = "yaml-syntax"
	CodeTab          fault.Code = "yaml-tab"
	CodeTag          fault.Code = "yaml-tag"
	CodeAnchor       fault.Code = "yaml-anchor"
	CodeMergeKey     fault.Code = "yaml-merge-key"
	CodeDuplicateKey fault.Code = "duplicate-key"
	CodeBadKey       fault.Code = "bad-key"
	CodeTooDeep      fault.Code = "too-deep"
	CodeUnquoted     fault.Code = "unquoted-expression"
)

// MaxDepth is the maximum number of levels of a document.
const MaxDepth = 64

// File is one file.
type File struct {
	Name     string
	Problems fault.Problems // found so far
	Stubs    []Stub         // of the invalid documents

	text   string
	starts []int // offset of each line
	broken bool  // some part is invalid
}

// Read parses a file and returns its documents, even if other documents of the
// file are invalid. The file holds the problems.
func Read(name string, content []byte) (f *File, roots []*yaml.Node) {
	f = &File{Name: name}
	if !f.decode(content) {
		return f, nil
	}
	roots, failed := Parse(f.text)
	if f.broken = failed != nil || scanLines(&File{Name: f.Name, text: f.text, starts: f.starts}).tabs; f.broken {
		f.checkParts()
		roots = f.Documents()
	}
	return f, roots
}

// Report adds a problem, and returns it.
func (s *File) Report(line, col int, code fault.Code, msg, hint string) *fault.Problem {
	p := &fault.Problem{Pos: fault.Pos{File: s.Name, Line: line, Col: col}, Code: code, Msg: msg, Hint: hint}
	s.Problems = append(s.Problems, p)
	return p
}

// Line returns line n, counted from 1, without its line break. It returns "" if
// there is no such line.
func (s *File) Line(n int) string {
	if n < 1 || n > len(s.starts) {
		return ""
	}
	text := s.text[s.starts[n-1]:]
	if n < len(s.starts) {
		text = s.text[s.starts[n-1]:s.starts[n]]
	}
	return strings.TrimRight(text, "\r\n")
}

// decode sets the text of the file, and reports whether it is valid UTF-8 text.
func (s *File) decode(content []byte) bool {
	if bytes.HasPrefix(content, []byte{0xff, 0xfe}) || bytes.HasPrefix(content, []byte{0xfe, 0xff}) {
		s.Report(1, 1, CodeNotText, "the file is UTF-16", "save it as UTF-8")
		return false
	}
	s.text = string(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")))
	s.index()
	for i := 0; i < len(s.text); {
		r, n := utf8.DecodeRuneInString(s.text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			line, col := s.at(i)
			s.Report(line, col, CodeNotText, "the file is not UTF-8: the byte 0x"+strconv.FormatUint(uint64(s.text[i]), 16)+" is invalid", "save it as UTF-8")
			return false
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85, r == 0xfeff, r == 0xfffe, r == 0xffff:
			line, col := s.at(i)
			s.Report(line, col, CodeNotText, fmt.Sprintf("the character U+%04X is not allowed in YAML", r), "remove it, or write it as an escape in double quotes, such as \"\\u0000\"")
			return false
		}
		i += n
	}
	return true
}

// index computes the offsets of the lines.
func (s *File) index() {
	s.starts = append(s.starts, 0)
	for i := 0; i < len(s.text); i++ {
		if s.text[i] == '\n' || s.text[i] == '\r' && !strings.HasPrefix(s.text[i+1:], "\n") {
			s.starts = append(s.starts, i+1)
		}
	}
}

// at returns the line and the column of an offset.
func (s *File) at(offset int) (line, col int) {
	line = len(s.starts)
	for i, start := range s.starts {
		if start > offset {
			line = i
			break
		}
	}
	return line, utf8.RuneCountInString(s.text[s.starts[line-1]:offset]) + 1
}

// SyntaxError is an error of the YAML parser.
type SyntaxError struct {
	Line int // 0 if unknown
	Msg  string
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// Parse parses a text and returns its documents up to the first syntax error.
func Parse(text string) (roots []*yaml.Node, failed *SyntaxError) {
	defer func() {
		if r := recover(); r != nil { // the parser panics on some invalid input
			failed = &SyntaxError{Msg: "the text cannot be parsed"}
		}
	}()
	d := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(err.Error())
			line, _ := strconv.Atoi(m[1])
			return roots, &SyntaxError{Line: line, Msg: strings.TrimPrefix(err.Error(), m[0])}
		}
		if len(doc.Content) == 1 {
			roots = append(roots, doc.Content[0])
		}
	}
}
