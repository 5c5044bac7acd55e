package document

import (
	"encoding/base64"
	"errors"
)

// Content returns the bytes that a document stands for and their media type: of
// a JSON document that describes a file, {filename, type, raw, encoding} as
// multipart has them, those of the file; of any other document its body.
func (d *Document) Content() (content []byte, mediaType string, err error) {
	if d.IsJSON() {
		if content, mediaType, is, err := File(d.Value()); is {
			return content, mediaType, err
		}
	}
	return d.body, d.mediaType, nil
}

// File returns the bytes and the media type of a file: an object of raw and at
// least one of filename, type and encoding, perhaps size, and nothing else. is
// reports whether v is one. The content of a file may be stored outside the
// document: package blob reads it.
func File(v any) (content []byte, mediaType string, is bool, err error) {
	if raw, ok := v.(Raw); ok && (len(raw) == 0 || raw[0] != '{') {
		return nil, "", false, nil
	}
	o, ok := Decode(v).(*Object)
	if !ok || o.Len() < 2 || o.Len() > 5 {
		return nil, "", false, nil
	}
	raw, isText := "", false
	encoding := ""
	mediaType = "application/octet-stream"
	for i := range o.Len() {
		key, v := o.At(i)
		text, ok := v.(string)
		if _, number := v.(Number); !ok && (key != "size" || !number) {
			return nil, "", false, nil
		}
		switch key {
		case "size":
		case "raw":
			raw, isText = text, true
		case "encoding":
			encoding = text
		case "type":
			mediaType = text
		case "filename":
		default:
			return nil, "", false, nil
		}
	}
	switch {
	case !isText:
		return nil, "", false, nil
	case encoding == "":
		return []byte(raw), mediaType, true, nil
	case encoding != "base64":
		return nil, "", true, errors.New("the encoding of a file must be base64")
	}
	content, err = base64.StdEncoding.DecodeString(raw)
	if err != nil {
		return nil, "", true, errors.New("raw is not valid Base64")
	}
	return content, mediaType, true, nil
}
