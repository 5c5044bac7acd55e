package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/cloud/operator"
	"valence/internal/agent"
	"valence/internal/console"
)

// cloudRemote are the flags of commands that talk to a running control plane.
type cloudRemote struct {
	Data      string `default:"cloud-data" env:"VALENCE_CLOUD_DATA" help:"Data folder of the control plane, where its address and token are found."`
	URL       string `name:"url" env:"VALENCE_CLOUD_URL" placeholder:"URL" help:"Address of the control plane, in place of the one in the data folder."`
	TokenFile string `env:"VALENCE_CLOUD_TOKEN_FILE" placeholder:"FILE" help:"File with an API token, in place of admin.token in the data folder. VALENCE_CLOUD_TOKEN may hold the token itself."`
	CA        string `name:"ca" env:"VALENCE_CLOUD_CA" placeholder:"FILE" help:"Certificates to trust for a control plane with TLS."`
	Account   string `default:"default" env:"VALENCE_CLOUD_ACCOUNT" help:"The account."`
}

// cloudClient calls the API of a control plane.
type cloudClient struct {
	peer
	account string
}

func (r *cloudRemote) client() (*cloudClient, error) {
	c := &cloudClient{
		peer:    peer{base: r.URL, what: "control plane", start: "valence cloud, or --url URL if it runs elsewhere", http: &http.Client{Timeout: 5 * time.Minute}},
		account: r.Account,
	}
	if c.base == "" {
		running, ok := readCloudAddress(r.Data)
		if err := closed(r.Data, cloudAddressFile); !ok && err != nil {
			return nil, err
		}
		if !ok {
			return nil, failed("valence cloud --data "+r.Data+", or --url URL if it runs elsewhere", "no control plane runs on the data folder %s", r.Data)
		}
		c.base = running.URL
	}
	u, err := url.Parse(c.base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage("--url https://cloud.example", "%q is no address of a control plane", c.base)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, usage("--url https://"+u.Host, "%s is not on this machine: without https the token could be read on its way", c.base)
	}
	c.base = strings.TrimSuffix(c.base, "/")
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, usage("--url "+u.Scheme+"://"+u.Host, "the address %q must hold nothing but https://, the host and the port", c.base)
	}
	c.unreachable = func(err error) error { return way(c.base, err) }
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.OnProxyConnectResponse = agent.ProxyAnswer
	c.http.Transport = transport
	if r.CA != "" {
		roots, err := certificates(r.CA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if c.token = os.Getenv("VALENCE_CLOUD_TOKEN"); c.token != "" && r.TokenFile == "" {
		return c, nil
	}
	path := r.TokenFile
	if path == "" {
		path = filepath.Join(r.Data, cloudTokenFile)
	}
	c.token, err = console.ReadToken(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failed("--data DIR with the control plane's data folder, --token-file FILE, or VALENCE_CLOUD_TOKEN", "there is no token at %s", path)
	case errors.Is(err, console.ErrOpenToOthers) && r.TokenFile != "":
		return nil, failed("chmod 600 "+path, "the token in %s may be read by others", path)
	case errors.Is(err, fs.ErrPermission) && r.TokenFile == "":
		return nil, notOwner(r.Data)
	case err != nil:
		return nil, failed("--token-file FILE", "%v", err)
	}
	return c, nil
}

// tokenRefused tells what to do where a token is not accepted.
func tokenRefused(account string) error {
	return failed("an admin's valence cloud token list, for when it ends; --account, --token-file or --data of the control plane that answers there",
		"the control plane does not accept this token for the account %s: it is wrong, has expired, or was revoked", account)
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// call makes one call of the API and reads its answer into out, which may be
// nil. It gives the answer itself, too.
func (c *cloudClient) call(ctx context.Context, method, path string, in, out any) (json.RawMessage, error) {
	status, text, err := c.ask(ctx, method, operator.Root+url.PathEscape(c.account)+path, in)
	if err != nil {
		return nil, err
	}
	if status >= 300 {
		return nil, c.refused(status, text)
	}
	if out != nil {
		err = json.Unmarshal(text, out)
	}
	return text, err
}

// refused gives an answer that is no success as an error that tells what to do.
func (c *cloudClient) refused(status int, text []byte) error {
	r := &refusal{}
	if err := json.Unmarshal(text, r); (err != nil || r.Detail == "") && status < 500 {
		return noPlane(c.base, status)
	} else if err != nil || r.Detail == "" {
		r.Detail = "the control plane answered " + http.StatusText(status)
	}
	detail := lower(strings.TrimSuffix(r.Detail, "."))
	switch {
	case status == http.StatusUnauthorized:
		return tokenRefused(c.account)
	case status == http.StatusForbidden:
		return wrong("a token of that role", "%s", detail)
	case status == http.StatusServiceUnavailable:
		return failed("the same again in a few seconds", "%s", detail)
	case status >= 500:
		return failed("the log of the control plane", "%s", detail)
	}
	return advised(detail)
}

// lists are the commands that tell what there is of a kind.
var lists = map[string]string{
	"environment": "valence cloud environments", "atom": "valence cloud atoms", "token": "valence cloud token list",
	"deployment": "valence cloud deployments", "account": "valence cloud account", "process": "valence cloud listeners ATOM",
	"listener": "valence cloud listeners ATOM", "execution": "valence cloud executions", "schedule": "valence cloud schedules",
}

// advised makes an error of what a control plane said. It says what to do
// behind the last colon, or that something is not there.
func advised(said string) error {
	said = strings.TrimSuffix(said, ".")
	if rest, ok := strings.CutPrefix(said, "there is no "); ok {
		kind, _, _ := strings.Cut(rest, " ")
		if list := lists[kind]; list != "" {
			return wrong(list+", which lists what there is", "%s", said)
		}
	}
	if rest, ok := strings.CutPrefix(said, "processId: "); ok { // the name that the API has for it
		return wrong("valence cloud deployments, which lists what is deployed where", "%s", rest)
	}
	if i := strings.LastIndex(said, ": "); i > 0 && strings.Contains(said[:i], " ") {
		return wrong(said[i+2:], "%s", said[:i])
	}
	return wrong("the same with --help, which shows examples", "%s", said)
}

// get makes a call and prints its answer: as JSON, or as the table that f makes.
func (r *cloudRemote) get(s *streams, asJSON bool, path string, out any, f func() *table) error {
	api, err := r.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), http.MethodGet, path, nil, out)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(s.out, text)
	}
	return f().print(s.out)
}

// do makes a call that changes something.
func (r *cloudRemote) do(method, path string, in, out any) (json.RawMessage, error) {
	api, err := r.client()
	if err != nil {
		return nil, err
	}
	return api.call(context.Background(), method, path, in, out)
}
