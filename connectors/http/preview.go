package http

import (
	"context"
	"strings"

	"valence/connectors"
)

// hidden stands for a credential in a preview.
const hidden = "[secret]"

// preview returns the first request of a call, without its credentials.
func (c *connection) preview(ctx context.Context, method string, w *with, call *connectors.Call) (*connectors.Preview, error) {
	r, f := c.prepare(ctx, method, w, call)
	if f != nil {
		return nil, f
	}
	if w.Pages != nil {
		if f := w.applyPage(r, call.Page, c.authParam); f != nil {
			return nil, f
		}
	}
	headers := r.headers.Clone()
	if c.authHeader != "" {
		headers[headerKey(c.authHeader)] = []string{hidden}
	}
	url := r.url.String()
	if c.authQuery != "" {
		url = strings.Replace(url, c.authQuery, c.authParam+"="+hidden, 1)
	}
	return &connectors.Preview{Method: r.method, URL: url, Headers: headers, Body: r.body.bytes()}, nil
}
