// Package convert converts between JSON, XML, CSV and forms without loss: the
// digits of numbers, the characters of text and the order of keys are
// preserved.
//
// The data view of every format is JSON text, so each function reads or writes
// JSON. All functions are strict, bounded in depth and safe for concurrent use.
// Errors about the input are *SyntaxErrors.
//
// Time and memory are linear in the input. A conversion checks its context
// about every 64 KiB and reserves the memory it uses in the budget.Share of the
// context, if there is one.
package convert

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth limits the nesting of objects, arrays and elements.
const MaxDepth = 512

// MaxElements limits the elements and attributes of an XML document and the
// fields of a form.
const MaxElements = 1_000_000

// MaxAttributes limits the attributes of one XML element.
const MaxAttributes = 1000

// SyntaxError reports invalid input and its position. Line and Col count from
// 1, Col in characters; Offset counts bytes from 0. Pointer is the RFC 6901
// pointer to the enclosing value.
type SyntaxError struct {
	Line, Col int
	Offset    int
	Pointer   string
	Msg       string
}

// Error returns the position followed by the message.
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

// syntaxError returns an error for the byte at offset.
func syntaxError(b []byte, offset int, pointer, format string, args ...any) *SyntaxError {
	offset = min(offset, len(b))
	line, start := 1, 0
	for i, c := range b[:offset] {
		if c == '\n' || c == '\r' && (i+1 == len(b) || b[i+1] != '\n') {
			line, start = line+1, i+1
		}
	}
	return &SyntaxError{
		Line: line, Col: utf8.RuneCount(b[start:offset]) + 1, Offset: offset,
		Pointer: pointer, Msg: fmt.Sprintf(format, args...),
	}
}

// pathError returns an error for a value that has a pointer but no line, as
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
