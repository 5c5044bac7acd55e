package http

import (
	"context"
	"encoding/base64"
	"errors"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// codeAuth is the failure of a call without an access token.
const codeAuth = "auth"

const (
	tokenTimeout  = 30 * time.Second
	tokenAnswer   = 64 << 10
	tokenMargin   = time.Minute // the next token is requested this long before one expires
	tokenPause    = time.Second // between failed requests
	tokenLifetime = 10 * 365 * 24 * time.Hour
)

// tokens holds the access token of a connection (RFC 6749, 4.4). All calls
// share it, and one request at a time renews it.
type tokens struct {
	conn    *connection
	url     *url.URL
	headers nethttp.Header
	body    []byte
	ask     func() (token string, life time.Duration, f *fault.Failure)

	closing context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	token   string
	renewAt time.Time // from then on the next token is requested in the background
	endsAt  time.Time
	fetch   *fetch // nil if none is running
	failure *fault.Failure
	failed  time.Time
}

// fetch is one token request. done is closed when it has ended.
type fetch struct {
	done    chan struct{}
	token   string
	failure *fault.Failure
}

func newTokens(a *authSettings, c *connection) (*tokens, error) {
	b, why := parseBase(a.TokenURL)
	if why != "" {
		return nil, errors.New("auth: token_" + why)
	}
	u, f := b.join("", nil, "")
	if f != nil {
		return nil, f
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(a.Scopes) > 0 {
		form.Set("scope", strings.Join(a.Scopes, " "))
	}
	if a.Audience != "" {
		form.Set("audience", a.Audience)
	}
	for _, p := range a.Params {
		form.Add(p.Name, p.Value)
	}
	t := &tokens{conn: c, url: u, headers: clone(c.foreignHeaders, 3)}
	t.headers["Content-Type"] = []string{"application/x-www-form-urlencoded"}
	t.headers["Accept"] = []string{"application/json"}
	if a.ClientAuth == "body" {
		form.Set("client_id", a.ClientID)
		form.Set("client_secret", a.ClientSecret)
	} else {
		pair := url.QueryEscape(a.ClientID) + ":" + url.QueryEscape(a.ClientSecret)
		t.headers["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}
	}
	t.body = []byte(form.Encode())
	t.closing, t.end = context.WithCancel(context.Background())
	t.ask = t.request
	return t, nil
}

// close cancels a running token request and waits for it.
func (t *tokens) close() {
	t.mu.Lock()
	t.end()
	t.mu.Unlock()
	t.running.Wait()
}

// get returns a token other than stale, which the server has just rejected. It
// blocks only if there is no valid token.
func (t *tokens) get(ctx context.Context, stale string) (string, *fault.Failure) {
	t.mu.Lock()
	now := time.Now()
	if t.token != "" && t.token == stale {
		t.token = ""
	}
	if t.token != "" && now.Before(t.endsAt) {
		token := t.token
		if now.After(t.renewAt) && t.fetch == nil && now.Sub(t.failed) >= tokenPause {
			t.start()
		}
		t.mu.Unlock()
		return token, nil
	}
	if t.fetch == nil {
		if t.failure != nil && now.Sub(t.failed) < tokenPause {
			f := *t.failure
			t.mu.Unlock()
			return "", &f
		}
		t.start()
	}
	waiting := t.fetch
	t.mu.Unlock()
	select {
	case <-waiting.done:
	case <-ctx.Done():
		return "", connectors.Interrupted(ctx, noToken)
	}
	if waiting.failure != nil {
		f := *waiting.failure
		return "", &f
	}
	return waiting.token, nil
}

// noToken begins the messages of failed token requests. The URL may contain a
// secret.
const noToken = "cannot get an access token from the token_url"

// start begins a token request. The caller must hold mu.
func (t *tokens) start() {
	f := &fetch{done: make(chan struct{})}
	t.fetch = f
	t.running.Go(func() {
		defer close(f.done)
		token, life, failure := t.ask()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.fetch = nil
		f.token, f.failure = token, failure
		now := time.Now()
		if t.failure = failure; failure != nil {
			t.failed = now
			return
		}
		t.token, t.endsAt = token, now.Add(life)
		t.renewAt = t.endsAt.Add(-min(tokenMargin, life/5))
	})
}

// request requests a token once. Nothing was sent to the target system, so a
// temporary problem is a connect failure.
func (t *tokens) request() (string, time.Duration, *fault.Failure) {
	ctx, cancel := context.WithTimeout(t.closing, tokenTimeout)
	defer cancel()
	r := &request{method: nethttp.MethodPost, url: t.url, base: &t.conn.base, headers: t.headers, body: inMemory(t.body)}
	what := noToken
	resp, f := t.conn.send(ctx, r)
	if f != nil && f.Code == codeRefused {
		f.Message = what + ": " + f.Message
		return "", 0, f
	}
	if f != nil {
		f.Code, f.Message, f.Retryable, f.Source = fault.CodeConnect, what+": "+f.Message, true, fault.FromConnector
		return "", 0, f
	}
	defer resp.Body.Close()
	body, err := httpclient.ReadBody(nil, resp, tokenAnswer)
	if resp.StatusCode != nethttp.StatusOK {
		code, again := codeAuth, connectors.RetryableStatus(resp.StatusCode)
		if again {
			code = fault.CodeConnect
		}
		f := connectors.Failf(code, again, nil, "%s: status %d %s%s", what, resp.StatusCode, nethttp.StatusText(resp.StatusCode), reason(ctx, body, resp.Header.Get("Content-Type")))
		f.RetryAfter = connectors.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
		return "", 0, f
	}
	if err != nil {
		broke := httpclient.BodyFailure(ctx, err, what, tokenAnswer)
		if broke.Retryable {
			broke.Code = fault.CodeConnect
		} else {
			broke.Code = codeAuth
		}
		return "", 0, broke
	}
	doc, err := convert.Decode(ctx, body, convert.Received{Format: formatJSON, ContentType: resp.Header.Get("Content-Type")})
	if err != nil {
		return "", 0, connectors.Failf(codeAuth, false, err, "%s: the response is not JSON: %v", what, err)
	}
	answer := document.Decode(doc.Value())
	token, kind := textOf(answer, "access_token"), textOf(answer, "token_type")
	switch {
	case token == "":
		return "", 0, connectors.Failf(codeAuth, false, nil, "%s: the response has no access_token", what)
	case headerProblem("Authorization", token) != "":
		return "", 0, connectors.Failf(codeAuth, false, nil, "%s: the access_token cannot be sent in a header", what)
	case kind != "" && !strings.EqualFold(kind, "bearer"):
		return "", 0, connectors.Failf(codeAuth, false, nil, "%s: token_type %s is not bearer", what, quote(kind))
	}
	return token, lifetime(textOf(answer, "expires_in")), nil
}

// textOf returns text or a number of an object as text, or "".
func textOf(object any, key string) string {
	switch v, _ := document.Key(object, key); v := v.(type) {
	case string:
		return v
	case document.Number:
		return string(v)
	}
	return ""
}

// lifetime parses expires_in: seconds, which some servers write as text.
// Without it a token is used until it is rejected.
func lifetime(seconds string) time.Duration {
	n, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(n > 0 && n < tokenLifetime.Seconds()) {
		return tokenLifetime
	}
	return time.Duration(n * float64(time.Second))
}

// reason returns the error in a token response (RFC 6749, 5.2), or "".
func reason(ctx context.Context, body []byte, contentType string) string {
	doc, err := convert.Decode(ctx, body, convert.Received{Format: formatJSON, ContentType: contentType})
	if err != nil {
		return ""
	}
	answer := document.Decode(doc.Value())
	code, text := textOf(answer, "error"), textOf(answer, "error_description")
	switch {
	case code == "":
		return ""
	case text == "":
		return ": " + quote(code)
	}
	return ": " + quote(code) + ", " + quote(text)
}
