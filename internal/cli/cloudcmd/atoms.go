package cloudcmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/wire"
)

type atomsCommand struct {
	client.CloudFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*atomsCommand) Help() string { return "Example:\n\n    valence cloud atoms --json\n" }

// Run lists atoms.
func (c *atomsCommand) Run(s *terminal.Streams) error {
	var list struct {
		Atoms []struct {
			ID, Name, Status, Environment, Version, Host string
			LastSeen                                     time.Time `json:"last_seen"`
			Generation, Applied                          int64
			Waiting                                      int
			Retired                                      bool
			Heartbeat                                    struct {
				Health  string
				Backlog int64
				Failed  int64
				Dropped int64
			}
		}
	}
	return c.Get(s, c.JSON, "/atoms", &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"ATOM", "ID", "STATUS", "ENVIRONMENT", "VERSION", "SEEN", "WAITING", "BACKLOG", "FAILED", "HEALTH"}}
		for _, a := range list.Atoms {
			health := a.Heartbeat.Health
			if a.Generation != a.Applied && health != "" {
				health += ", changing"
			}
			if a.Heartbeat.Dropped > 0 {
				health += fmt.Sprintf(", %d reports dropped", a.Heartbeat.Dropped)
			}
			if a.Retired {
				health = "retired"
			}
			t.Add(a.Name, a.ID, a.Status, a.Environment, a.Version, terminal.Ago(a.LastSeen), fmt.Sprint(a.Waiting), fmt.Sprint(a.Heartbeat.Backlog), fmt.Sprint(a.Heartbeat.Failed), firstProblem(health))
		}
		return t
	})
}

// firstProblem returns the first line of an atom's health, and the number of
// further ones: there is one for each project with problems.
func firstProblem(health string) string {
	first, rest, more := strings.Cut(health, "\n")
	if first = terminal.Truncate(first, 100); more {
		first += fmt.Sprintf(" (and %d more: --json)", strings.Count(rest, "\n")+1)
	}
	return first
}

type logCommand struct {
	oneAtom
	Lines int  `default:"200" help:"Number of lines, up to 1000."`
	JSON  bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*logCommand) Help() string {
	return `The atom sends the lines with its next report; the control plane does not store them.
An atom remembers the last 1,000 lines of its log level.

Example:

    valence cloud log edge-01 --lines 50
`
}

// Run shows an atom's log.
func (c *logCommand) Run(s *terminal.Streams) error {
	text, err := c.Do(http.MethodGet, "/atoms/"+url.PathEscape(c.Atom)+"/log?lines="+strconv.Itoa(c.Lines), nil, nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	var log struct {
		Lines []wire.LogLine `json:"lines"`
	}
	if err := json.Unmarshal(text, &log); err != nil {
		return err
	}
	for _, l := range log.Lines {
		fmt.Fprintf(s.Out, "%s %-5s %s\n", l.At.Local().Format(time.DateTime), l.Level, l.Text)
	}
	return nil
}

type attachCommand struct {
	oneAtom
	Environment string `required:"" short:"e" placeholder:"NAME" help:"Environment."`
}

// Help returns the text below the command's summary.
func (*attachCommand) Help() string {
	return `The atom runs what is deployed to the environment, with the environment's values. An
atom is attached to at most one environment.

Example:

    valence cloud attach edge-01 --environment prod
`
}

// Run attaches an atom.
func (c *attachCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodPut, "/atoms/"+url.PathEscape(c.Atom)+"/environment", map[string]string{"environment": c.Environment}, nil); err != nil {
		return err
	}
	return printLine(s, "the atom %s is attached to %s", c.Atom, c.Environment)
}

type detachCommand struct{ oneAtom }

// Help returns the text below the command's summary.
func (*detachCommand) Help() string {
	return `The environment's projects are removed from the atom, which finishes the accepted
messages. It stays enrolled and can be attached to another environment.

Example:

    valence cloud detach edge-01
`
}

// Run detaches an atom.
func (c *detachCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodDelete, "/atoms/"+url.PathEscape(c.Atom)+"/environment", nil, nil); err != nil {
		return err
	}
	return printLine(s, "the atom %s is detached", c.Atom)
}

type purgeCommand struct {
	oneAtom
	Days int `required:"" placeholder:"N" help:"Days, up to 9999; 0: the retention of each process."`
}

// Help returns the text below the command's summary.
func (*purgeCommand) Help() string {
	return `The limit applies to executions that end from now on. Unresolved failed executions are
not deleted.

Example:

    valence cloud purge edge-01 --days 14
`
}

// Run limits the retention of an atom.
func (c *purgeCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodPatch, "/atoms/"+url.PathEscape(c.Atom), map[string]int{"purge_days": c.Days}, nil); err != nil {
		return err
	}
	limit := "as long as its processes say"
	if c.Days > 0 {
		limit = "for at most " + terminal.Count(c.Days, "day", "days")
	}
	return printLine(s, "the atom %s keeps finished executions %s", c.Atom, limit)
}

type retireCommand struct{ oneAtom }

// Help returns the text below the command's summary.
func (*retireCommand) Help() string {
	return `The atom is detached, finishes and reports the accepted messages, and then runs nothing
for this control plane. To use it again, let it join again.

Example:

    valence cloud retire edge-01
`
}

// Run retires an atom.
func (c *retireCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodPost, "/atoms/"+url.PathEscape(c.Atom)+"/retire", nil, nil); err != nil {
		return err
	}
	return printLine(s, "the atom %s retires at its next poll; afterwards, valence cloud revoke %s deletes its keys", c.Atom, c.Atom)
}

type revokeCommand struct{ oneAtom }

// Help returns the text below the command's summary.
func (*revokeCommand) Help() string {
	return `The control plane rejects the atom's requests from now on. The atom itself keeps
running its processes until it is stopped.

Example:

    valence cloud revoke edge-01
`
}

// Run revokes an atom.
func (c *revokeCommand) Run(s *terminal.Streams) error {
	if _, err := c.Do(http.MethodDelete, "/atoms/"+url.PathEscape(c.Atom), nil, nil); err != nil {
		return err
	}
	return printLine(s, "the atom %s is revoked; its processes run until it is stopped", c.Atom)
}
