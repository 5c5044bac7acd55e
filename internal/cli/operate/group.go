package operate

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

// GroupCommand lists the members of a group of atoms.
type GroupCommand struct {
	client.AtomFlags
	JSON bool `name:"json" help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*GroupCommand) Help() string {
	return `Any member answers for the group. LEASE is the time until other members take over
unless the member renews it, which it does every 3 s. BACKLOG is the number of its
live executions, LANES that of their sequence keys, and LAG the age of the oldest
one that is ready or held.

Example:

    valence group --data /var/lib/valence
`
}

// Run lists the members.
func (c *GroupCommand) Run(s *terminal.Streams) error {
	text, err := get(&c.AtomFlags, "/group")
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	var g struct {
		Group   string
		Members []struct {
			Name, Version         string
			This                  bool
			JoinedAt              time.Time `json:"joined_at"`
			LeaseSeconds          float64   `json:"lease_seconds"`
			LagSeconds            float64   `json:"lag_seconds"`
			Epoch, Lanes, Backlog int64
		}
	}
	if err := json.Unmarshal(text, &g); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "group %s, %s\n", g.Group, terminal.Count(len(g.Members), "member", "members"))
	t := &terminal.Table{Head: []string{"MEMBER", "EPOCH", "VERSION", "JOINED", "LEASE", "BACKLOG", "LANES", "LAG"}}
	for _, m := range g.Members {
		name, lease := m.Name, secondsText(m.LeaseSeconds)
		if m.This {
			name += " (this one)"
		}
		if m.LeaseSeconds == 0 {
			lease = "ended"
		}
		t.Add(name, strconv.FormatInt(m.Epoch, 10), m.Version, terminal.Ago(m.JoinedAt), lease, strconv.FormatInt(m.Backlog, 10), strconv.FormatInt(m.Lanes, 10), secondsText(m.LagSeconds))
	}
	return t.Print(s.Out)
}

// secondsText returns a number of seconds as a duration.
func secondsText(n float64) string { return terminal.Duration(time.Duration(n * float64(time.Second))) }
