package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/console"
)

// addressFile holds, in the data folder, where the atom that runs there answers.
const addressFile = "running.json"

// defaultAdmin is where an admin plane answers unless told otherwise.
const defaultAdmin = "http://127.0.0.1:9091"

// remote are the flags of commands that talk to a running atom.
type remote struct {
	Data      string `default:"data" env:"VALENCE_DATA" help:"Data folder of the atom, where its address and token are found."`
	Admin     string `env:"VALENCE_ADMIN" placeholder:"URL" help:"Address of the admin plane, in place of the one in the data folder."`
	TokenFile string `env:"VALENCE_TOKEN_FILE" placeholder:"FILE" help:"File with the admin token, in place of admin.token in the data folder. VALENCE_TOKEN may hold the token itself."`
	AdminCA   string `env:"VALENCE_ADMIN_CA" placeholder:"FILE" help:"Certificates to trust for an admin plane with TLS."`
}

// client calls the admin API of one atom.
type client struct{ peer }

func (r *remote) client() (*client, error) {
	c := &client{peer{base: defaultAdmin, what: "atom", start: "valence run, or --admin URL if it runs elsewhere", http: &http.Client{Timeout: 5 * time.Minute}}}
	if running, ok := readAddress(r.Data); ok {
		c.base = running.Admin
	}
	if r.Admin != "" {
		c.base = r.Admin
	}
	if !strings.Contains(c.base, "://") {
		c.base = "http://" + c.base
	}
	u, err := url.Parse(c.base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage("--admin http://127.0.0.1:9091", "%q is no address of an admin plane", c.base)
	}
	c.base = strings.TrimSuffix(c.base, "/")
	if r.AdminCA != "" {
		roots, err := certificates(r.AdminCA)
		if err != nil {
			return nil, err
		}
		c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	}
	if c.token = os.Getenv("VALENCE_TOKEN"); c.token != "" && r.TokenFile == "" {
		return c, nil
	}
	path := r.TokenFile
	if path == "" {
		path = filepath.Join(r.Data, console.TokenFile)
	}
	c.token, err = console.ReadToken(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failed("valence run in the folder of the atom, or --data DIR with its data folder", "there is no admin token at %s", path)
	case errors.Is(err, console.ErrOpenToOthers) && r.TokenFile != "":
		return nil, failed("chmod 600 "+path, "the token in %s may be read by others", path)
	case errors.Is(err, fs.ErrPermission) && r.TokenFile == "":
		return nil, notOwner(r.Data)
	case err != nil:
		return nil, failed("valence run again, which makes a new one", "%v", err)
	}
	return c, nil
}

func certificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, failed("name a file with PEM certificates", "%v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, failed("name a file with PEM certificates", "%s holds no certificate", file)
	}
	return pool, nil
}

// refusal is a problem document of the admin plane.
type refusal struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

func (r *refusal) Error() string {
	text := strings.TrimSuffix(r.Detail, ".")
	if text == "" {
		text = fmt.Sprintf("the atom answered %d %s", r.Status, r.Title)
	}
	for _, e := range r.Errors {
		at := e.Pointer
		if at == "" {
			at = "the whole"
		}
		text += fmt.Sprintf("\n    %s: %s", at, e.Detail)
	}
	return text
}

// call makes one call of the admin API and gives the body of its answer.
// Errors are ready to be shown.
func (c *client) call(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	status, text, err := c.ask(ctx, method, "/api/v1"+path, body)
	if err != nil {
		return nil, err
	}
	if status < 300 {
		return text, nil
	}
	r := &refusal{}
	if json.Unmarshal(text, r) != nil {
		r = &refusal{}
	}
	if r.Status == 0 {
		r.Status, r.Title = status, http.StatusText(status)
	}
	return nil, r.mistake()
}

// mistake gives the refusal as an error that tells what to do.
func (r *refusal) mistake() error {
	switch {
	case r.Status == http.StatusUnauthorized:
		return failed("--data DIR with the data folder of the atom that answers there", "the atom does not accept this token")
	case r.Status == http.StatusNotFound:
		return wrong("valence processes, or valence executions, for what there is", "%s", lower(r.Error()))
	case r.Status == http.StatusServiceUnavailable:
		return failed("the same again in a few seconds", "%s", lower(r.Error()))
	case r.Status >= 500:
		return failed("the log of the atom", "%s", lower(r.Error()))
	}
	if why, try, ok := strings.Cut(r.Detail, " Try: "); ok {
		r.Detail = why
		return wrong(strings.TrimSuffix(try, "."), "%s", lower(r.Error()))
	}
	if r.Status == http.StatusConflict {
		return wrong("valence executions show EXECUTION tells where it stands", "%s", lower(r.Error()))
	}
	return wrong("the command with --help tells what it takes", "%s", lower(r.Error()))
}

func lower(s string) string {
	if s == "" || len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
