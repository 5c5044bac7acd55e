// Package content reads received bytes as documents: by format, name or
// media type, with byte order marks, declarations and charsets.
package content

import (
	"context"
	"io"
	"mime"
	"path"
	"strings"
	"unicode/utf8"

	"valence/internal/blob"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/spec"
)

// Formats are the values of a format's As.
var Formats = []string{"json", "xml", "csv", "text", "binary"}

// extensions are the formats of file names.
var extensions = map[string]string{".json": "json", ".xml": "xml", ".csv": "csv", ".txt": "text"}

// Format says how content is read. It is part of the settings of operations and
// subscriptions.
type Format struct{ As, Encoding, Delimiter string }

// Fields declares the settings of a format within T.
func Fields[T any](f func(*T) *Format) []spec.Field {
	return []spec.Field{
		spec.Enum("as", func(t *T) *string { return &f(t).As }, "Format of the file. By default it follows from the file name extension; unknown extensions are read as binary.", Formats...),
		spec.String("encoding", func(t *T) *string { return &f(t).Encoding }, "Charset of the text, such as `windows-1252`. A byte order mark and an XML declaration take precedence.").Or("utf-8"),
		spec.String("delimiter", func(t *T) *string { return &f(t).Delimiter }, "CSV: column separator.").Or(","),
	}
}

// maxParsed is the most content that is read into memory, because its data view
// is there too.
const maxParsed = 1 << 30

// Read reads a file of at most limit bytes. Binary content may be stored outside
// the document. tooLarge is the limit that the file exceeds; 0: none.
func (f *Format) Read(ctx context.Context, r io.Reader, limit int64, name string) (c *blob.Content, tooLarge int64, err error) {
	if f.Named(name) == convert.FormatBinary {
		c, err = blob.Read(ctx, r, limit)
	} else {
		limit = min(limit, maxParsed)
		var b []byte
		b, err = io.ReadAll(io.LimitReader(r, limit+1))
		c = &blob.Content{Bytes: b, Size: int64(len(b))}
	}
	if err == nil && c.Size > limit {
		return nil, limit, nil
	}
	return c, 0, err
}

// Check returns the problems of the settings. Values may be expressions.
func (f *Format) Check() (wrong []string) {
	if spec.Literal(f.Encoding) && !convert.KnownCharset(f.Encoding) {
		wrong = append(wrong, "`encoding: "+f.Encoding+"` is not supported; use a name such as utf-8, windows-1252 or shift_jis")
	}
	if spec.Literal(f.Delimiter) && !f.validDelimiter() {
		wrong = append(wrong, "`delimiter:` must be one character; for a tab, write `delimiter: \"\\t\"`")
	}
	return wrong
}

func (f *Format) validDelimiter() bool { return utf8.RuneCountInString(f.Delimiter) <= 1 }

// Named returns the format of a file: As, or the one of the name's extension.
func (f *Format) Named(name string) string {
	as := f.As
	if as == "" {
		as = extensions[strings.ToLower(path.Ext(name))]
	}
	if as == "" {
		as = convert.FormatBinary
	}
	return as
}

// DelimiterError is the error of a delimiter that is not one character.
type DelimiterError struct{}

// Error returns the message.
func (DelimiterError) Error() string { return "the delimiter must be one character" }

// File reads the content of a file as a document. Stored content becomes a
// reference.
func (f *Format) File(ctx context.Context, c *blob.Content, name string) (*document.Document, error) {
	if c.Name != "" {
		return document.FromValue(c.Reference(path.Base(name), "")), nil
	}
	if !f.validDelimiter() {
		return nil, DelimiterError{}
	}
	delimiter, _ := utf8.DecodeRuneInString(f.Delimiter)
	if f.Delimiter == "" {
		delimiter = 0
	}
	return convert.Decode(ctx, c.Bytes, convert.Received{Format: f.Named(name), Charset: f.Encoding, Delimiter: delimiter})
}

// Typed reads content by its media type, or as the given format unless it is
// empty. charset is that of content that declares none; empty is UTF-8. Empty
// content is document.Empty.
func Typed(ctx context.Context, b []byte, contentType, as, charset string) (*document.Document, error) {
	if len(b) == 0 {
		return document.Empty, nil
	}
	media := MediaType(contentType)
	if as == "" {
		as = FormatOf(media)
	}
	if as == convert.FormatXML && !IsXML(media) {
		contentType = xmlTypeOf(contentType)
	}
	return convert.Decode(ctx, b, convert.Received{Format: as, ContentType: contentType, Charset: charset})
}

// MediaType returns the lower-case media type of a Content-Type, without its
// parameters.
func MediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// FormatOf returns the format of content with a media type.
func FormatOf(media string) string {
	switch {
	case media == "application/json", media == "text/json", strings.HasSuffix(media, "+json"):
		return convert.FormatJSON
	case IsXML(media):
		return convert.FormatXML
	case media == "application/x-www-form-urlencoded":
		return convert.FormatForm
	case strings.HasPrefix(media, "text/"):
		return convert.FormatText
	}
	return convert.FormatBinary
}

// IsXML reports whether a media type is that of XML.
func IsXML(media string) bool {
	return media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml")
}

// xmlTypeOf returns the media type of XML that is sent as another type, with the
// charset of that.
func xmlTypeOf(contentType string) string {
	if _, params, err := mime.ParseMediaType(contentType); err == nil && params["charset"] != "" {
		return mime.FormatMediaType("application/xml", map[string]string{"charset": params["charset"]})
	}
	return "application/xml"
}
