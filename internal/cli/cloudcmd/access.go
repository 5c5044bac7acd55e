package cloudcmd

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/controlplane"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/spec"
)

type tokenCommand struct {
	Make   tokenMakeCommand   `cmd:"" default:"withargs" help:"Create an API token and print it once (default)."`
	List   tokenListCommand   `cmd:"" help:"List the API tokens, without their secrets."`
	Revoke tokenRevokeCommand `cmd:"" help:"Revoke an API token."`
}

// Help returns the text below the command's summary.
func (*tokenCommand) Help() string {
	return `Each role includes the ones before it: viewer reads, operator executes and pauses,
deployer deploys and sets values, admin does everything.

Examples:

    valence cloud token --role deployer --name ci
    valence cloud token --role operator --name relay --environment prod --lives 2160h
    valence cloud token list --json
    valence cloud token revoke ci
`
}

type tokenMakeCommand struct {
	client.CloudFlags
	Role        string        `required:"" enum:"viewer,operator,deployer,admin" placeholder:"ROLE" help:"Role: viewer, operator, deployer or admin."`
	Name        string        `required:"" placeholder:"NAME" help:"Name of its user. With basic authentication, the user name is BOOMI_TOKEN.NAME."`
	Environment []string      `placeholder:"NAME" help:"Limit the token to environments. Default: all."`
	Lives       time.Duration `help:"How long the token is valid. Default: until it is revoked."`
	JSON        bool          `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*tokenMakeCommand) Help() string { return (*tokenCommand)(nil).Help() }

// Run creates a token.
func (c *tokenMakeCommand) Run(s *terminal.Streams) error {
	in := map[string]any{"name": c.Name, "role": c.Role, "environments": c.Environment}
	if c.Lives > 0 {
		in["expires"] = time.Now().Add(c.Lives).UTC()
	}
	return createToken(s, &c.CloudFlags, "/tokens", in, c.JSON)
}

// createToken posts to path and prints the token of the response, or the whole
// response as JSON.
func createToken(s *terminal.Streams, f *client.CloudFlags, path string, in any, asJSON bool) error {
	var created struct{ Token string }
	text, err := f.Do(http.MethodPost, path, in, &created)
	if err != nil {
		return err
	}
	if asJSON {
		return terminal.PrintJSON(s.Out, text)
	}
	return printLine(s, "%s", created.Token)
}

type tokenListCommand struct {
	client.CloudFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*tokenListCommand) Help() string { return "Example:\n\n    valence cloud token list --json\n" }

// Run lists tokens.
func (c *tokenListCommand) Run(s *terminal.Streams) error {
	var list struct {
		Tokens []struct {
			ID, Name, Role, By string
			Environments       []string
			Created, Expires   time.Time
		}
	}
	return c.Get(s, c.JSON, "/tokens", &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"ID", "NAME", "ROLE", "ENVIRONMENTS", "MADE", "BY", "EXPIRES"}}
		for _, x := range list.Tokens {
			environments := strings.Join(x.Environments, ", ")
			if len(x.Environments) == 0 {
				environments = "all"
			}
			expires := "never"
			if !x.Expires.IsZero() {
				expires = x.Expires.Local().Format("2006-01-02 15:04")
			}
			t.Add(x.ID, x.Name, x.Role, environments, terminal.Ago(x.Created), x.By, expires)
		}
		return t
	})
}

type tokenRevokeCommand struct {
	client.CloudFlags
	Token string `arg:"" help:"Id of the token, or its name if that is unique."`
}

// Help returns the text below the command's summary.
func (*tokenRevokeCommand) Help() string { return "Example:\n\n    valence cloud token revoke ci\n" }

// Run revokes a token.
func (c *tokenRevokeCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodDelete, "/tokens/"+url.PathEscape(c.Token), nil, nil); err != nil {
		return err
	}
	return printLine(s, "the token %s is revoked", c.Token)
}

type installCommand struct {
	client.CloudFlags
	Environment string        `placeholder:"NAME" help:"Environment to which the atom is attached. Default: none."`
	Lives       time.Duration `default:"60m" help:"How long the token is valid."`
	JSON        bool          `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*installCommand) Help() string {
	return `The token is printed only once. It works for one valence join.

Example:

    valence cloud install-token --environment prod
`
}

// Run creates an install token.
func (c *installCommand) Run(s *terminal.Streams) error {
	if c.Lives < time.Minute {
		return clierror.Usage("--lives 60m", "--lives must be at least 1m")
	}
	return createToken(s, &c.CloudFlags, "/install-tokens", map[string]any{"environment": c.Environment, "minutes": int(c.Lives / time.Minute)}, c.JSON)
}

type accountCommand struct {
	client.CloudFlags
	Name string `arg:"" optional:"" help:"Account to create: lower-case letters, digits and dashes. Without it, accounts are listed."`
	JSON bool   `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*accountCommand) Help() string {
	return `Accounts cannot see each other's data. Only admins of the account default can create
accounts. The token of the first admin is printed only once.

Examples:

    valence cloud account acme
    valence cloud account --json
`
}

// Run creates an account, or lists the accounts.
func (c *accountCommand) Run(s *terminal.Streams) error {
	if c.Name != "" {
		return createToken(s, &c.CloudFlags, "/accounts", map[string]string{"name": c.Name}, c.JSON)
	}
	var list struct {
		Accounts []struct {
			Name    string
			Created time.Time
			Quotas  []quota
		}
	}
	return c.Get(s, c.JSON, "/accounts", &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"ACCOUNT", "MADE", "PACKAGES", "PACKAGE BYTES", "ATOMS", "WAITING"}}
		for _, a := range list.Accounts {
			cells := []string{a.Name, terminal.Ago(a.Created), "", "", "", ""}
			for _, q := range a.Quotas {
				switch q.Quota {
				case "packages":
					cells[2] = q.text(count)
				case "package_bytes":
					cells[3] = q.text(spec.FormatSize)
				case "atoms":
					cells[4] = q.text(count)
				case "waiting_requests":
					cells[5] = q.text(count)
				}
			}
			t.Add(cells...)
		}
		return t
	})
}

// quota is the usage of one quota; a limit of 0 is none.
type quota struct {
	Quota       string
	Used, Limit int64
}

func (q quota) text(format func(int64) string) string {
	if q.Limit == 0 {
		return format(q.Used)
	}
	return format(q.Used) + " of " + format(q.Limit)
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

type auditCommand struct {
	client.CloudFlags
	Limit int  `default:"100" help:"Number of entries, newest first."`
	JSON  bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*auditCommand) Help() string { return "Example:\n\n    valence cloud audit --limit 20\n" }

// Run shows the audit log.
func (c *auditCommand) Run(s *terminal.Streams) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return clierror.Usage("--limit 100", "--limit must be between 1 and 1000")
	}
	var list struct {
		Entries []struct {
			At                                time.Time
			Who, Action, Object, Detail, From string
		}
	}
	return c.Get(s, c.JSON, fmt.Sprintf("/audit?limit=%d", c.Limit), &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"AT", "WHO", "FROM", "ACTION", "OBJECT", "DETAIL"}}
		for _, e := range list.Entries {
			t.Add(e.At.Local().Format("2006-01-02 15:04:05"), e.Who, e.From, e.Action, e.Object, e.Detail)
		}
		return t
	})
}

type backupCommand struct {
	client.CloudFlags
	Dest string `arg:"" help:"Folder to create on the control plane's machine; it must not exist."`
}

// Help returns the text below the command's summary.
func (*backupCommand) Help() string {
	return `The control plane keeps running; the copy is consistent. It does not include
secrets.key, so a stolen backup reveals no secrets: keep a copy of that file
elsewhere. If the control plane is stopped, copy its data folder instead.

Example:

    valence cloud backup /backups/cloud-2026-01-02
`
}

// Run makes a backup.
func (c *backupCommand) Run(s *terminal.Streams) error {
	dest, err := filepath.Abs(c.Dest)
	if err != nil {
		return clierror.Failed("name the folder with its absolute path", "%v", err)
	}
	api, err := c.Connect()
	if err != nil {
		return err
	}
	api.SetTimeout(0) // a large copy needs time
	if _, err := api.Call(context.Background(), http.MethodPost, "/backup", map[string]string{"folder": dest}, nil); err != nil {
		return err
	}
	return printLine(s, "the backup is in %s, without %s", dest, controlplane.KeyFile)
}
