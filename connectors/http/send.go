package http

import (
	"bytes"
	"encoding/base64"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

const (
	formatJSON      = "json"
	formatXML       = "xml"
	formatText      = "text"
	formatForm      = "form"
	formatMultipart = "multipart"
	formatBinary    = "binary"
)

const octets = "application/octet-stream"

// encode gives the bytes and the Content-Type that a document is sent as.
func encode(d *document.Document, w *with) (body []byte, contentType string, f *fault.Failure) {
	if d == nil {
		return nil, "", nil
	}
	body, contentType, f = encodeAs(d, w)
	if w.ContentType != "" && f == nil {
		if why := badHeader("Content-Type", w.ContentType); why != "" {
			return nil, "", badCall("%s", why)
		}
		if w.Format == formatMultipart {
			return nil, "", badCall("content_type cannot be set with format: multipart, whose own names the boundary")
		}
		contentType = w.ContentType
	}
	return body, contentType, f
}

func encodeAs(d *document.Document, w *with) ([]byte, string, *fault.Failure) {
	switch w.Format {
	case "":
		return d.Body(), d.MediaType(), nil
	case formatBinary:
		if mt := d.MediaType(); mt != "" {
			return d.Body(), mt, nil
		}
		return d.Body(), octets, nil
	case formatText:
		return asText(d)
	}
	if d.Data() == "" {
		return nil, "", badCall("a binary document (%s) cannot be sent as %s", d.MediaType(), w.Format)
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
		if isXML(mediaType(d.MediaType())) {
			return d.Body(), d.MediaType(), nil
		}
		contentType = "application/xml; charset=utf-8"
		body, err = convert.JSONToXML(d.Data(), w.Root)
	case formatForm:
		contentType = "application/x-www-form-urlencoded"
		if mediaType(d.MediaType()) == contentType {
			return d.Body(), d.MediaType(), nil
		}
		body, err = convert.JSONToForm(d.Data())
	case formatMultipart:
		return asMultipart(d)
	default:
		return nil, "", badCall("format %s is not known", quote(w.Format))
	}
	if err != nil {
		f := badCall("the document cannot be sent as %s: %v", w.Format, err)
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
	if isXML(mediaType(d.MediaType())) {
		return d.Body(), plain, nil
	}
	return nil, "", badCall("the document is %s: only text, a number or a boolean can be sent as text", document.TypeName(d.Value()))
}

// asMultipart writes multipart/form-data (RFC 7578). The parts keep the order of the keys.
func asMultipart(d *document.Document) ([]byte, string, *fault.Failure) {
	if mediaType(d.MediaType()) == "multipart/form-data" {
		return d.Body(), d.MediaType(), nil
	}
	parts, ok := document.Decode(d.Value()).(*document.Object)
	if !ok {
		return nil, "", badCall("the document is %s: only an object, with a key for every part, can be sent as multipart", document.TypeName(d.Value()))
	}
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for i := range parts.Len() {
		name, v := parts.At(i)
		values := []any{v}
		if list, ok := document.Decode(v).([]any); ok {
			values = list
		}
		for _, v := range values {
			if f := writePart(w, name, v); f != nil {
				return nil, "", f
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", badCall("multipart: %v", err)
	}
	return buf.Bytes(), w.FormDataContentType(), nil
}

func writePart(w *multipart.Writer, name string, v any) *fault.Failure {
	header := textproto.MIMEHeader{}
	disposition := map[string]string{"name": name}
	var content []byte
	switch v := document.Decode(v).(type) {
	case nil:
		return nil
	case string:
		content = []byte(v)
	case *document.Object:
		file, isFile := v.Get("filename")
		raw, isRaw := v.Get("raw")
		if !isFile && !isRaw {
			header.Set("Content-Type", "application/json")
			content = document.AppendJSON(nil, v)
			break
		}
		text, ok := raw.(string)
		if !ok {
			return badCall("multipart: part %s needs raw, as text", quote(name))
		}
		content = []byte(text)
		switch encoding, _ := v.Get("encoding"); encoding {
		case nil:
		case "base64":
			var err error
			if content, err = base64.StdEncoding.DecodeString(text); err != nil {
				return badCall("multipart: the raw of part %s is not base64", quote(name))
			}
		default:
			return badCall("multipart: the encoding of part %s can only be base64", quote(name))
		}
		contentType := octets
		if t, ok := v.Get("type"); ok {
			contentType, _ = t.(string)
			if _, _, err := mime.ParseMediaType(contentType); err != nil {
				return badCall("multipart: the type of part %s is no media type", quote(name))
			}
		}
		header.Set("Content-Type", contentType)
		if isFile {
			s, ok := file.(string)
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
	p, err := w.CreatePart(header)
	if err == nil {
		_, err = p.Write(content)
	}
	if err != nil {
		return badCall("multipart: part %s: %v", quote(name), err)
	}
	return nil
}

// setDisposition names a part the way browsers do: UTF-8 as it is, quotes and
// line ends percent-encoded (HTML, 4.10.21.8).
func setDisposition(h textproto.MIMEHeader, values map[string]string) string {
	escape := strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A")
	out := `form-data; name="` + escape.Replace(values["name"]) + `"`
	if file, ok := values["filename"]; ok {
		out += `; filename="` + escape.Replace(file) + `"`
	}
	if why := badHeader("Content-Disposition", out); why != "" {
		return why
	}
	h.Set("Content-Disposition", out)
	return ""
}

// mediaType is the type of a Content-Type in lower case, without parameters.
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func isXML(media string) bool {
	return media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml")
}

func isJSON(media string) bool {
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}
