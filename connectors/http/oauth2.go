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

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

const (
	tokenTimeout  = 30 * time.Second
	tokenAnswer   = 64 << 10
	tokenMargin   = time.Minute // before a token ends, the next is fetched
	tokenPause    = time.Second // between failed fetches
	tokenLifetime = 10 * 365 * 24 * time.Hour
)

// tokens holds the access token of a connection: one for all calls, fetched
// by one request at a time (RFC 6749, 4.4).
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
	renewAt time.Time // from here on the next one is fetched beside the calls
	endsAt  time.Time
	fetch   *fetch // under way
	failure *fault.Failure
	failed  time.Time
}

// fetch is one token request; done closes once its outcome stands.
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
	t := &tokens{conn: c, url: u, headers: clone(c.foreign, 3)}
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

// close ends a fetch under way and waits for it.
func (t *tokens) close() {
	t.mu.Lock()
	t.end()
	t.mu.Unlock()
	t.running.Wait()
}

// get gives a token that is not stale, the one that the server has just
// refused. It waits only where there is no usable one.
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
		return "", interrupted(ctx, "an access token from "+t.where())
	}
	if waiting.failure != nil {
		f := *waiting.failure
		return "", &f
	}
	return waiting.token, nil
}

func (t *tokens) where() string { return t.url.Scheme + "://" + t.url.Host + t.url.EscapedPath() }

// start begins a fetch. Whoever calls holds the lock.
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

// request asks for a token once. Whatever goes wrong, nothing was sent to the
// system that the token is for; so a passing trouble is a connect failure.
func (t *tokens) request() (string, time.Duration, *fault.Failure) {
	ctx, cancel := context.WithTimeout(t.closing, tokenTimeout)
	defer cancel()
	r := &request{method: nethttp.MethodPost, url: t.url, headers: t.headers, body: t.body}
	what := "an access token from " + t.where()
	resp, f := t.conn.send(ctx, r)
	if f != nil {
		f.Code, f.Message, f.Retryable, f.Origin = fault.CodeConnect, what+": "+f.Message, true, fault.FromConnector
		return "", 0, f
	}
	defer resp.Body.Close()
	body, err := readBody(resp, tokenAnswer)
	if resp.StatusCode != nethttp.StatusOK {
		code, again := codeAuth, retryableStatus(resp.StatusCode)
		if again {
			code = fault.CodeConnect
		}
		f := failed(code, again, nil, "%s: answered %d %s%s", what, resp.StatusCode, nethttp.StatusText(resp.StatusCode), reason(body))
		f.RetryAfter = retryAfter(resp.Header, time.Now())
		return "", 0, f
	}
	if err != nil {
		broke := unreadable(ctx, err, what, tokenAnswer)
		if broke.Retryable {
			broke.Code = fault.CodeConnect
		} else {
			broke.Code = codeAuth
		}
		return "", 0, broke
	}
	if err := convert.CheckJSON(body); err != nil {
		return "", 0, failed(codeAuth, false, err, "%s: the answer is no JSON: %v", what, err)
	}
	answer := document.Decode(document.Parse(string(body)))
	token, kind := textOf(answer, "access_token"), textOf(answer, "token_type")
	switch {
	case token == "":
		return "", 0, failed(codeAuth, false, nil, "%s: the answer has no access_token", what)
	case badHeader("Authorization", token) != "":
		return "", 0, failed(codeAuth, false, nil, "%s: the access_token cannot be sent in a header", what)
	case kind != "" && !strings.EqualFold(kind, "bearer"):
		return "", 0, failed(codeAuth, false, nil, "%s: token_type %s is not bearer", what, quote(kind))
	}
	return token, lifetime(textOf(answer, "expires_in")), nil
}

// textOf reads a text or number of an object, "" if it is not there.
func textOf(object any, key string) string {
	switch v, _ := document.Key(object, key); v := v.(type) {
	case string:
		return v
	case document.Number:
		return string(v)
	}
	return ""
}

// lifetime reads expires_in: seconds, which some servers write as text.
// Without it a token is good until it is refused.
func lifetime(seconds string) time.Duration {
	n, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(n > 0 && n < tokenLifetime.Seconds()) {
		return tokenLifetime
	}
	return time.Duration(n * float64(time.Second))
}

// reason is what RFC 6749, 5.2 lets a server say, if it does.
func reason(body []byte) string {
	if convert.CheckJSON(body) != nil {
		return ""
	}
	answer := document.Decode(document.Parse(string(body)))
	code, text := textOf(answer, "error"), textOf(answer, "error_description")
	switch {
	case code == "":
		return ""
	case text == "":
		return ": " + quote(code)
	}
	return ": " + quote(code) + ", " + quote(text)
}
