// Package strictyaml reads files of the YAML that the language takes: the JSON
// subset, without tags, anchors and tabs. What it refuses it shows where it
// is, and says what to do about it, as far as that can be told from a text
// that a parser gives up on.
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

// Codes of the problems that this package finds.
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

// MaxDepth is how many levels a document may have.
const MaxDepth = 64

// File is one file.
type File struct {
	Name     string
	Problems fault.Problems // found so far
	Stubs    []Stub         // of the documents that cannot be read

	text   string
	starts []int // offset of each line
	broken bool  // not all of it is YAML without tabs
}

// Read reads a file and gives its documents, those between others that cannot
// be read too. What is wrong is in its Problems.
func Read(name string, content []byte) (f *File, roots []*yaml.Node) {
	f = &File{Name: name}
	if !f.decode(content) {
		return f, nil
	}
	roots, failed := Parse(f.text)
	if f.broken = failed != nil || scanLines(&File{Name: f.Name, text: f.text, starts: f.starts}).tabs; f.broken {
		f.apart()
		roots = f.Documents()
	}
	return f, roots
}

// Report notes a problem.
func (s *File) Report(line, col int, code fault.Code, msg, hint string) {
	s.Problems = append(s.Problems, &fault.Problem{Pos: fault.Pos{File: s.Name, Line: line, Col: col}, Code: code, Msg: msg, Hint: hint})
}

// Line gives the n-th line, from 1, without its end; "" beyond the file.
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

// decode checks that the content is text that can be read.
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
			s.Report(line, col, CodeNotText, "the file is not UTF-8: the byte 0x"+strconv.FormatUint(uint64(s.text[i]), 16)+" cannot stand here", "save it as UTF-8")
			return false
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85, r == 0xfeff, r == 0xfffe, r == 0xffff:
			line, col := s.at(i)
			s.Report(line, col, CodeNotText, fmt.Sprintf("the character U+%04X cannot stand in YAML", r), "remove it, or write it in double quotes as an escape: \"\\u0000\"")
			return false
		}
		i += n
	}
	return true
}

// index finds where the lines begin.
func (s *File) index() {
	s.starts = append(s.starts, 0)
	for i := 0; i < len(s.text); i++ {
		if s.text[i] == '\n' || s.text[i] == '\r' && !strings.HasPrefix(s.text[i+1:], "\n") {
			s.starts = append(s.starts, i+1)
		}
	}
}

// at gives the line and the column of an offset.
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

// SyntaxError is what the YAML parser says.
type SyntaxError struct {
	Line int // 0 if it does not say
	Msg  string
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// Parse gives the documents of a text, those before a syntax error too.
func Parse(text string) (roots []*yaml.Node, failed *SyntaxError) {
	defer func() {
		if r := recover(); r != nil { // the parser has met something that its authors have not
			failed = &SyntaxError{Msg: "this cannot be read as YAML"}
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
