package dataplane

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"unicode/utf8"

	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
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
	share := budget.From(ctx)
	if err := share.Reserve(partCopies * len(body)); err != nil {
		return nil, err
	}
	defer share.Return(partCopies * len(body))
	return partsToJSON(ctx, boundary, bytes.NewReader(body), charset, nil)
}

// partsToJSON is multipartToJSON for a body that is read from r. It reserves the
// memory for each part that it does not store in share.
func partsToJSON(ctx context.Context, boundary string, r io.Reader, charset string, share *budget.Share) ([]byte, error) {
	if boundary == "" {
		return nil, &convert.SyntaxError{Msg: "the Content-Type has no boundary"}
	}
	reader := multipart.NewReader(r, boundary)
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
		content, err := readPart(ctx, part, share)
		if known := (*fault.Failure)(nil); errors.As(err, &known) || budget.Exhausted(err) {
			return nil, err
		}
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

// maxField is the largest field of a body that is not read into memory.
const maxField = 1 << 20

// readPart reads the content of a part.
func readPart(ctx context.Context, part *multipart.Part, share *budget.Share) (*blob.Content, error) {
	var c *blob.Content
	var err error
	switch {
	case share == nil:
		var b []byte
		b, err = io.ReadAll(part)
		return &blob.Content{Bytes: b}, err
	case part.FileName() == "":
		var b []byte
		b, err = io.ReadAll(io.LimitReader(part, maxField+1))
		if err == nil && len(b) > maxField {
			return nil, &fault.Failure{Code: fault.CodeTooLarge, Source: fault.FromAtom, Message: "a field that is not a file has more than 1 MiB"}
		}
		c = &blob.Content{Bytes: b}
	default:
		c, err = blob.Read(ctx, part, math.MaxInt64-1)
	}
	if err != nil {
		return nil, err
	}
	return c, share.Reserve(partCopies * len(c.Bytes))
}

func partValue(ctx context.Context, part *multipart.Part, received *blob.Content, charset string) (any, error) {
	content := received.Bytes
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
	if received.Name != "" {
		return received.Reference(filename, media), nil
	}
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
