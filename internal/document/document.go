// Package document holds what flows through a process: bytes with a media
// type, and beside them the data view that expressions read.
//
// The data view of every format is JSON text. JSON is its own view; XML, CSV
// and forms are converted once, where they arrive. So numbers keep their
// digits, objects keep the order of their keys, and a path into a document is
// a read on its text.
package document

// Document is one message. It is never changed after it is made, so it may be
// shared by everything that runs at once.
type Document struct {
	body      []byte
	mediaType string
	data      string
	hasData   bool
}

// Empty is the document of a request without a body; its data view is nil.
var Empty = &Document{data: "null", hasData: true}

// New makes a document of bytes as they travel, with the JSON text of its
// data view. An empty data means that it has none: it reads as nil.
func New(body []byte, mediaType, data string) *Document {
	return &Document{body: body, mediaType: mediaType, data: data, hasData: data != ""}
}

// FromJSON makes a JSON document. The text must be valid and must not be changed later.
func FromJSON(text []byte) *Document {
	return &Document{body: text, mediaType: "application/json", data: str(text), hasData: len(text) > 0}
}

// FromValue makes a JSON document of a value.
func FromValue(v any) *Document { return FromJSON(AppendJSON(nil, v)) }

// FromText makes a plain-text document, whose data view is the text as a string.
func FromText(s string) *Document {
	return &Document{body: []byte(s), mediaType: "text/plain; charset=utf-8", data: str(AppendJSON(nil, s)), hasData: true}
}

// Body is the document as it travels. Callers must not change it.
func (d *Document) Body() []byte { return d.body }

// MediaType is the Content-Type that Body travels with, "" if there is none.
func (d *Document) MediaType() string { return d.mediaType }

// Data is the JSON text of the data view, "" if there is none.
func (d *Document) Data() string { return d.data }

// Value is the data view as a value: see Parse.
func (d *Document) Value() any {
	if !d.hasData {
		return nil
	}
	return Parse(d.data)
}

// IsJSON reports whether the body itself is the JSON text of the data view.
func (d *Document) IsJSON() bool { return d.mediaType == "application/json" }
