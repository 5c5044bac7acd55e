// Package convert turns JSON, XML, CSV and forms into each other, exactly: the
// digits of numbers, the characters of text and the order of keys survive.
//
// JSON text is the data view of every format, so each function reads or
// writes JSON. Every function is strict, bounded in depth, and safe to call
// from many goroutines at once. An error about the input is a *SyntaxError.
package convert

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep objects, arrays and elements may be nested.
const MaxDepth = 512

// MaxElements is how many elements one XML document, and how many fields one
// form, may hold.
const MaxElements = 1_000_000

// SyntaxError tells where an input is not what it says it is. Line and Col
// count from 1, Col in characters; Offset counts bytes from 0. Pointer is the
// RFC 6901 pointer to the value that holds the place.
type SyntaxError struct {
	Line, Col int
	Offset    int
	Pointer   string
	Msg       string
}

// Error prints the place, then what is wrong there.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		if e.Pointer == "" {
			return e.Msg
		}
		return fmt.Sprintf("%s: %s", e.Pointer, e.Msg)
	}
	if e.Pointer == "" {
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Col, e.Msg)
	}
	return fmt.Sprintf("line %d, column %d (%s): %s", e.Line, e.Col, e.Pointer, e.Msg)
}

// errorAt makes the error for the byte at offset.
func errorAt(b []byte, offset int, pointer, format string, args ...any) *SyntaxError {
	offset = min(offset, len(b))
	line, start := 1, 0
	for i, c := range b[:offset] {
		if c == '\n' {
			line, start = line+1, i+1
		}
	}
	return &SyntaxError{
		Line: line, Col: utf8.RuneCount(b[start:offset]) + 1, Offset: offset,
		Pointer: pointer, Msg: fmt.Sprintf(format, args...),
	}
}

// pathError makes the error for a value that has a pointer but no line, as
// when writing another format.
func pathError(path []string, format string, args ...any) *SyntaxError {
	return &SyntaxError{Pointer: pointer(path), Msg: fmt.Sprintf(format, args...)}
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func pointer(path []string) string {
	var p strings.Builder
	for _, name := range path {
		p.WriteByte('/')
		p.WriteString(pointerEscapes.Replace(name))
	}
	return p.String()
}
