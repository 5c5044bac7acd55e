package http

import (
	"cmp"
	"context"
	"strings"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/fault"
)

// decode converts a body to a document by its Content-Type, or by w.Response if
// it is not empty. See content.Typed.
func (w *with) decode(ctx context.Context, body []byte, contentType, what string) (*document.Document, *fault.Failure) {
	doc, err := content.Typed(ctx, body, contentType, w.Response, w.Charset)
	if err == nil {
		return doc, nil
	}
	if f := connectors.Interrupted(ctx, what); f != nil {
		return nil, f
	}
	if f := budget.Failure(err); f != nil {
		return nil, f
	}
	return nil, connectors.Failf(fault.CodeAnswer, false, err, "%s: the response is not valid %s: %v", what, strings.ToUpper(cmp.Or(w.Response, content.FormatOf(content.MediaType(contentType)))), err)
}
