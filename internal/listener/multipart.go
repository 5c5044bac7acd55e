package listener

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/multipart"
	"unicode/utf8"

	"valence/internal/convert"
	"valence/internal/document"
)

// maxParts bounds the parts of one body.
const maxParts = 1000

// multipartToJSON reads multipart/form-data (RFC 7578) as an object by field:
// a text, or for a file {filename, type, raw}, whose raw is text where it is
// UTF-8 and otherwise base64, which encoding then says. A repeated field is a list.
func multipartToJSON(boundary string, body []byte) ([]byte, error) {
	if boundary == "" {
		return nil, &convert.SyntaxError{Msg: "the Content-Type names no boundary"}
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	var fields document.Object
	for n := 0; ; n++ {
		part, err := reader.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &convert.SyntaxError{Msg: "the parts cannot be read: a boundary or a header is broken, or the end is missing"}
		}
		if n == maxParts {
			return nil, &convert.SyntaxError{Msg: "there are more than 1000 parts"}
		}
		name := part.FormName()
		if name == "" || !utf8.ValidString(name) {
			return nil, &convert.SyntaxError{Msg: "a part has no name"}
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, &convert.SyntaxError{Msg: "the parts cannot be read: the end is missing"}
		}
		value, err := partValue(part, name, content)
		if err != nil {
			return nil, err
		}
		add(&fields, name, value)
	}
	return document.AppendJSON(nil, &fields), nil
}

func partValue(part *multipart.Part, name string, content []byte) (any, error) {
	filename := part.FileName()
	if filename == "" {
		if !utf8.Valid(content) {
			return nil, &convert.SyntaxError{Pointer: "/" + escapePointer(name), Msg: "the field is not UTF-8 text"}
		}
		return string(content), nil
	}
	file := &document.Object{}
	file.Set("filename", filename)
	media := part.Header.Get("Content-Type")
	if media == "" {
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
