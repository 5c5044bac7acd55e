package agent

import (
	"context"
	"errors"
	"mime"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/wire"
)

// decodeInput decodes the properties and the document of a request.
func decodeInput(ctx context.Context, x *wire.Execute) (*document.Object, *document.Document, error) {
	var props *document.Object
	if len(x.Props) > 0 && string(x.Props) != "null" {
		if err := convert.CheckJSON(x.Props); err != nil {
			return nil, nil, errors.New("the properties are not valid JSON: " + err.Error())
		}
		o, ok := document.Decode(document.Parse(string(x.Props))).(*document.Object)
		if !ok {
			return nil, nil, errors.New("the properties are not an object")
		}
		props = o
	}
	if len(x.Document) == 0 {
		return props, document.Empty, nil
	}
	kind, _, err := mime.ParseMediaType(x.DocumentType)
	if x.DocumentType == "" {
		kind, err = "application/json", nil
		if convert.CheckJSON(x.Document) != nil {
			kind = "application/octet-stream"
		}
	}
	if err != nil {
		return nil, nil, errors.New("the document type is not a valid media type")
	}
	var data []byte
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		if err := convert.CheckJSON(x.Document); err != nil {
			return nil, nil, errors.New("the document is not valid JSON: " + err.Error())
		}
		return props, document.FromJSON(x.Document), nil
	case kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml"):
		data, err = convert.XMLToJSON(ctx, x.Document, nil)
	case kind == "text/csv":
		data, err = convert.CSVToJSON(ctx, x.Document, true, ',')
	case kind == "application/x-www-form-urlencoded":
		data, err = convert.FormToJSON(ctx, x.Document)
	case strings.HasPrefix(kind, "text/"):
		return props, document.FromText(string(x.Document)), nil
	}
	if err != nil {
		return nil, nil, errors.New("the document cannot be parsed: " + err.Error())
	}
	return props, document.New(x.Document, x.DocumentType, string(data)), nil
}
