package dataplane

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"unicode/utf8"

	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
)

// maxParts is the most parts of one body.
const maxParts = 1000

// partCopies is how many times the size of a body its parts need in memory while
// they are converted.
const partCopies = 4

// multipartToJSON converts multipart/form-data (RFC 7578) to an object by
// field. A field is a string; a file is {filename, type, raw}. raw is base64
// with `encoding: base64` unless it is UTF-8 text. Repeated fields become a
// list. Names and fields are text in the charset of their part, or else in the
// given one, which a field called _charset_ replaces (section 4.6).
func multipartToJSON(ctx context.Context, boundary string, body []byte, charset string) ([]byte, error) {
	if boundary == "" {
		return nil, &convert.SyntaxError{Msg: "the Content-Type has no boundary"}
	}
	share := budget.From(ctx)
	if err := share.Reserve(partCopies * len(body)); err != nil {
		return nil, err
	}
	defer share.Return(partCopies * len(body))
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	var fields document.Object
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		part, err := reader.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &convert.SyntaxError{Msg: "the parts cannot be read: a boundary or header is broken, or the end is missing"}
		}
		if n == maxParts {
			return nil, &convert.SyntaxError{Msg: "there are more than 1000 parts"}
		}
		name, err := convert.TextString(ctx, []byte(part.FormName()), convert.Label{Default: charset})
		if err != nil || name == "" {
			return nil, &convert.SyntaxError{Msg: "a part has no name, or one that is not text in the charset of the request"}
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, &convert.SyntaxError{Msg: "the parts cannot be read: the end is missing"}
		}
		value, err := partValue(ctx, part, content, charset)
		var syntax *convert.SyntaxError
		if errors.As(err, &syntax) {
			return nil, &convert.SyntaxError{Pointer: "/" + escapePointer(name), Msg: err.Error()}
		}
		if err != nil {
			return nil, err
		}
		if text, ok := value.(string); ok && name == "_charset_" && convert.KnownCharset(text) {
			charset = text
		}
		add(&fields, name, value)
	}
	return document.AppendJSON(nil, &fields), nil
}

func partValue(ctx context.Context, part *multipart.Part, content []byte, charset string) (any, error) {
	media := part.Header.Get("Content-Type")
	if part.FileName() == "" {
		_, params, _ := mime.ParseMediaType(media) // without a valid type there is no charset
		return convert.TextString(ctx, content, convert.Label{Charset: params["charset"], Default: charset})
	}
	filename, err := convert.TextString(ctx, []byte(part.FileName()), convert.Label{Default: charset})
	if err != nil {
		return nil, fmt.Errorf("the name of the file: %w", err)
	}
	file := &document.Object{}
	file.Set("filename", filename)
	if media == "" || !utf8.ValidString(media) {
		media = "application/octet-stream"
	}
	file.Set("type", media)
	if utf8.Valid(content) {
		file.Set("raw", string(content))
	} else {
		file.Set("raw", base64.StdEncoding.EncodeToString(content))
		file.Set("encoding", "base64")
	}
	return file, nil
}

func add(fields *document.Object, name string, value any) {
	before, there := fields.Get(name)
	if !there {
		fields.Set(name, value)
		return
	}
	if list, ok := before.([]any); ok {
		fields.Set(name, append(list, value))
		return
	}
	fields.Set(name, []any{before, value})
}
