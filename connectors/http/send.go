package http

import (
	"bytes"
	"context"
	"encoding/base64"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"valence/connectors/content"
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

const (
	formatJSON      = convert.FormatJSON
	formatXML       = convert.FormatXML
	formatText      = convert.FormatText
	formatForm      = convert.FormatForm
	formatMultipart = "multipart"
	formatBinary    = convert.FormatBinary
)

const octets = "application/octet-stream"

// encode returns the body and Content-Type for a document. ns declares prefixes
// in XML.
func encode(ctx context.Context, d *document.Document, w *with, ns convert.Namespaces) (body payload, contentType string, f *fault.Failure) {
	if d == nil {
		return nil, "", nil
	}
	if blob.Has(d) {
		body, contentType, f = encodeStored(ctx, d, w, ns)
	} else {
		body, contentType, f = encodeAs(ctx, d, w, ns)
	}
	if f != nil {
		return nil, "", f
	}
	if w.ContentType != "" {
		if w.Format == formatMultipart {
			return nil, "", badCall("content_type cannot be combined with format: multipart, which sets the boundary")
		}
		contentType = w.ContentType
	}
	if why := headerProblem("Content-Type", contentType); why != "" {
		return nil, "", badCall("%s", why)
	}
	return body, contentType, nil
}

// encodeAs encodes a document that is in memory.
func encodeAs(ctx context.Context, d *document.Document, w *with, ns convert.Namespaces) (payload, string, *fault.Failure) {
	if w.Format == formatMultipart && d.Data() != "" {
		return asMultipart(ctx, d)
	}
	body, contentType, f := encodeBytes(ctx, d, w, ns)
	return inMemory(body), contentType, f
}

func encodeBytes(ctx context.Context, d *document.Document, w *with, ns convert.Namespaces) ([]byte, string, *fault.Failure) {
	switch w.Format {
	case "":
		return d.Body(), d.MediaType(), nil
	case formatBinary:
		body, media, err := d.Content()
		if err != nil {
			return nil, "", badCall("cannot send the file: %v", err)
		}
		if media == "" {
			media = octets
		}
		return body, media, nil
	case formatText:
		return asText(d)
	}
	if d.Data() == "" {
		return nil, "", badCall("cannot send a binary document (%s) as %s", d.MediaType(), w.Format)
	}
	var body []byte
	var contentType string
	var err error
	switch w.Format {
	case formatJSON:
		if d.IsJSON() {
			return d.Body(), "application/json", nil
		}
		return []byte(d.Data()), "application/json", nil
	case formatXML:
		if content.IsXML(content.MediaType(d.MediaType())) {
			return d.Body(), d.MediaType(), nil
		}
		contentType = "application/xml; charset=utf-8"
		body, err = convert.ToXML(ctx, d, w.Root, ns)
	case formatForm:
		contentType = "application/x-www-form-urlencoded"
		if content.MediaType(d.MediaType()) == contentType {
			return d.Body(), d.MediaType(), nil
		}
		body, err = convert.JSONToForm(ctx, d.Data())
	default:
		return nil, "", badCall("unknown format %s", quote(w.Format))
	}
	if f := budget.Failure(err); f != nil {
		return nil, "", f
	}
	if err != nil {
		f := badCall("cannot send the document as %s: %v", w.Format, err)
		f.Cause = err
		return nil, "", f
	}
	return body, contentType, nil
}

func asText(d *document.Document) ([]byte, string, *fault.Failure) {
	const plain = "text/plain; charset=utf-8"
	switch v := d.Value().(type) {
	case string:
		return []byte(v), plain, nil
	case document.Number:
		return []byte(v), plain, nil
	case bool:
		return document.AppendJSON(nil, v), plain, nil
	case nil:
		if len(d.Body()) == 0 {
			return nil, plain, nil
		}
		if utf8.Valid(d.Body()) && !d.IsJSON() {
			return d.Body(), plain, nil
		}
	}
	if content.IsXML(content.MediaType(d.MediaType())) {
		return d.Body(), plain, nil
	}
	return nil, "", badCall("cannot send a document of type %s as text: it must be text, a number or a boolean", document.TypeName(d.Value()))
}

// asMultipart encodes multipart/form-data (RFC 7578) with the parts in key
// order.
func asMultipart(ctx context.Context, d *document.Document) (payload, string, *fault.Failure) {
	if content.MediaType(d.MediaType()) == "multipart/form-data" {
		return inMemory(d.Body()), d.MediaType(), nil
	}
	parts, ok := document.Decode(d.Value()).(*document.Object)
	if !ok {
		return nil, "", badCall("cannot send a document of type %s as multipart: it must be an object with a key for every part", document.TypeName(d.Value()))
	}
	m := &multipartBody{ctx: ctx}
	m.w = multipart.NewWriter(&m.buf)
	for i := range parts.Len() {
		name, v := parts.At(i)
		values := []any{v}
		if list, ok := document.Decode(v).([]any); ok {
			values = list
		}
		for _, v := range values {
			if f := m.write(name, v); f != nil {
				return nil, "", f
			}
		}
	}
	if err := m.w.Close(); err != nil {
		return nil, "", badCall("multipart: %v", err)
	}
	m.cut()
	return m.body, m.w.FormDataContentType(), nil
}

// multipartBody is a body of multipart/form-data that is written.
type multipartBody struct {
	ctx  context.Context
	buf  bytes.Buffer // after body
	body payload
	w    *multipart.Writer
}

// cut appends the written bytes to the body.
func (m *multipartBody) cut() {
	if m.buf.Len() > 0 {
		m.body = append(m.body, part{bytes: bytes.Clone(m.buf.Bytes())})
		m.buf.Reset()
	}
}

// write writes a part.
func (m *multipartBody) write(name string, v any) *fault.Failure {
	header := textproto.MIMEHeader{}
	disposition := map[string]string{"name": name}
	var content []byte
	var file *blob.File
	switch v := document.Decode(v).(type) {
	case nil:
		return nil
	case string:
		content = []byte(v)
	case *document.Object:
		filename, isFile := v.Get("filename")
		raw, isRaw := v.Get("raw")
		if !isFile && !isRaw {
			header.Set("Content-Type", "application/json")
			whole, err := blob.InlineValue(m.ctx, v)
			if err != nil {
				return fault.AsFailure(err)
			}
			content = document.AppendJSON(nil, whole)
			break
		}
		var f *fault.Failure
		if file, f = storedPart(m.ctx, v); f != nil {
			return f
		}
		if file == nil {
			if content, f = rawContent(name, raw, v); f != nil {
				return f
			}
		}
		contentType := octets
		if t, ok := v.Get("type"); ok {
			contentType, _ = t.(string)
			if _, _, err := mime.ParseMediaType(contentType); err != nil {
				return badCall("multipart: the type of part %s is not a media type", quote(name))
			}
		}
		header.Set("Content-Type", contentType)
		if isFile {
			s, ok := filename.(string)
			if !ok {
				return badCall("multipart: the filename of part %s must be text", quote(name))
			}
			disposition["filename"] = s
		}
	default:
		content = document.AppendJSON(nil, v)
	}
	if why := setDisposition(header, disposition); why != "" {
		return badCall("multipart: part %s: %s", quote(name), why)
	}
	p, err := m.w.CreatePart(header)
	if err == nil {
		_, err = p.Write(content)
	}
	if err != nil {
		return badCall("multipart: part %s: %v", quote(name), err)
	}
	if file != nil {
		m.cut()
		m.body = append(m.body, part{file: file})
	}
	return nil
}

// storedPart returns the stored file that a part refers to, or nil.
func storedPart(ctx context.Context, v *document.Object) (*blob.File, *fault.Failure) {
	switch encoding, _ := v.Get("encoding"); encoding {
	case blob.EncodingBinary, blob.EncodingText:
	default:
		return nil, nil
	}
	file, is, err := blob.Of(ctx, v)
	if err == nil && is {
		err = file.Stat()
	}
	if err != nil {
		return nil, fault.AsFailure(err)
	}
	if !is {
		return nil, nil
	}
	return file, nil
}

// rawContent returns the content of a file part.
func rawContent(name string, raw any, part *document.Object) ([]byte, *fault.Failure) {
	text, ok := raw.(string)
	if !ok {
		return nil, badCall("multipart: part %s needs raw, which must be text", quote(name))
	}
	switch encoding, _ := part.Get("encoding"); encoding {
	case nil:
		return []byte(text), nil
	case "base64":
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, badCall("multipart: raw of part %s is not valid Base64", quote(name))
		}
		return content, nil
	}
	return nil, badCall("multipart: the encoding of part %s must be base64", quote(name))
}

// setDisposition names a part as browsers do: UTF-8 unescaped, quotes and line
// breaks percent-encoded (HTML, 4.10.21.8).
func setDisposition(h textproto.MIMEHeader, values map[string]string) string {
	escape := strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A")
	out := `form-data; name="` + escape.Replace(values["name"]) + `"`
	if file, ok := values["filename"]; ok {
		out += `; filename="` + escape.Replace(file) + `"`
	}
	if why := headerProblem("Content-Disposition", out); why != "" {
		return why
	}
	h.Set("Content-Disposition", out)
	return ""
}
