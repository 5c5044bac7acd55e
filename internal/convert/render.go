package convert

import (
	"context"
	"strconv"
	"strings"

	"valence/internal/blob"
	"valence/internal/document"
)

// Render encodes a document in the format of a listener's `output:` setting and
// returns it with its media type. Other values return the document unchanged.
// As XML, text must be an XML document, which is returned as it is; ns declares
// the prefixes of data.
func Render(ctx context.Context, d *document.Document, output string, ns Namespaces) (body []byte, media string, err error) {
	if d, err = blob.Inline(ctx, d); err != nil {
		return nil, "", err
	}
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
		body, err = ToXML(ctx, d, "", ns)
		return body, "application/xml; charset=utf-8", err
	case "text":
		if strings.HasPrefix(d.MediaType(), "text/") {
			return d.Body(), d.MediaType(), nil
		}
		return []byte(textOf(d)), "text/plain; charset=utf-8", nil
	}
	body, media, err = d.Content()
	if media == "" {
		media = "application/octet-stream"
	}
	return body, media, err
}

// ToXML returns a document as XML. Text that is an XML document is returned as it
// is; everything else is converted by JSONToXML.
func ToXML(ctx context.Context, d *document.Document, root string, ns Namespaces) ([]byte, error) {
	text, isText := d.Value().(string)
	if !isText || root != "" || !strings.HasPrefix(strings.TrimLeft(text, "\ufeff \t\r\n"), "<") {
		return JSONToXML(ctx, d.Data(), root, ns)
	}
	if _, err := XMLToJSON(ctx, []byte(text), nil); err != nil {
		return nil, err
	}
	return []byte(text), nil
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
