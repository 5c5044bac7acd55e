package cloudcmd

import (
	"net/http"
	"net/url"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

type schedulesCommand struct {
	List   schedulesListCommand   `cmd:"" default:"withargs" help:"List schedules with their next run on each atom (default)."`
	Pause  schedulesPauseCommand  `cmd:"" help:"Pause a schedule; runs due in the meantime are skipped."`
	Resume schedulesResumeCommand `cmd:"" help:"Resume a schedule."`
}

// Help returns the text below the command's summary.
func (*schedulesCommand) Help() string {
	return `A schedule is part of its process, in its file. These commands pause and resume it on
one atom. The state survives restarts and new versions. An atom that is offline
applies it when it is back.

Examples:

    valence cloud schedules --json
    valence cloud schedules --atom edge-01
    valence cloud schedules pause nightly-sync --atom edge-01
    valence cloud schedules resume nightly-sync --atom edge-01
`
}

type schedulesListCommand struct {
	client.CloudFlags
	Atom string `placeholder:"NAME" help:"Only schedules of this atom: its name or id."`
	JSON bool   `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*schedulesListCommand) Help() string { return (*schedulesCommand)(nil).Help() }

// Run lists schedules.
func (c *schedulesListCommand) Run(s *terminal.Streams) error {
	var list struct {
		Schedules []struct {
			Atom, Process, Cron, Timezone string
			Enabled                       bool
			NextDue                       time.Time `json:"next_due"`
		}
	}
	return c.Get(s, c.JSON, "/schedules?"+url.Values{"atom": {c.Atom}}.Encode(), &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"ATOM", "PROCESS", "CRON", "TIMEZONE", "NEXT", "STATE"}}
		for _, x := range list.Schedules {
			next, state := "", "off"
			if !x.NextDue.IsZero() {
				next = x.NextDue.Local().Format("2006-01-02 15:04")
			}
			if x.Enabled {
				state = "on"
			}
			t.Add(x.Atom, x.Process, x.Cron, x.Timezone, next, state)
		}
		return t
	})
}

// oneSchedule names the schedule of a command.
type oneSchedule struct {
	client.CloudFlags
	Process string `arg:"" help:"Name or id of the process."`
	Atom    string `required:"" placeholder:"NAME" help:"Name or id of the atom."`
}

// enable switches the schedule on or off.
func (c *oneSchedule) enable(s *terminal.Streams, on bool) error {
	path := "/atoms/" + url.PathEscape(c.Atom) + "/schedules/" + url.PathEscape(c.Process)
	if _, err := c.Do(http.MethodPatch, path, map[string]bool{"enabled": on}, nil); err != nil {
		return err
	}
	state := "off"
	if on {
		state = "on"
	}
	return printLine(s, "the schedule of %s on %s is %s", c.Process, c.Atom, state)
}

type schedulesPauseCommand struct{ oneSchedule }

// Help returns the text below the command's summary.
func (*schedulesPauseCommand) Help() string {
	return "Example:\n\n    valence cloud schedules pause nightly-sync --atom edge-01\n"
}

// Run pauses a schedule.
func (c *schedulesPauseCommand) Run(s *terminal.Streams) error { return c.enable(s, false) }

type schedulesResumeCommand struct{ oneSchedule }

// Help returns the text below the command's summary.
func (*schedulesResumeCommand) Help() string {
	return "Example:\n\n    valence cloud schedules resume nightly-sync --atom edge-01\n"
}

// Run resumes a schedule.
func (c *schedulesResumeCommand) Run(s *terminal.Streams) error { return c.enable(s, true) }
