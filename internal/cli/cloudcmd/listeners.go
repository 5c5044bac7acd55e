package cloudcmd

import (
	"net/http"
	"net/url"

	"valence/internal/cli/terminal"
)

type listenersCommand struct {
	List    listenersListCommand    `cmd:"" default:"withargs" help:"List the triggers with their state (default)."`
	Pause   listenersPauseCommand   `cmd:"" help:"Pause one trigger, or all."`
	Resume  listenersResumeCommand  `cmd:"" help:"Resume one trigger, or all."`
	Restart listenersRestartCommand `cmd:"" help:"Close and reopen one trigger, or all."`
}

// Help returns the text below the command's summary.
func (*listenersCommand) Help() string {
	return `These are the listeners, schedules and subscriptions of an atom. A paused trigger stays
paused in new versions until it is resumed. Running executions continue.

Examples:

    valence cloud listeners edge-01
    valence cloud listeners pause edge-01 order-sync
    valence cloud listeners resume edge-01
`
}

type listenersListCommand struct {
	oneAtom
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*listenersListCommand) Help() string { return (*listenersCommand)(nil).Help() }

// Run lists triggers.
func (c *listenersListCommand) Run(s *terminal.Streams) error {
	var list struct {
		Listeners []struct{ Process, Kind, Wanted, State string }
	}
	return c.Get(s, c.JSON, "/atoms/"+url.PathEscape(c.Atom)+"/listeners", &list, func() *terminal.Table {
		t := &terminal.Table{Head: []string{"PROCESS", "KIND", "WANTED", "STATE"}}
		for _, l := range list.Listeners {
			if l.State == "" {
				l.State = "(not running)"
			}
			t.Add(l.Process, l.Kind, l.Wanted, l.State)
		}
		return t
	})
}

// listenerChange names the triggers that a command changes.
type listenerChange struct {
	oneAtom
	Process string `arg:"" optional:"" help:"Name of the process. Default: all processes of the atom."`
}

// Help returns the text below the command's summary.
func (*listenerChange) Help() string { return (*listenersCommand)(nil).Help() }

// change posts an action for the atom.
func (c *listenerChange) change(s *terminal.Streams, action string) error {
	in := map[string]string{"process": c.Process, "action": action}
	if _, err := c.Do(http.MethodPost, "/atoms/"+url.PathEscape(c.Atom)+"/listeners", in, nil); err != nil {
		return err
	}
	triggers := "all triggers"
	if c.Process != "" {
		triggers = c.Process
	}
	return printLine(s, "%s will %s %s; valence cloud listeners %s shows the state", c.Atom, action, triggers, c.Atom)
}

type listenersPauseCommand struct{ listenerChange }

// Run pauses triggers.
func (c *listenersPauseCommand) Run(s *terminal.Streams) error { return c.change(s, "pause") }

type listenersResumeCommand struct{ listenerChange }

// Run resumes triggers.
func (c *listenersResumeCommand) Run(s *terminal.Streams) error { return c.change(s, "resume") }

type listenersRestartCommand struct{ listenerChange }

// Run restarts triggers.
func (c *listenersRestartCommand) Run(s *terminal.Streams) error { return c.change(s, "restart") }
