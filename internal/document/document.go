// Package document defines documents, which flow through a process: bytes with
// a media type, and the data view that expressions read.
//
// The data view of every format is JSON text. JSON is its own view; XML, CSV and
// forms are converted once, on arrival. Numbers therefore keep their digits,
// objects keep the order of their keys, and a path into a document is a read on
// its text.
package document

import (
	"encoding/base64"
	"unicode/utf8"
)

// Document is immutable and safe for concurrent use.
type Document struct {
	body      []byte
	mediaType string
	data      string
	hasData   bool
}

// Empty is the document of a request without a body. Its data view is nil.
var Empty = &Document{data: "null", hasData: true}

// New returns a document with the given body and the JSON text of its data
// view. If data is empty, the document has no data view and reads as nil.
func New(body []byte, mediaType, data string) *Document {
	return &Document{body: body, mediaType: mediaType, data: data, hasData: data != ""}
}

// Converted returns a document like New. It does not copy data, which must not
// be modified afterwards.
func Converted(body []byte, mediaType string, data []byte) *Document {
	return New(body, mediaType, stringOf(data))
}

// FromJSON returns a JSON document. The text must be valid and must not be
// modified afterwards.
func FromJSON(text []byte) *Document {
	return &Document{body: text, mediaType: "application/json", data: stringOf(text), hasData: len(text) > 0}
}

// FromValue returns a JSON document for a value.
func FromValue(v any) *Document { return FromJSON(AppendJSON(nil, v)) }

// FromText returns a plain-text document, whose data view is the text as a
// string.
func FromText(s string) *Document {
	return &Document{body: Shared(s), mediaType: "text/plain; charset=utf-8", data: stringOf(AppendJSON(nil, s)), hasData: true}
}

// Body returns the bytes of the document. Callers must not modify them.
func (d *Document) Body() []byte { return d.body }

// MediaType returns the Content-Type of Body, or "" if there is none.
func (d *Document) MediaType() string { return d.mediaType }

// Data returns the JSON text of the data view, or "" if there is none.
func (d *Document) Data() string { return d.data }

// Text returns Body as a string without a copy.
func (d *Document) Text() string { return stringOf(d.body) }

// Raw returns Body as a value: text, or a file if it is not UTF-8.
func (d *Document) Raw() any {
	if d.hasData || utf8.Valid(d.body) {
		return d.Text()
	}
	file := &Object{}
	if d.mediaType != "" {
		file.Set("type", d.mediaType)
	}
	file.Set("raw", base64.StdEncoding.EncodeToString(d.body))
	file.Set("encoding", "base64")
	return file
}

// Value returns the data view as a value; see Parse.
func (d *Document) Value() any {
	if !d.hasData {
		return nil
	}
	return Parse(d.data)
}

// IsJSON reports whether Body is itself the JSON text of the data view.
func (d *Document) IsJSON() bool { return d.mediaType == "application/json" }
