package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/atom/server"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
	"valence/internal/version"
)

// JoinCommand enrolls an atom with a control plane.
type JoinCommand struct {
	URL       string   `arg:"" help:"Address of the control plane; https unless it is on this machine."`
	Token     string   `env:"VALENCE_INSTALL_TOKEN" placeholder:"T" help:"Install token, created with valence cloud install-token. It works once."`
	TokenFile string   `placeholder:"FILE" help:"File with the install token, instead of --token."`
	Name      string   `placeholder:"NAME" help:"Name that operators see; default: the host name."`
	Data      string   `default:"data" env:"VALENCE_DATA" help:"Data folder of the atom."`
	CA        string   `name:"ca" placeholder:"FILE" help:"CA certificates (PEM) to trust instead of the system's."`
	Publisher []string `sep:"none" placeholder:"KEY" help:"Public key of a publisher, or a file with it. The atom then runs only packages signed by one of its publishers. May be repeated."`
	Again     bool     `help:"Join even if this folder has joined before. The old enrollment and its deployments are discarded."`
	JSON      bool     `name:"json" help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*JoinCommand) Help() string {
	return `The atom creates its keys on this machine. The private keys stay in the data folder,
readable by its owner only. Afterwards "valence run --data DIR" runs what the
control plane deploys. The atom only makes outbound requests; HTTPS_PROXY and
NO_PROXY are honored.

Example:

    valence join https://cloud.example --token vi_… --name edge-01 --data /var/lib/valence
    valence run --data /var/lib/valence
`
}

// joinTimeout limits the enrollment.
const joinTimeout = time.Minute

// Run enrolls the atom of a data folder.
func (c *JoinCommand) Run(s *terminal.Streams) error {
	token, err := c.token()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
		if c.Name == "" {
			return clierror.Usage("--name NAME", "this machine has no host name: %v", err)
		}
	}
	if c.Name == "" {
		c.Name = host
	}
	id, err := c.identity()
	if err != nil {
		return err
	}
	if err := datafolder.Create(c.Data); err != nil {
		return err
	}
	lock, err := sqlitedb.LockDir(c.Data)
	if err != nil {
		return server.OpenError(c.Data, err)
	}
	defer lock.Release()
	if group := server.GroupOf(c.Data); group != "" {
		return clierror.Invalid("--data DIR with the folder of an atom of its own", "%s belongs to a member of the group %s, to which a control plane cannot deploy", c.Data, group)
	}
	if err := c.checkEnrollment(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), joinTimeout)
	defer cancel()
	if err := cloudclient.Join(ctx, c.Data, id, token, version.String(), host); err != nil {
		return client.ConnectError(id.URL, err)
	}
	return c.print(s, id)
}

// checkEnrollment returns an error if the folder is enrolled already, unless
// --again is set.
func (c *JoinCommand) checkEnrollment() error {
	id, err := cloudclient.LoadIdentity(c.Data)
	switch {
	case c.Again:
		return nil
	case err == nil:
		return clierror.Invalid("--again, to discard that enrollment, or --data DIR with another folder", "%s has already joined %s, as %s", c.Data, id.URL, id.Name)
	case !errors.Is(err, cloudclient.ErrNotJoined):
		return clierror.Failed("--again, to enroll anew", "%v", err)
	}
	return nil
}

func (c *JoinCommand) token() (string, error) {
	token := c.Token
	if c.TokenFile != "" {
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", clierror.Failed("--token-file FILE with the install token", "%v", err)
		}
		token = string(text)
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", clierror.Usage("--token T, created with valence cloud install-token", "the install token is missing")
	}
	return token, nil
}

// identity returns the identity that the flags describe, with new keys.
func (c *JoinCommand) identity() (*cloudclient.Identity, error) {
	ca := ""
	if c.CA != "" {
		if _, err := client.Certificates(c.CA); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, clierror.Failed("name a file with PEM certificates", "%v", err)
		}
		ca = string(text)
	}
	publishers := make([]string, len(c.Publisher))
	for i, p := range c.Publisher {
		publishers[i] = strings.TrimSpace(p)
		if strings.HasPrefix(p, "ed25519:") {
			continue
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, clierror.Usage("--publisher ed25519:…, or a file with it from valence deploy --make-key FILE", "%v", err)
		}
		publishers[i] = strings.TrimSpace(string(text))
	}
	id, err := cloudclient.NewIdentity(c.URL, c.Name, ca, publishers)
	if err != nil {
		return nil, clierror.Usage("valence join https://cloud.example", "%v", err)
	}
	return id, nil
}

func (c *JoinCommand) print(s *terminal.Streams, id *cloudclient.Identity) error {
	if c.JSON {
		return json.NewEncoder(s.Out).Encode(map[string]string{
			"atom": id.Atom, "name": id.Name, "account": id.Account, "environment": id.Environment, "url": id.URL, "data": c.Data,
		})
	}
	attached := "the environment " + id.Environment
	if id.Environment == "" {
		attached = "no environment yet; valence cloud attach attaches it"
	}
	fmt.Fprintf(s.Out, "%s has joined %s\n  atom         %s\n  account      %s\n  attached to  %s\n", id.Name, id.URL, id.Atom, id.Account, attached)
	if n := len(id.Publishers); n > 0 {
		fmt.Fprintf(s.Out, "  publishers   %s; only packages they signed run\n", terminal.Count(n, "key", "keys"))
	}
	fmt.Fprintf(s.Out, "start it: valence run --data %s\n", filepath.ToSlash(c.Data))
	return nil
}
