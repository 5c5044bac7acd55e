package convert

import (
	"context"
	"mime"
	"strings"

	"valence/internal/document"
)

// The formats of documents.
const (
	FormatJSON   = "json"
	FormatXML    = "xml"
	FormatCSV    = "csv"
	FormatForm   = "form"
	FormatText   = "text"
	FormatBinary = "binary"
)

// Received describes bytes from another system.
type Received struct {
	Format      string // one of the formats
	ContentType string // may be empty
	Charset     string // of undeclared text; UTF-8 if empty
	Shape       *Shape // of XML; may be nil
	NoHeader    bool   // of CSV
	Delimiter   rune   // of CSV; a comma if 0
}

// Decode returns the document for bytes from a caller, a destination or a file.
// The text of the document is UTF-8 whatever it was sent as, and its media type
// says so. Invalid input is a *SyntaxError.
func Decode(ctx context.Context, b []byte, r Received) (*document.Document, error) {
	charset := charsetOf(r.ContentType)
	if r.Format == FormatBinary {
		return document.New(b, r.typeOr("application/octet-stream"), ""), nil
	}
	if r.Format == FormatForm {
		data, err := formToJSON(ctx, b, Label{Charset: charset, Default: r.Charset})
		if err != nil {
			return nil, err
		}
		return document.Converted(b, r.typeOr("application/x-www-form-urlencoded"), data), nil
	}
	text, err := Text(ctx, b, Label{Charset: charset, XML: r.Format == FormatXML, Default: r.Charset})
	if err != nil {
		return nil, err
	}
	if charset != "" && canonical(charset) != utf8Name {
		r.ContentType = withCharset(r.ContentType)
	}
	switch r.Format {
	case FormatXML:
		data, err := XMLToJSON(ctx, text, r.Shape)
		if err != nil {
			return nil, err
		}
		return document.Converted(text, r.typeOr("application/xml"), data), nil
	case FormatCSV:
		data, err := CSVToJSON(ctx, text, !r.NoHeader, r.Delimiter)
		if err != nil {
			return nil, err
		}
		return document.Converted(text, r.typeOr("text/csv; charset=utf-8"), data), nil
	case FormatText:
		if err := checkUTF8(text); err != nil {
			return nil, err
		}
		return document.Converted(text, r.typeOr("text/plain; charset=utf-8"), document.AppendString(nil, string(text))), nil
	}
	if err := CheckJSON(text); err != nil {
		return nil, err
	}
	return document.FromJSON(text), nil
}

func (r *Received) typeOr(media string) string {
	if r.ContentType != "" {
		return r.ContentType
	}
	return media
}

// charsetOf returns the charset of a Content-Type, or "".
func charsetOf(contentType string) string {
	if !strings.Contains(contentType, ";") {
		return ""
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	if charset := params["charset"]; !strings.EqualFold(charset, utf8Name) {
		return charset
	}
	return utf8Name
}

// withCharset returns a Content-Type whose charset is UTF-8.
func withCharset(contentType string) string {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	params["charset"] = utf8Name
	return mime.FormatMediaType(media, params)
}
