package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// PlatformFlags are the flags of commands that call the platform API.
type PlatformFlags struct {
	To        string `group:"Connection:" env:"VALENCE_CLOUD_URL" placeholder:"URL" help:"Address of the control plane, such as https://cloud.example."`
	Account   string `group:"Connection:" default:"default" env:"VALENCE_CLOUD_ACCOUNT" help:"Account."`
	TokenFile string `group:"Connection:" env:"VALENCE_CLOUD_TOKEN_FILE" placeholder:"FILE" help:"File with an API token of the account, created with valence cloud token. VALENCE_CLOUD_TOKEN can hold the token itself."`
	CA        string `group:"Connection:" name:"ca" env:"VALENCE_CLOUD_CA" placeholder:"FILE" help:"CA certificates (PEM) to trust instead of the system's."`
}

// Platform calls the platform API of one account.
type Platform struct {
	client
	account string
	token   string
	root    string // path of the account's API, with a trailing slash
}

// platformTimeout limits a request of the platform API, which may carry a package.
const platformTimeout = 10 * time.Minute

// Connect returns a client for the platform API that the flags name.
func (f *PlatformFlags) Connect() (*Platform, error) {
	if f.To == "" {
		return nil, clierror.Usage("--to https://cloud.example", "the address of the control plane is missing")
	}
	base, err := cloudclient.NormalizeAddress(f.To)
	if err != nil {
		return nil, clierror.Usage("--to https://cloud.example", "%v", err)
	}
	token := os.Getenv("VALENCE_CLOUD_TOKEN")
	if f.TokenFile != "" {
		text, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, clierror.Failed("--token-file FILE with an API token", "%v", err)
		}
		token = string(text)
	}
	if token = strings.TrimSpace(token); token == "" {
		return nil, clierror.Usage("--token-file FILE with a token from valence cloud token --role deployer", "the control plane needs an API token")
	}
	t, err := transport(f.CA)
	if err != nil {
		return nil, err
	}
	h := &http.Client{Transport: t, Timeout: platformTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return newPlatform(base, f.Account, token, h), nil
}

// Platform returns a client for the platform API of the same control plane.
func (f *CloudFlags) Platform() (*Platform, error) {
	c, err := f.Connect()
	if err != nil {
		return nil, err
	}
	return newPlatform(c.base, c.account, c.token, c.http), nil
}

func newPlatform(base, account, token string, h *http.Client) *Platform {
	return &Platform{
		client: client{
			base: base, server: "control plane",
			authorize: func(r *http.Request) { r.SetBasicAuth("BOOMI_TOKEN.", token) },
			explain:   func(err error) error { return ConnectError(base, err) },
			http:      h,
		},
		account: account, token: token, root: "/api/rest/v1/" + url.PathEscape(account) + "/",
	}
}

// Operator returns a client for the operator API of the same control plane.
func (p *Platform) Operator() *Cloud {
	c := &Cloud{client: p.client, account: p.account, token: p.token}
	c.authorize = bearer(p.token)
	return c
}

// maxRetries is how often a call is repeated while the control plane is busy.
const maxRetries = 5

// Call makes one call and decodes the JSON response into out. With a nil out
// the response is returned as it is. Calls that the control plane asks to
// repeat are repeated a few times.
func (p *Platform) Call(ctx context.Context, method, path string, body []byte, header http.Header, out any) ([]byte, error) {
	if header == nil {
		header = http.Header{}
	}
	if header.Get("Content-Type") == "" {
		header = header.Clone()
		header.Set("Content-Type", "application/json")
	}
	for attempt := 0; ; attempt++ {
		r, err := p.do(ctx, request{method, p.root + path, body, header})
		if err != nil {
			return nil, err
		}
		if r.status/100 == 2 {
			return r.body, p.decode(r.body, out)
		}
		wait := retryDelay(r)
		if wait == 0 || attempt == maxRetries || terminal.Sleep(ctx, wait) != nil {
			return nil, p.refused(r)
		}
	}
}

func (p *Platform) decode(body []byte, out any) error {
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return clierror.Failed("use the address of a control plane", "cannot read the response of %s: %v", p.base, err)
	}
	return nil
}

// retryDelay returns after which time a refused call is repeated: 1s, 2s or 4s
// for a Retry-After of one, two or more digits. 0 means never.
func retryDelay(r *response) time.Duration {
	if r.status != http.StatusServiceUnavailable && r.status != http.StatusTooManyRequests || platformMessage(r) == "" {
		return 0
	}
	return time.Second << min(max(len(r.header.Get("Retry-After")), 1)-1, 2)
}

// platformMessage returns the message of an error response; empty if it has none.
func platformMessage(r *response) string {
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(r.body, &e) != nil {
		return ""
	}
	return e.Message
}

// refused returns a response without success as an error with a hint.
func (p *Platform) refused(r *response) error {
	message := platformMessage(r)
	if message == "" {
		if r.status < 500 {
			return notControlPlane(p.base, r.status)
		}
		message = fmt.Sprintf("%s answered %d %s", p.base, r.status, http.StatusText(r.status))
	}
	switch {
	case r.status == http.StatusUnauthorized:
		return tokenRejected(p.account)
	case r.status == http.StatusForbidden:
		return clierror.Invalid("use a token with that role: an admin creates one with valence cloud token --role ROLE", "%s", message)
	case r.status == http.StatusServiceUnavailable, r.status == http.StatusTooManyRequests:
		return clierror.Failed("run the command again in a few seconds", "%s", message)
	case r.status >= 500:
		return clierror.Failed("read the log of the control plane", "%s", message)
	}
	return withHint(message)
}

// Post makes one call with a JSON body and decodes the response into out.
func (p *Platform) Post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	_, err = p.Call(ctx, http.MethodPost, path, body, nil, out)
	return err
}

// Equal is a condition of a query: a property and its value.
type Equal struct{ Property, Value string }

// maxResults is the number of objects after which a query is abandoned.
const maxResults = 1_000_000

// Query returns all objects that meet all conditions.
func Query[T any](ctx context.Context, p *Platform, object string, conditions ...Equal) ([]T, error) {
	type expression map[string]any
	var nested []expression
	for _, c := range conditions {
		nested = append(nested, expression{"operator": "EQUALS", "property": c.Property, "argument": []string{c.Value}})
	}
	in := map[string]any{}
	switch len(nested) {
	case 0:
	case 1:
		in["QueryFilter"] = map[string]any{"expression": nested[0]}
	default:
		in["QueryFilter"] = map[string]any{"expression": expression{"operator": "and", "nestedExpression": nested}}
	}
	var found []T
	err := Pages(ctx, p, object, in, func(page []T) bool {
		found = append(found, page...)
		return len(found) <= maxResults
	})
	if err == nil && len(found) > maxResults {
		err = errors.New("the control plane returned too many results")
	}
	return found, err
}

// Pages calls page with each page of the results of a query until it returns
// false or there are no more.
func Pages[T any](ctx context.Context, p *Platform, object string, in any, page func([]T) bool) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	path, header := object+"/query", http.Header(nil)
	for {
		var result struct {
			Token  string `json:"queryToken"`
			Result []T    `json:"result"`
		}
		if _, err := p.Call(ctx, http.MethodPost, path, body, header, &result); err != nil {
			return err
		}
		if !page(result.Result) || result.Token == "" {
			return nil
		}
		path, body, header = object+"/queryMore", []byte(result.Token), http.Header{"Content-Type": {"text/plain"}}
	}
}
