package operate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

// ProcessesCommand lists processes and pauses their triggers.
type ProcessesCommand struct {
	List   processesListCommand   `cmd:"" default:"withargs" help:"List the deployed processes (default)."`
	Show   processesShowCommand   `cmd:"" help:"Show a process as JSON, with its steps."`
	Pause  processesPauseCommand  `cmd:"" help:"Pause the trigger of a process: its listener answers 503, its schedule or subscription starts nothing. Or, with --processing, pause the processing of accepted messages. This survives restarts."`
	Resume processesResumeCommand `cmd:"" help:"Resume a paused trigger, or paused processing."`
}

// Help returns the text below the command's summary.
func (*ProcessesCommand) Help() string {
	return `Examples:

    valence processes --json
    valence processes pause order-sync
    valence processes resume order-sync
`
}

type processesListCommand struct {
	client.AtomFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*processesListCommand) Help() string { return (*ProcessesCommand)(nil).Help() }

// Run lists processes.
func (c *processesListCommand) Run(s *terminal.Streams) error {
	text, err := get(&c.AtomFlags, "/processes")
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	var list struct {
		Processes []struct {
			Name, Pattern string
			Paused        bool
			Halted        bool `json:"processing_paused"`
			Waiting       int64
			Running       int
			Failed        int64
			Blocked       int64
			Oldest        *time.Time `json:"oldest_received_at"`
			trigger
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	t := &terminal.Table{Head: []string{"PROCESS", "PATTERN", "TRIGGER", "WAITING", "RUNNING", "FAILED", "BLOCKED", "OLDEST", ""}}
	for _, p := range list.Processes {
		oldest, paused := "", ""
		if p.Oldest != nil {
			oldest = terminal.Ago(*p.Oldest)
		}
		switch {
		case p.Paused && p.Halted:
			paused = "paused, processing too"
		case p.Paused:
			paused = "paused"
		case p.Halted:
			paused = "processing paused"
		}
		t.Add(p.Name, p.Pattern, p.trigger.String(), fmt.Sprint(p.Waiting), fmt.Sprint(p.Running), fmt.Sprint(p.Failed), fmt.Sprint(p.Blocked), oldest, paused)
	}
	return t.Print(s.Out)
}

// trigger is the trigger of a process in the admin API.
type trigger struct {
	Listen *struct {
		Path    string
		Methods []string
	}
	Schedule *struct {
		Cron, Timezone string
		NextDue        *time.Time `json:"next_due"`
		Waiting        bool
	}
	Subscribe *struct {
		Connection, Connector string
		State, Error, Warning string
		WarningAt             *time.Time `json:"warning_at"`
		Lag                   *int64
	}
}

// String returns the trigger in one line; empty if there is none.
func (t *trigger) String() string {
	switch {
	case t.Listen != nil:
		return strings.Join(t.Listen.Methods, ",") + " " + t.Listen.Path
	case t.Schedule != nil:
		text := t.Schedule.Cron + " " + t.Schedule.Timezone
		switch {
		case t.Schedule.Waiting:
			text += ", waits for the previous run"
		case t.Schedule.NextDue != nil:
			text += ", next in " + terminal.Duration(time.Until(*t.Schedule.NextDue))
		}
		return text
	case t.Subscribe != nil:
		text := t.Subscribe.Connection + " (" + t.Subscribe.Connector + ")"
		if t.Subscribe.State != "" {
			text += ", " + t.Subscribe.State
		}
		if t.Subscribe.Lag != nil {
			text += fmt.Sprintf(", %d waiting", *t.Subscribe.Lag)
		}
		if t.Subscribe.Error != "" {
			text += ": " + t.Subscribe.Error
		}
		if t.Subscribe.Warning != "" {
			text += fmt.Sprintf("; warning %s ago: %s", terminal.Duration(time.Since(*t.Subscribe.WarningAt)), t.Subscribe.Warning)
		}
		return text
	}
	return ""
}

// oneProcess names the process of a command.
type oneProcess struct {
	client.AtomFlags
	Name string `arg:"" name:"process" help:"Name of the process."`
}

func (c *oneProcess) path() string { return "/processes/" + url.PathEscape(c.Name) }

type processesShowCommand struct{ oneProcess }

// Help returns the text below the command's summary.
func (*processesShowCommand) Help() string {
	return "Example:\n\n    valence processes show order-sync\n"
}

// Run shows one process.
func (c *processesShowCommand) Run(s *terminal.Streams) error {
	text, err := get(&c.AtomFlags, c.path())
	if err != nil {
		return err
	}
	return terminal.PrintJSON(s.Out, text)
}

// processing selects the processing of messages instead of the trigger.
type processing struct {
	Processing bool `help:"Pause or resume the processing of accepted messages instead of the trigger: messages are still accepted and wait on disk. Executions that run end; requests whose callers wait are not affected."`
}

type processesPauseCommand struct {
	oneProcess
	processing
}

// Help returns the text below the command's summary.
func (*processesPauseCommand) Help() string {
	return "Examples:\n\n    valence processes pause order-sync\n    valence processes pause order-sync --processing\n"
}

// Run pauses a trigger or the processing.
func (c *processesPauseCommand) Run(s *terminal.Streams) error {
	return c.change(s, "pause", "paused", c.Processing)
}

type processesResumeCommand struct {
	oneProcess
	processing
}

// Help returns the text below the command's summary.
func (*processesResumeCommand) Help() string {
	return "Examples:\n\n    valence processes resume order-sync\n    valence processes resume order-sync --processing\n"
}

// Run resumes a trigger or the processing.
func (c *processesResumeCommand) Run(s *terminal.Streams) error {
	return c.change(s, "resume", "running", c.Processing)
}

// change posts an action on the trigger, or on the processing, and prints its new
// state.
func (c *oneProcess) change(s *terminal.Streams, action, state string, processing bool) error {
	what := "trigger"
	if processing {
		action, what = action+"-processing", "processing"
	}
	if _, err := call(&c.AtomFlags, http.MethodPost, c.path()+"/"+action); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.Out, "the %s of %s is %s\n", what, c.Name, state)
	return err
}
