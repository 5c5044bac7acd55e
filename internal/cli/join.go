package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/agent"
	"valence/internal/sqlitedb"
)

type joinCmd struct {
	URL       string   `arg:"" help:"Address of the control plane, https unless it is this machine."`
	Token     string   `env:"VALENCE_INSTALL_TOKEN" placeholder:"T" help:"Install token: valence cloud install-token makes one. It works once."`
	TokenFile string   `placeholder:"FILE" help:"File with the install token, in place of --token."`
	Name      string   `placeholder:"NAME" help:"What operators see; the name of this machine by default."`
	Data      string   `default:"data" env:"VALENCE_DATA" help:"Data folder of the atom."`
	CA        string   `name:"ca" placeholder:"FILE" help:"Certificates (PEM) to trust in place of the system's."`
	Publisher []string `sep:"none" placeholder:"KEY" help:"Public key of a publisher, or a file with it: then nothing runs that none of them has signed. May be given several times."`
	Again     bool     `help:"Join although this folder has joined before: that membership and what was deployed with it is forgotten."`
	JSON      bool     `name:"json" help:"Print JSON."`
}

// Help is shown below the command's summary.
func (*joinCmd) Help() string {
	return `The atom makes its keys on this machine; the private ones stay in the data
folder, readable by its owner alone. Afterwards "valence run --data DIR" asks the
control plane what is deployed, by outgoing requests only. Proxies are taken from
HTTPS_PROXY and NO_PROXY.

Example:

    valence join https://cloud.example --token vi_… --name edge-01 --data /var/lib/valence
    valence run --data /var/lib/valence
`
}

const joinTime = time.Minute

// Run enrols the atom of a data folder.
func (c *joinCmd) Run(s *streams) error {
	token, err := c.token()
	if err != nil {
		return err
	}
	if c.Name == "" {
		if c.Name, err = os.Hostname(); err != nil {
			return usage("--name NAME", "this machine does not know its name: %v", err)
		}
	}
	id, err := c.identity()
	if err != nil {
		return err
	}
	if err := makeDataFolder(c.Data); err != nil {
		return err
	}
	lock, err := sqlitedb.LockDir(c.Data)
	if err != nil {
		return openError(c.Data, err)
	}
	defer lock.Release()
	before, err := agent.Load(c.Data)
	switch {
	case err == nil && !c.Again:
		return wrong("--again, which forgets that membership, or --data DIR with another folder", "%s has joined %s already, as %s", c.Data, before.URL, before.Name)
	case err != nil && !errors.Is(err, agent.ErrNotEnrolled) && !c.Again:
		return failed("--again, which makes a new one", "%v", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), joinTime)
	defer cancel()
	if err := agent.Join(ctx, c.Data, id, token, version, host); err != nil {
		return reachError(id.URL, err)
	}
	return c.tell(s, id)
}

func (c *joinCmd) token() (string, error) {
	token := c.Token
	if c.TokenFile != "" {
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", failed("--token-file FILE with the install token", "%v", err)
		}
		token = string(text)
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", usage("--token T, which valence cloud install-token makes", "joining takes an install token")
	}
	return token, nil
}

func (c *joinCmd) identity() (*agent.Identity, error) {
	ca := ""
	if c.CA != "" {
		if _, err := certificates(c.CA); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, failed("name a file with PEM certificates", "%v", err)
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
			return nil, usage("--publisher ed25519:…, or a file with it; valence deploy --make-key FILE makes one", "%v", err)
		}
		publishers[i] = strings.TrimSpace(string(text))
	}
	id, err := agent.NewIdentity(c.URL, c.Name, ca, publishers)
	if err != nil {
		return nil, usage("valence join https://cloud.example", "%v", err)
	}
	return id, nil
}

func (c *joinCmd) tell(s *streams, id *agent.Identity) error {
	if c.JSON {
		return json.NewEncoder(s.out).Encode(map[string]string{
			"atom": id.Atom, "name": id.Name, "account": id.Account, "environment": id.Environment, "url": id.URL, "data": c.Data,
		})
	}
	at := "the environment " + id.Environment
	if id.Environment == "" {
		at = "no environment yet: attach it, and what is deployed there runs here"
	}
	fmt.Fprintf(s.out, "%s has joined %s\n  atom         %s\n  account      %s\n  attached to  %s\n", id.Name, id.URL, id.Atom, id.Account, at)
	if n := len(id.Publishers); n > 0 {
		fmt.Fprintf(s.out, "  publishers   %s; nothing runs that none of them has signed\n", plural(n, "key", "keys"))
	}
	fmt.Fprintf(s.out, "start it: valence run --data %s\n", filepath.ToSlash(c.Data))
	return nil
}
