package cli

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"time"
)

type cloudTokenCmd struct {
	Make   cloudTokenMakeCmd   `cmd:"" default:"withargs" help:"Make an API token and print it, this once (the default)."`
	List   cloudTokenListCmd   `cmd:"" help:"List the API tokens, without what they are proved by."`
	Revoke cloudTokenRevokeCmd `cmd:"" help:"End an API token."`
}

// Help is shown below the command's summary.
func (*cloudTokenCmd) Help() string {
	return `Each role may do what the one before it may: viewer sees, operator executes and
pauses, deployer deploys and sets values, admin does everything.

Examples:

    valence cloud token --role deployer --name ci
    valence cloud token --role operator --name relay --environment prod --lives 2160h
    valence cloud token list --json
    valence cloud token revoke ci
`
}

type cloudTokenMakeCmd struct {
	cloudRemote
	Role        string        `required:"" enum:"viewer,operator,deployer,admin" help:"What it may do: viewer, operator, deployer, admin."`
	Name        string        `required:"" help:"Who it stands for; with basic authentication the user is BOOMI_TOKEN.NAME."`
	Environment []string      `help:"Limit it to environments; without it, it is for all."`
	Lives       time.Duration `help:"How long it is good for; without it, until it is revoked."`
	JSON        bool          `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudTokenMakeCmd) Help() string { return (*cloudTokenCmd)(nil).Help() }

// Run makes a token.
func (c *cloudTokenMakeCmd) Run(s *streams) error {
	in := map[string]any{"name": c.Name, "role": c.Role, "environments": c.Environment}
	if c.Lives > 0 {
		in["expires"] = time.Now().Add(c.Lives).UTC()
	}
	return c.printToken(s, "/tokens", in, c.JSON)
}

// printToken has a token made and prints it, or the whole answer.
func (r *cloudRemote) printToken(s *streams, path string, in any, whole bool) error {
	var made struct{ Token string }
	text, err := r.do("POST", path, in, &made)
	if err != nil {
		return err
	}
	if whole {
		return printJSON(s.out, text)
	}
	_, err = fmt.Fprintln(s.out, made.Token)
	return err
}

type cloudTokenListCmd struct {
	cloudRemote
	JSON bool `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudTokenListCmd) Help() string { return "Example:\n\n    valence cloud token list --json\n" }

// Run lists tokens.
func (c *cloudTokenListCmd) Run(s *streams) error {
	var list struct {
		Tokens []struct {
			ID, Name, Role, By string
			Environments       []string
			Created, Expires   time.Time
		}
	}
	return c.get(s, c.JSON, "/tokens", &list, func() *table {
		t := &table{head: []string{"ID", "NAME", "ROLE", "ENVIRONMENTS", "MADE", "BY", "EXPIRES"}}
		for _, x := range list.Tokens {
			where := joined(x.Environments)
			if len(x.Environments) == 0 {
				where = "all"
			}
			expires := "never"
			if !x.Expires.IsZero() {
				expires = x.Expires.Local().Format("2006-01-02 15:04")
			}
			t.add(x.ID, x.Name, x.Role, where, ago(x.Created), x.By, expires)
		}
		return t
	})
}

type cloudTokenRevokeCmd struct {
	cloudRemote
	Token string `arg:"" help:"Its id, or its name where that is unique."`
}

// Help is shown below the command's summary.
func (*cloudTokenRevokeCmd) Help() string { return "Example:\n\n    valence cloud token revoke ci\n" }

// Run ends a token.
func (c *cloudTokenRevokeCmd) Run(s *streams) error {
	if _, err := c.do("DELETE", "/tokens/"+url.PathEscape(c.Token), nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the token %s is good for nothing any more\n", c.Token)
	return err
}

type cloudInstallCmd struct {
	cloudRemote
	Environment string        `help:"Where the atom is attached; without it, in no environment."`
	Lives       time.Duration `default:"60m" help:"How long it is good for."`
	JSON        bool          `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudInstallCmd) Help() string {
	return `The token is printed this once. It is good for one valence join.

Example:

    valence cloud install-token --environment prod
`
}

// Run makes an install token.
func (c *cloudInstallCmd) Run(s *streams) error {
	if c.Lives < time.Minute {
		return usage("--lives 60m", "--lives must be a minute or more")
	}
	return c.printToken(s, "/install-tokens", map[string]any{"environment": c.Environment, "minutes": int(c.Lives / time.Minute)}, c.JSON)
}

type cloudAccountCmd struct {
	cloudRemote
	Name string `arg:"" optional:"" help:"The account to make: small letters, digits and dashes. Without it, the accounts are listed."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudAccountCmd) Help() string {
	return `Nothing of one account is visible to another. Only admins of the account default
make accounts. The token of the first admin is printed this once.

Examples:

    valence cloud account acme
    valence cloud account --json
`
}

// Run makes an account, or lists them.
func (c *cloudAccountCmd) Run(s *streams) error {
	if c.Name == "" {
		var list struct {
			Accounts []struct {
				Name    string
				Created time.Time
			}
		}
		return c.get(s, c.JSON, "/accounts", &list, func() *table {
			t := &table{head: []string{"ACCOUNT", "MADE"}}
			for _, a := range list.Accounts {
				t.add(a.Name, ago(a.Created))
			}
			return t
		})
	}
	var made struct{ Token string }
	text, err := c.do("POST", "/accounts", map[string]string{"name": c.Name}, &made)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	_, err = fmt.Fprintln(s.out, made.Token)
	return err
}

type cloudAuditCmd struct {
	cloudRemote
	Limit int  `default:"100" help:"How many entries, from the newest."`
	JSON  bool `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudAuditCmd) Help() string { return "Example:\n\n    valence cloud audit --limit 20\n" }

// Run shows the audit log.
func (c *cloudAuditCmd) Run(s *streams) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return usage("--limit 100", "--limit takes 1 to 1000")
	}
	var list struct {
		Entries []struct {
			At                                time.Time
			Who, Action, Object, Detail, From string
		}
	}
	return c.get(s, c.JSON, fmt.Sprintf("/audit?limit=%d", c.Limit), &list, func() *table {
		t := &table{head: []string{"AT", "WHO", "FROM", "ACTION", "OBJECT", "DETAIL"}}
		for _, e := range list.Entries {
			t.add(e.At.Local().Format("2006-01-02 15:04:05"), e.Who, e.From, e.Action, e.Object, e.Detail)
		}
		return t
	})
}

type cloudBackupCmd struct {
	cloudRemote
	Dest string `arg:"" help:"The folder to make, on the control plane's machine; it must not exist."`
}

// Help is shown below the command's summary.
func (*cloudBackupCmd) Help() string {
	return `The copy is consistent while the control plane works. It does not hold
secrets.key, so that who gets hold of a backup cannot read the secrets: keep a
copy of that file elsewhere. The folder of a control plane that is stopped can
be copied as it is.

Example:

    valence cloud backup /backups/cloud-2026-01-02
`
}

// Run makes a backup.
func (c *cloudBackupCmd) Run(s *streams) error {
	dest, err := filepath.Abs(c.Dest)
	if err != nil {
		return failed("the whole path of a folder", "%v", err)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	api.http.Timeout = 0 // as long as the copy takes
	if _, err := api.call(context.Background(), "POST", "/backup", map[string]string{"folder": dest}, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the backup is in %s, without %s\n", dest, cloudKeyFile)
	return err
}
