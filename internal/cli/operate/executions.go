package operate

import (
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

// ExecutionsCommand lists, shows and cancels executions.
type ExecutionsCommand struct {
	List   executionsListCommand   `cmd:"" default:"withargs" help:"List executions, newest first (default)."`
	Show   executionsShowCommand   `cmd:"" help:"Show an execution with its steps and documents."`
	Cancel executionsCancelCommand `cmd:"" help:"Cancel executions that have not ended: one, several or all that flags select."`
	Export executionsExportCommand `cmd:"" help:"Write executions as JSON, one per line."`
}

// Help returns the text below the command's summary.
func (*ExecutionsCommand) Help() string {
	return `Finished executions are listed until their retention ends.

Examples:

    valence executions --status failed --since 24h
    valence executions --process order-sync --track order=4711
    valence executions show EXECUTION
    valence executions cancel --process order-sync --status waiting
    valence executions export --since 24h > executions.jsonl
`
}

type executionsListCommand struct {
	client.AtomFlags
	filterFlags
	Status []string `placeholder:"STATUS" help:"Only executions with one of these statuses: accepted, running, waiting, held, completed, completed_with_warnings, failed, expired, superseded, cancelled, rejected."`
	pageFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*executionsListCommand) Help() string { return (*ExecutionsCommand)(nil).Help() }

// Run lists executions.
func (c *executionsListCommand) Run(s *terminal.Streams) error {
	query, err := c.query()
	if err != nil {
		return err
	}
	if err := c.addTo(query); err != nil {
		return err
	}
	if len(c.Status) > 0 {
		query.Set("status", strings.Join(c.Status, ","))
	}
	list, err := search(s, &c.AtomFlags, "/executions", query, c.Limit)
	if err != nil {
		return err
	}
	return list.print(s, c.JSON, "No executions match.")
}

// duration returns how long an execution took; empty if it has not ended.
func duration(v *atom.ExecutionView) string {
	if v.EndedAt == nil || v.StartedAt == nil {
		return ""
	}
	return terminal.Duration(v.EndedAt.Sub(*v.StartedAt))
}

// status returns the status of an execution and how a failure was resolved. A
// superseded execution has a resolution too, which repeats its status.
func status(v *atom.ExecutionView) string {
	if v.Resolution != nil && v.Resolution.How != v.Status {
		return v.Status + ", " + v.Resolution.How
	}
	return v.Status
}

// detail returns the most important fact about an execution for a list.
func detail(v *atom.ExecutionView) string {
	switch {
	case v.Error != nil:
		return describeError(v.Error)
	case v.Reason != "" && v.Due != nil:
		return terminal.Truncate(v.Reason, 50) + " until " + v.Due.Local().Format(time.DateTime)
	case v.Reason != "":
		return terminal.Truncate(v.Reason, 80)
	case v.Due != nil:
		return "until " + v.Due.Local().Format(time.DateTime)
	}
	fields := make([]string, 0, len(v.Track)+1)
	if v.Original != "" {
		fields = append(fields, "resubmission of "+v.Original)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Track)) {
		fields = append(fields, name+"="+v.Track[name])
	}
	return terminal.Truncate(strings.Join(fields, " "), 80)
}

// describeError returns an error in one line for a list; empty for nil.
func describeError(e *atom.ErrorView) string {
	if e == nil {
		return ""
	}
	return terminal.Truncate(e.Code+": "+e.Message, 80)
}

// oneExecution names the execution of a command.
type oneExecution struct {
	client.AtomFlags
	ID   string `arg:"" name:"execution" help:"Id of the execution."`
	JSON bool   `help:"Print as JSON."`
}

func (c *oneExecution) path() string { return "/executions/" + url.PathEscape(c.ID) }

type executionsShowCommand struct {
	oneExecution
	All bool `help:"Show every element of long loops. By default: the first, the failed ones and the last."`
}

// Help returns the text below the command's summary.
func (*executionsShowCommand) Help() string {
	return `Steps are shown as a tree, with their documents, logs and the variables that they set. --json has all of it.

Example:

    valence executions show EXECUTION --all
`
}

// Run shows one execution.
func (c *executionsShowCommand) Run(s *terminal.Streams) error {
	text, err := get(&c.AtomFlags, c.path())
	if err != nil {
		return err
	}
	return printExecution(s.Out, text, c.JSON, c.All)
}

func printExecution(w io.Writer, text []byte, asJSON, all bool) error {
	if asJSON {
		return terminal.PrintJSON(w, text)
	}
	var v executionView
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	_, err := io.WriteString(w, v.text(all))
	return err
}
