package cloudcmd

import (
	"net/http"
	"net/url"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

type environmentsCommand struct {
	List   environmentsListCommand   `cmd:"" default:"withargs" help:"List the environments (default)."`
	Make   environmentsMakeCommand   `cmd:"" help:"Create an environment."`
	Policy environmentsPolicyCommand `cmd:"" help:"Change the policy of an environment for its atoms."`
	Delete environmentsDeleteCommand `cmd:"" help:"Delete an environment that has no atoms."`
}

// Help returns the text below the command's summary.
func (*environmentsCommand) Help() string {
	return `Examples:

    valence cloud environments --json
    valence cloud environments make prod --production
    valence cloud environments policy prod --rollback-rate 0.2
`
}

type environmentsListCommand struct {
	client.CloudFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*environmentsListCommand) Help() string { return (*environmentsCommand)(nil).Help() }

// Run lists environments.
func (c *environmentsListCommand) Run(s *terminal.Streams) error {
	var list struct {
		Environments []struct {
			ID, Name, Classification string
			Created                  time.Time
		}
	}
	return c.Get(s, c.JSON, "/environments", &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"ENVIRONMENT", "ID", "KIND", "MADE"}}
		for _, e := range list.Environments {
			t.Add(e.Name, e.ID, e.Classification, terminal.Ago(e.Created))
		}
		return t
	})
}

type environmentsMakeCommand struct {
	client.CloudFlags
	Name       string `arg:"" help:"Name of the environment."`
	Production bool   `help:"Classify the environment as PROD instead of TEST."`
	JSON       bool   `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*environmentsMakeCommand) Help() string {
	return "Example:\n\n    valence cloud environments make prod --production\n"
}

// Run creates an environment.
func (c *environmentsMakeCommand) Run(s *terminal.Streams) error {
	in := map[string]string{"name": c.Name, "classification": "TEST"}
	if c.Production {
		in["classification"] = "PROD"
	}
	var created struct{ ID string }
	text, err := c.Do(http.MethodPost, "/environments", in, &created)
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	return printLine(s, "%s", created.ID)
}

type environmentsPolicyCommand struct {
	client.CloudFlags
	Name            string   `arg:"" help:"Name of the environment."`
	RollbackRate    *float64 `placeholder:"RATE" help:"Failure rate, from 0 to 1, at which atoms roll back a new version; 0: no rollback by rate."`
	RollbackMinutes *int     `placeholder:"N" help:"Minutes for which a version counts as new; 0 means 5."`
	SendDocuments   *bool    `negatable:"" help:"Atoms send documents with execution records."`
	ShortPoll       *bool    `negatable:"" help:"Atoms poll every few seconds, for proxies that forbid long requests."`
}

// Help returns the text below the command's summary.
func (*environmentsPolicyCommand) Help() string {
	return "Example:\n\n    valence cloud environments policy prod --rollback-rate 0.2 --send-documents\n"
}

// Run changes a policy.
func (c *environmentsPolicyCommand) Run(s *terminal.Streams) error {
	in := map[string]any{}
	if c.RollbackRate != nil {
		in["rollback_rate"] = *c.RollbackRate
	}
	if c.RollbackMinutes != nil {
		in["rollback_minutes"] = *c.RollbackMinutes
	}
	if c.SendDocuments != nil {
		in["send_documents"] = *c.SendDocuments
	}
	if c.ShortPoll != nil {
		in["short_poll"] = *c.ShortPoll
	}
	text, err := c.Do(http.MethodPatch, "/environments/"+url.PathEscape(c.Name)+"/policy", in, nil)
	if err != nil {
		return err
	}
	return terminal.PrintJSON(s.Out, text)
}

type environmentsDeleteCommand struct {
	client.CloudFlags
	Name string `arg:"" help:"Name of the environment."`
}

// Help returns the text below the command's summary.
func (*environmentsDeleteCommand) Help() string {
	return "Example:\n\n    valence cloud environments delete old\n"
}

// Run deletes an environment.
func (c *environmentsDeleteCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodDelete, "/environments/"+url.PathEscape(c.Name), nil, nil); err != nil {
		return err
	}
	return printLine(s, "the environment %s is deleted", c.Name)
}
