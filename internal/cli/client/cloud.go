package client

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"valence/cloud/operator"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/datafolder"
)

// CloudFlags are the flags of commands that call a running control plane.
type CloudFlags struct {
	Data      string `group:"Connection:" default:"cloud-data" env:"VALENCE_CLOUD_DATA" help:"Data folder of the control plane, which has its address and token."`
	URL       string `group:"Connection:" name:"url" env:"VALENCE_CLOUD_URL" placeholder:"URL" help:"Address of the control plane, instead of the one in the data folder."`
	TokenFile string `group:"Connection:" env:"VALENCE_CLOUD_TOKEN_FILE" placeholder:"FILE" help:"File with an API token, instead of admin.token in the data folder. VALENCE_CLOUD_TOKEN can hold the token itself."`
	CA        string `group:"Connection:" name:"ca" env:"VALENCE_CLOUD_CA" placeholder:"FILE" help:"CA certificates (PEM) for a control plane with TLS."`
	Account   string `group:"Connection:" default:"default" env:"VALENCE_CLOUD_ACCOUNT" help:"Account."`
}

// Cloud calls the operator API of a control plane.
type Cloud struct {
	client
	account string
	token   string
}

// Connect returns a client for the control plane that the flags name.
func (f *CloudFlags) Connect() (*Cloud, error) {
	base, err := f.address()
	if err != nil {
		return nil, err
	}
	t, err := transport(f.CA)
	if err != nil {
		return nil, err
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	return &Cloud{
		client: client{
			base: base, server: "control plane", start: "valence cloud, or --url URL if the control plane runs elsewhere",
			authorize: bearer(token), explain: func(err error) error { return connectionError(base, err) },
			http: &http.Client{Timeout: requestTimeout, Transport: t},
		},
		account: f.Account, token: token,
	}, nil
}

// address returns the URL of the control plane.
func (f *CloudFlags) address() (string, error) {
	base := f.URL
	if base == "" {
		running, ok := datafolder.ReadCloudAddress(f.Data)
		if err := datafolder.CheckReadable(f.Data, datafolder.CloudAddressFile); !ok && err != nil {
			return "", err
		}
		if !ok {
			return "", clierror.Failed("valence cloud --data "+f.Data+", or --url URL if it runs elsewhere", "no control plane runs on the data folder %s", f.Data)
		}
		base = running.URL
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", clierror.Usage("--url https://cloud.example", "invalid address of a control plane: %q", base)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return "", clierror.Usage("--url https://"+u.Host, "%s is not on this machine: without https, others could read the token", base)
	}
	base = strings.TrimSuffix(base, "/")
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", clierror.Usage("--url "+u.Scheme+"://"+u.Host, "the address %q may contain only https://, the host and the port", base)
	}
	return base, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (f *CloudFlags) token() (string, error) {
	return tokenSource{
		name: "token", value: os.Getenv("VALENCE_CLOUD_TOKEN"), file: f.TokenFile, data: f.Data,
		missing: "--data DIR with the control plane's data folder, --token-file FILE, or VALENCE_CLOUD_TOKEN",
		invalid: "--token-file FILE",
	}.read()
}

// Get calls the API and prints the response as JSON, or as a table that is
// built after the response was decoded into out.
func (f *CloudFlags) Get(s *terminal.Streams, asJSON bool, path string, out any, table func() *terminal.Table) error {
	text, err := f.Do(http.MethodGet, path, nil, out)
	if err != nil {
		return err
	}
	if asJSON {
		return terminal.PrintJSON(s.Out, text)
	}
	return table().Print(s.Out)
}

// Do connects and makes one call.
func (f *CloudFlags) Do(method, path string, in, out any) (json.RawMessage, error) {
	c, err := f.Connect()
	if err != nil {
		return nil, err
	}
	return c.Call(context.Background(), method, path, in, out)
}

// Refused is a response without success. Its error has a hint.
type Refused struct {
	Status int
	error
}

// Unwrap returns the error.
func (r *Refused) Unwrap() error { return r.error }

// Call calls the operator API with a JSON body, decodes the response into out
// unless it is nil, and returns the body of the response.
func (c *Cloud) Call(ctx context.Context, method, path string, in, out any) (json.RawMessage, error) {
	body, err := encode(in)
	if err != nil {
		return nil, err
	}
	r, err := c.do(ctx, request{method: method, path: operator.Root + url.PathEscape(c.account) + path, body: body})
	if err != nil {
		return nil, err
	}
	if r.status >= 300 {
		return nil, &Refused{r.status, c.refused(r)}
	}
	if out != nil {
		err = json.Unmarshal(r.body, out)
	}
	return r.body, err
}

// refused returns a response without success as an error with a hint.
func (c *Cloud) refused(r *response) error {
	p := &problem{}
	if err := json.Unmarshal(r.body, p); err != nil || p.Detail == "" {
		if r.status < 500 {
			return notControlPlane(c.base, r.status)
		}
		p.Detail = "the control plane answered " + http.StatusText(r.status)
	}
	detail := lower(strings.TrimSuffix(p.Detail, "."))
	switch {
	case r.status == http.StatusUnauthorized:
		return tokenRejected(c.account)
	case r.status == http.StatusForbidden:
		return clierror.Invalid("use a token with that role", "%s", detail)
	case r.status == http.StatusServiceUnavailable:
		return clierror.Failed("run the command again in a few seconds", "%s", detail)
	case r.status >= 500:
		return clierror.Failed("read the log of the control plane", "%s", detail)
	}
	return withHint(detail)
}

func tokenRejected(account string) error {
	return clierror.Failed("ask an admin to run valence cloud token list; or --account, --token-file or --data of this control plane",
		"the control plane rejected the token for the account %s: it is wrong, expired or revoked", account)
}

// listCommands are the commands that list the things of a kind.
var listCommands = map[string]string{
	"environment": "valence cloud environments", "atom": "valence cloud atoms", "token": "valence cloud token list",
	"deployment": "valence cloud deployments", "account": "valence cloud account", "process": "valence cloud listeners ATOM",
	"listener": "valence cloud listeners ATOM", "execution": "valence cloud executions", "schedule": "valence cloud schedules",
}

// withHint turns a message of a control plane into an error with a hint. The
// hint follows the last colon of the message, or lists the things of the kind
// that was not found.
func withHint(message string) error {
	message = strings.TrimSuffix(message, ".")
	if rest, ok := strings.CutPrefix(message, "there is no "); ok {
		kind, _, _ := strings.Cut(rest, " ")
		if list := listCommands[kind]; list != "" {
			return clierror.Invalid(list+", to list them", "%s", message)
		}
	}
	if rest, ok := strings.CutPrefix(message, "processId: "); ok { // a field name of the API
		return clierror.Invalid("valence cloud deployments, to list what is deployed", "%s", rest)
	}
	if i := strings.LastIndex(message, ": "); i > 0 && strings.Contains(message[:i], " ") {
		return clierror.Invalid(message[i+2:], "%s", message[:i])
	}
	return clierror.Invalid("run the command with --help", "%s", message)
}
