package answer

import (
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
)

// Render gives a document as it is sent by a listener with this `output:`.
func Render(d *document.Document, output string) (body []byte, media string, err error) {
	switch output {
	case "json":
		if d.IsJSON() {
			return d.Body(), "application/json", nil
		}
		if d.Data() == "" {
			return []byte("null"), "application/json", nil
		}
		return []byte(d.Data()), "application/json", nil
	case "xml":
		if isXML(d.MediaType()) {
			return d.Body(), d.MediaType(), nil
		}
		body, err = convert.JSONToXML(d.Data(), "")
		return body, "application/xml; charset=utf-8", err
	case "text":
		if strings.HasPrefix(d.MediaType(), "text/") {
			return d.Body(), d.MediaType(), nil
		}
		return []byte(textOf(d)), "text/plain; charset=utf-8", nil
	}
	media = d.MediaType()
	if media == "" {
		media = "application/octet-stream"
	}
	return d.Body(), media, nil
}

func isXML(media string) bool {
	media, _, _ = strings.Cut(media, ";")
	media = strings.TrimSpace(media)
	return media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml")
}

func textOf(d *document.Document) string {
	switch v := d.Value().(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case document.Number:
		return string(v)
	}
	return d.Data()
}
