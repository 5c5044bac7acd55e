package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"valence/internal/clierror"
	"valence/internal/datafolder"
)

// defaultAdmin is the default address of the admin API.
const defaultAdmin = "http://127.0.0.1:9091"

// requestTimeout limits a request to an atom or a control plane.
const requestTimeout = 5 * time.Minute

// AtomFlags are the flags of commands that call a running atom.
type AtomFlags struct {
	Data      string `group:"Connection:" default:"data" env:"VALENCE_DATA" help:"Data folder of the atom, which has its address and token."`
	Admin     string `group:"Connection:" env:"VALENCE_ADMIN" placeholder:"URL" help:"Address of the admin API, instead of the one in the data folder."`
	TokenFile string `group:"Connection:" env:"VALENCE_TOKEN_FILE" placeholder:"FILE" help:"File with the admin token, instead of admin.token in the data folder. VALENCE_TOKEN can hold the token itself."`
	AdminCA   string `group:"Connection:" env:"VALENCE_ADMIN_CA" placeholder:"FILE" help:"CA certificates (PEM) for an admin API with TLS."`
}

// Atom calls the admin API of an atom.
type Atom struct{ client }

// NewAtom returns a client for the admin API at base.
func NewAtom(base, token string) *Atom {
	return &Atom{client{
		base: base, server: "atom", start: "valence run, or --admin URL if the atom runs elsewhere",
		authorize: bearer(token), http: &http.Client{Timeout: requestTimeout},
	}}
}

// Connect returns a client for the atom that the flags name.
func (f *AtomFlags) Connect() (*Atom, error) {
	base := f.address()
	if f.Admin != "" {
		base = f.Admin
	}
	return f.connect(base, f.token)
}

// ConnectUntrusted is Connect for a data folder that others may have written. An
// address in it must be one of this machine, and the token is the one in it.
func (f *AtomFlags) ConnectUntrusted() (*Atom, error) {
	if f.Admin != "" {
		return f.Connect()
	}
	base := f.address()
	u, err := url.Parse(base)
	if err != nil || !isLoopback(u.Hostname()) {
		return nil, clierror.Usage("--admin URL", "the atom of %s has the address %q, which is not on this machine", f.Data, base)
	}
	return f.connect(base, tokenSource{name: "admin token", data: f.Data, missing: "valence run in the atom's folder", invalid: "valence run again, which creates a new token"}.read)
}

// address returns the address in the data folder, or else the default one.
func (f *AtomFlags) address() string {
	if running, ok := datafolder.ReadAtomAddress(f.Data); ok {
		return running.Admin
	}
	return defaultAdmin
}

func (f *AtomFlags) connect(base string, readToken func() (string, error)) (*Atom, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, clierror.Usage("--admin http://127.0.0.1:9091", "invalid address of an admin API: %q", base)
	}
	a := NewAtom(strings.TrimSuffix(base, "/"), "")
	if f.AdminCA != "" {
		if a.http.Transport, err = transport(f.AdminCA); err != nil {
			return nil, err
		}
	}
	token, err := readToken()
	if err != nil {
		return nil, err
	}
	a.authorize = bearer(token)
	return a, nil
}

func (f *AtomFlags) token() (string, error) {
	return tokenSource{
		name: "admin token", value: os.Getenv("VALENCE_TOKEN"), file: f.TokenFile, data: f.Data,
		missing: "valence run in the atom's folder, or --data DIR with its data folder",
		invalid: "valence run again, which creates a new token",
	}.read()
}

// Call calls the admin API with a JSON body and returns the body of the response.
func (a *Atom) Call(ctx context.Context, method, path string, in any) (json.RawMessage, error) {
	body, err := encode(in)
	if err != nil {
		return nil, err
	}
	r, err := a.do(ctx, request{method: method, path: "/api/v1" + path, body: body})
	if err != nil {
		return nil, err
	}
	if r.status < 300 {
		return r.body, nil
	}
	p := &problem{}
	if json.Unmarshal(r.body, p) != nil || p.Status == 0 {
		p = &problem{Status: r.status, Title: http.StatusText(r.status), Detail: p.Detail}
	}
	return nil, p.atomError()
}

// atomError returns a problem of the admin API as an error with a hint.
func (p *problem) atomError() error {
	switch {
	case p.Status == http.StatusUnauthorized:
		return clierror.Failed("--data DIR with the data folder of the atom at this address", "the atom rejected the token")
	case p.Status == http.StatusNotFound:
		return clierror.Invalid("valence processes or valence executions, to list them", "%s", p.message())
	case p.Status == http.StatusServiceUnavailable:
		return clierror.Failed("run the command again in a few seconds", "%s", p.message())
	case p.Status >= 500:
		return clierror.Failed("read the log of the atom", "%s", p.message())
	}
	if detail, hint, ok := strings.Cut(p.Detail, " Try: "); ok {
		p.Detail = detail
		return clierror.Invalid(strings.TrimSuffix(hint, "."), "%s", p.message())
	}
	if p.Status == http.StatusConflict {
		return clierror.Invalid("valence executions show EXECUTION, to see its status", "%s", p.message())
	}
	return clierror.Invalid("run the command with --help", "%s", p.message())
}
