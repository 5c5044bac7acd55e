package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type cloudSchedulesCmd struct {
	List   cloudScheduleListCmd   `cmd:"" default:"withargs" help:"List what is due when, on which atom (the default)."`
	Pause  cloudSchedulePauseCmd  `cmd:"" help:"Switch a schedule off: times that pass meanwhile are left out."`
	Resume cloudScheduleResumeCmd `cmd:"" help:"Switch a schedule on again."`
}

// Help is shown below the command's summary.
func (*cloudSchedulesCmd) Help() string {
	return `A schedule is part of its process, in its file; here it is switched off and on,
on one atom. That holds over restarts and new versions. An atom that is away
does it when it is back.

Examples:

    valence cloud schedules --json
    valence cloud schedules --atom edge-01
    valence cloud schedules pause nightly-sync --atom edge-01
    valence cloud schedules resume nightly-sync --atom edge-01
`
}

type cloudScheduleListCmd struct {
	cloudRemote
	Atom string `help:"Name or id of an atom; without it, all of them."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudScheduleListCmd) Help() string { return (*cloudSchedulesCmd)(nil).Help() }

// Run lists schedules.
func (c *cloudScheduleListCmd) Run(s *streams) error {
	var list struct {
		Schedules []struct {
			Atom, Process, Cron, Timezone string
			Enabled                       bool
			NextDue                       time.Time `json:"next_due"`
		}
	}
	return c.get(s, c.JSON, "/schedules?"+url.Values{"atom": {c.Atom}}.Encode(), &list, func() *table {
		t := &table{head: []string{"ATOM", "PROCESS", "CRON", "TIMEZONE", "NEXT", "STATE"}}
		for _, x := range list.Schedules {
			next, state := "", "off"
			if !x.NextDue.IsZero() {
				next = x.NextDue.Local().Format("2006-01-02 15:04")
			}
			if x.Enabled {
				state = "on"
			}
			t.add(x.Atom, x.Process, x.Cron, x.Timezone, next, state)
		}
		return t
	})
}

// scheduleOn is one schedule of an atom.
type scheduleOn struct {
	cloudRemote
	Process string `arg:"" help:"The process, by name or id."`
	Atom    string `required:"" help:"Name or id of the atom."`
}

func (c *scheduleOn) turn(s *streams, on bool, now string) error {
	path := "/atoms/" + url.PathEscape(c.Atom) + "/schedules/" + url.PathEscape(c.Process)
	if _, err := c.do(http.MethodPatch, path, map[string]bool{"enabled": on}, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "the schedule of %s on %s is %s\n", c.Process, c.Atom, now)
	return err
}

type cloudSchedulePauseCmd struct{ scheduleOn }

// Help is shown below the command's summary.
func (*cloudSchedulePauseCmd) Help() string {
	return "Example:\n\n    valence cloud schedules pause nightly-sync --atom edge-01\n"
}

// Run switches a schedule off.
func (c *cloudSchedulePauseCmd) Run(s *streams) error { return c.turn(s, false, "off") }

type cloudScheduleResumeCmd struct{ scheduleOn }

// Help is shown below the command's summary.
func (*cloudScheduleResumeCmd) Help() string {
	return "Example:\n\n    valence cloud schedules resume nightly-sync --atom edge-01\n"
}

// Run switches a schedule on.
func (c *cloudScheduleResumeCmd) Run(s *streams) error { return c.turn(s, true, "on") }
