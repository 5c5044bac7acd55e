package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"valence/internal/agent"
)

// planeFlags say which control plane a command talks to, and as whom.
type planeFlags struct {
	To        string `env:"VALENCE_CLOUD_URL" placeholder:"URL" help:"Address of the control plane, such as https://cloud.example."`
	Account   string `default:"default" env:"VALENCE_CLOUD_ACCOUNT" help:"Account."`
	TokenFile string `env:"VALENCE_CLOUD_TOKEN_FILE" placeholder:"FILE" help:"File with an API token of the account: valence cloud token makes one. VALENCE_CLOUD_TOKEN may hold the token itself."`
	CA        string `name:"ca" env:"VALENCE_CLOUD_CA" placeholder:"FILE" help:"Certificates (PEM) to trust in place of the system's."`
}

// platformAPI is the platform API of one account.
type platformAPI struct {
	address string
	account string
	base    string
	token   string
	http    *http.Client
}

func (f *planeFlags) open() (*platformAPI, error) {
	if f.To == "" {
		return nil, usage("--to https://cloud.example", "which control plane? Name its address")
	}
	address, err := agent.CheckAddress(f.To)
	if err != nil {
		return nil, usage("--to https://cloud.example", "%v", err)
	}
	p := &platformAPI{address: address, account: f.Account, base: address + "/api/rest/v1/" + f.Account + "/", token: os.Getenv("VALENCE_CLOUD_TOKEN")}
	if f.TokenFile != "" {
		text, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, failed("--token-file FILE with an API token", "%v", err)
		}
		p.token = string(text)
	}
	if p.token = strings.TrimSpace(p.token); p.token == "" {
		return nil, usage("--token-file FILE, with a token that valence cloud token --role deployer makes", "the control plane asks for an API token")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.OnProxyConnectResponse = agent.ProxyAnswer
	if f.CA != "" {
		roots, err := certificates(f.CA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	p.http = &http.Client{Transport: transport, Timeout: 10 * time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return p, nil
}

// call makes one call and decodes its answer into out; nil: it is bytes, which
// are given. Errors are ready to be shown.
func (p *platformAPI) call(ctx context.Context, method, path string, body []byte, header http.Header, out any) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		text, wait, err := p.once(ctx, method, path, body, header)
		if wait > 0 && attempt < 5 {
			select {
			case <-time.After(wait):
				continue
			case <-ctx.Done():
			}
		}
		if err != nil || out == nil {
			return text, err
		}
		if err := json.Unmarshal(text, out); err != nil {
			return nil, failed("the address of a control plane", "the answer of %s cannot be read: %v", p.address, err)
		}
		return text, nil
	}
}

// once makes a call, and gives how long to wait where it is to be made again.
func (p *platformAPI) once(ctx context.Context, method, path string, body []byte, header http.Header) ([]byte, time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	for name, values := range header {
		r.Header[name] = values
	}
	r.SetBasicAuth("BOOMI_TOKEN.", p.token)
	resp, err := p.http.Do(r)
	if err != nil {
		return nil, 0, reachError(p.address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 512<<20))
	if err != nil {
		return nil, 0, failed("the same again", "the answer of %s broke off: %v", p.address, err)
	}
	if resp.StatusCode/100 == 2 {
		return text, 0, nil
	}
	said := struct {
		Message string `json:"message"`
	}{}
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		if resp.StatusCode < 500 {
			return nil, 0, noPlane(p.address, resp.StatusCode)
		}
		said.Message = fmt.Sprintf("%s answered %d %s", p.address, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return nil, 0, tokenRefused(p.account)
	case http.StatusForbidden:
		return nil, 0, wrong("a token of that role: an admin makes one with valence cloud token --role ROLE", "%s", said.Message)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return nil, time.Second << min(max(len(resp.Header.Get("Retry-After")), 1)-1, 2), failed("the same again in a few seconds", "%s", said.Message)
	}
	if resp.StatusCode >= 500 {
		return nil, 0, failed("the log of the control plane", "%s", said.Message)
	}
	return nil, 0, advised(said.Message)
}

// post calls with a body in JSON.
func (p *platformAPI) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	_, err = p.call(ctx, http.MethodPost, path, body, nil, out)
	return err
}

// where is an equation of a query.
type where struct{ property, value string }

// query gives every object that all equations hold for.
func query[T any](ctx context.Context, p *platformAPI, object string, all ...where) ([]T, error) {
	type expression map[string]any
	var nested []expression
	for _, w := range all {
		nested = append(nested, expression{"operator": "EQUALS", "property": w.property, "argument": []string{w.value}})
	}
	in := map[string]any{}
	switch len(nested) {
	case 0:
	case 1:
		in["QueryFilter"] = map[string]any{"expression": nested[0]}
	default:
		in["QueryFilter"] = map[string]any{"expression": expression{"operator": "and", "nestedExpression": nested}}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var found []T
	path, header := object+"/query", http.Header(nil)
	for {
		var page struct {
			Token  string `json:"queryToken"`
			Result []T    `json:"result"`
		}
		if _, err := p.call(ctx, http.MethodPost, path, body, header, &page); err != nil {
			return nil, err
		}
		found = append(found, page.Result...)
		if page.Token == "" {
			return found, nil
		}
		if len(found) > 1_000_000 {
			return nil, errors.New("the answers of the control plane do not end")
		}
		path, body, header = object+"/queryMore", []byte(page.Token), http.Header{"Content-Type": {"text/plain"}}
	}
}
