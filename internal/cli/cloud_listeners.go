package cli

import (
	"fmt"
	"net/url"
	"strings"
)

type cloudListenersCmd struct {
	List    cloudListenersListCmd   `cmd:"" default:"withargs" help:"List how they stand (the default)."`
	Pause   cloudListenerPauseCmd   `cmd:"" help:"Pause one, or all."`
	Resume  cloudListenerResumeCmd  `cmd:"" help:"Resume one, or all."`
	Restart cloudListenerRestartCmd `cmd:"" help:"Close and open one again, or all."`
}

// Help is shown below the command's summary.
func (*cloudListenersCmd) Help() string {
	return `Listeners, schedules and subscriptions of one atom. What is paused stays paused over
new versions, until it is resumed. What runs goes on.

Examples:

    valence cloud listeners edge-01
    valence cloud listeners pause edge-01 order-sync
    valence cloud listeners resume edge-01
`
}

type cloudListenersListCmd struct {
	cloudRemote
	Atom string `arg:"" help:"The atom, by its name or id."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudListenersListCmd) Help() string { return (*cloudListenersCmd)(nil).Help() }

// Run lists triggers.
func (c *cloudListenersListCmd) Run(s *streams) error {
	var list struct {
		Listeners []struct{ Process, Kind, Wanted, State string }
	}
	return c.get(s, c.JSON, "/atoms/"+url.PathEscape(c.Atom)+"/listeners", &list, func() *table {
		t := &table{head: []string{"PROCESS", "KIND", "WANTED", "STATE"}}
		for _, l := range list.Listeners {
			if l.State == "" {
				l.State = "(does not run)"
			}
			t.add(l.Process, l.Kind, l.Wanted, l.State)
		}
		return t
	})
}

// listenerChange is what pause, resume and restart take.
type listenerChange struct {
	cloudRemote
	Atom    string `arg:"" help:"The atom, by its name or id."`
	Process string `arg:"" optional:"" help:"The process; without it, all of the atom."`
}

// Help is shown below the command's summary.
func (*listenerChange) Help() string { return (*cloudListenersCmd)(nil).Help() }

func (c *listenerChange) change(s *streams, action string) error {
	in := map[string]string{"process": c.Process, "action": action}
	if _, err := c.do("POST", "/atoms/"+url.PathEscape(c.Atom)+"/listeners", in, nil); err != nil {
		return err
	}
	what := "everything that triggers"
	if c.Process != "" {
		what = c.Process
	}
	_, err := fmt.Fprintf(s.out, "%s is asked to %s %s; valence cloud listeners %s shows how it stands\n", c.Atom, strings.ToLower(action), what, c.Atom)
	return err
}

type cloudListenerPauseCmd struct{ listenerChange }

// Run pauses.
func (c *cloudListenerPauseCmd) Run(s *streams) error { return c.change(s, "pause") }

type cloudListenerResumeCmd struct{ listenerChange }

// Run resumes.
func (c *cloudListenerResumeCmd) Run(s *streams) error { return c.change(s, "resume") }

type cloudListenerRestartCmd struct{ listenerChange }

// Run restarts.
func (c *cloudListenerRestartCmd) Run(s *streams) error { return c.change(s, "restart") }
