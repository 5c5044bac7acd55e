package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// answerBytes is the most that is read of an answer.
const answerBytes = 256 << 20

// peer is an HTTP API that asks for a token: of an atom, or of a control plane.
type peer struct {
	base, token string
	what, start string // what it is, and how to start or find it
	http        *http.Client
	unreachable func(error) error // what to do where no answer came; nil where it is not known
}

// ask makes one call and gives the status and the body of the answer, whatever
// the status is. Errors are ready to be shown.
func (p *peer) ask(ctx context.Context, method, path string, in any) (int, json.RawMessage, error) {
	var sent io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, sent)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.http.Do(req)
	if err != nil {
		if p.unreachable != nil {
			if said := p.unreachable(err); said != nil {
				return 0, nil, said
			}
		}
		if cause := (*url.Error)(nil); errors.As(err, &cause) {
			err = cause.Err
		}
		return 0, nil, failed(p.start, "no %s answers at %s: %v", p.what, p.base, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	if err != nil {
		return 0, nil, failed("the same again", "the answer of %s broke off: %v", p.base, err)
	}
	return resp.StatusCode, text, nil
}
