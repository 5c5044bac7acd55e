package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

type processesCmd struct {
	List   listProcessesCmd `cmd:"" default:"withargs" help:"List what is deployed (the default)."`
	Show   showProcessCmd   `cmd:"" help:"Show one as JSON, with its steps."`
	Pause  pauseCmd         `cmd:"" help:"Stop a process' trigger: its listener answers 503, its schedule and its subscription start nothing, also after a restart."`
	Resume resumeCmd        `cmd:"" help:"Let a paused trigger go on."`
}

// Help is shown below the command's summary.
func (*processesCmd) Help() string {
	return `Examples:

    valence processes --json
    valence processes pause order-sync
    valence processes resume order-sync
`
}

type listProcessesCmd struct {
	remote
	JSON bool `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*listProcessesCmd) Help() string { return (*processesCmd)(nil).Help() }

// Run lists processes.
func (c *listProcessesCmd) Run(s *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/processes", nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	var list struct {
		Processes []struct {
			Name, Pattern string
			Paused        bool
			Waiting       int64
			Running       int
			Oldest        *time.Time `json:"oldest_received_at"`
			triggerView
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	t := &table{head: []string{"PROCESS", "PATTERN", "TRIGGER", "WAITING", "RUNNING", "OLDEST", ""}}
	for _, p := range list.Processes {
		oldest, paused := "", ""
		if p.Oldest != nil {
			oldest = ago(*p.Oldest)
		}
		if p.Paused {
			paused = "paused"
		}
		t.add(p.Name, p.Pattern, p.triggerView.String(), fmt.Sprint(p.Waiting), fmt.Sprint(p.Running), oldest, paused)
	}
	return t.print(s.out)
}

type showProcessCmd struct {
	remote
	Name string `arg:"" name:"process" help:"The process."`
}

// Help is shown below the command's summary.
func (*showProcessCmd) Help() string { return "Example:\n\n    valence processes show order-sync\n" }

// Run shows one process.
func (c *showProcessCmd) Run(s *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/processes/"+url.PathEscape(c.Name), nil)
	if err != nil {
		return err
	}
	return printJSON(s.out, text)
}

type pauseCmd struct {
	remote
	Name string `arg:"" name:"process" help:"The process."`
}

// Help is shown below the command's summary.
func (*pauseCmd) Help() string { return "Example:\n\n    valence processes pause order-sync\n" }

// Run pauses a trigger.
func (c *pauseCmd) Run(s *streams) error { return c.remote.trigger(s, c.Name, "pause", "paused") }

type resumeCmd struct {
	remote
	Name string `arg:"" name:"process" help:"The process."`
}

// Help is shown below the command's summary.
func (*resumeCmd) Help() string { return "Example:\n\n    valence processes resume order-sync\n" }

// Run resumes a trigger.
func (c *resumeCmd) Run(s *streams) error { return c.remote.trigger(s, c.Name, "resume", "running") }

func (r *remote) trigger(s *streams, process, verb, now string) error {
	api, err := r.client()
	if err != nil {
		return err
	}
	if _, err := api.call(context.Background(), "POST", "/processes/"+url.PathEscape(process)+"/"+verb, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the trigger of %s is %s\n", process, now)
	return err
}
