package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/spec"
)

type executionsCmd struct {
	List   listExecutionsCmd  `cmd:"" default:"withargs" help:"List executions, newest first (the default)."`
	Show   showExecutionCmd   `cmd:"" help:"Show one with its steps and documents."`
	Cancel cancelExecutionCmd `cmd:"" help:"Cancel one that has not ended."`
}

// Help is shown below the command's summary.
func (*executionsCmd) Help() string {
	return `Examples:

    valence executions --status failed --since 24h
    valence executions --process order-sync --track order=4711
    valence executions show EXECUTION
`
}

type listExecutionsCmd struct {
	remote
	Process string            `placeholder:"NAME" help:"Only of this process."`
	Status  []string          `placeholder:"STATUS" help:"Only with one of these: accepted, running, waiting, held, completed, completed_with_warnings, failed, expired, superseded, cancelled."`
	Since   string            `placeholder:"WHEN" help:"Only received since: a duration back from now such as 30m, 24h or 7d, or a time such as 2026-01-02T15:04:05Z."`
	Track   map[string]string `placeholder:"NAME=VALUE" help:"Only with this value of a tracked field."`
	Q       string            `name:"q" placeholder:"TEXT" help:"Only with this text in the id, a tracked value or the error."`
	Limit   int               `default:"50" help:"Most to list, newest first."`
	Cursor  string            `placeholder:"CURSOR" help:"Go on where a list ended: the next_cursor of --json."`
	JSON    bool              `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*listExecutionsCmd) Help() string { return (*executionsCmd)(nil).Help() }

// Run lists executions.
func (c *listExecutionsCmd) Run(s *streams) error {
	query := url.Values{}
	set := func(key, value string) {
		if value != "" {
			query.Set(key, value)
		}
	}
	set("process", c.Process)
	set("status", strings.Join(c.Status, ","))
	set("q", c.Q)
	set("cursor", c.Cursor)
	for name, value := range c.Track {
		query.Set("track."+name, value)
	}
	if c.Since != "" {
		t, err := moment(c.Since, time.Now())
		if err != nil {
			return err
		}
		set("since", t.Format(time.RFC3339))
	}
	if c.Limit < 1 || c.Limit > 500 {
		return usage("--limit 500, and --cursor for more", "--limit takes 1 to 500")
	}
	set("limit", strconv.Itoa(c.Limit))
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/executions?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return printExecutions(s, text, c.JSON, "No executions match.")
}

// printExecutions prints a page of a list of executions.
func printExecutions(s *streams, text []byte, asJSON bool, none string) error {
	if asJSON {
		return printJSON(s.out, text)
	}
	var list struct {
		Executions []atom.View `json:"executions"`
		NextCursor string      `json:"next_cursor"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if len(list.Executions) == 0 {
		fmt.Fprintln(s.err, none)
		return nil
	}
	t := &table{head: []string{"EXECUTION", "PROCESS", "STATUS", "RECEIVED", "TOOK", "DETAIL"}}
	for _, v := range list.Executions {
		t.add(v.Execution, v.Process, v.Status, ago(v.ReceivedAt), took(&v), detail(&v))
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	if list.NextCursor != "" {
		fmt.Fprintf(s.err, "There are more: --cursor %s\n", list.NextCursor)
	}
	return nil
}

// moment reads a time, or a duration back from now.
func moment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := spec.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, usage("--since 24h, or --since 2026-01-02T15:04:05Z", "%q is neither a duration nor a time", text)
}

func took(v *atom.View) string {
	if v.EndedAt == nil || v.StartedAt == nil {
		return ""
	}
	return span(v.EndedAt.Sub(*v.StartedAt))
}

// detail is the one thing about an execution that a list has room for.
func detail(v *atom.View) string {
	switch {
	case v.Error != nil:
		return cut(v.Error.Code+": "+v.Error.Message, 80)
	case v.Reason != "" && v.Due != nil:
		return cut(v.Reason, 50) + " until " + v.Due.Local().Format(time.DateTime)
	case v.Reason != "":
		return cut(v.Reason, 80)
	case v.Due != nil:
		return "until " + v.Due.Local().Format(time.DateTime)
	}
	fields := make([]string, 0, len(v.Track))
	for _, name := range sortedKeys(v.Track) {
		fields = append(fields, name+"="+v.Track[name])
	}
	return cut(strings.Join(fields, " "), 80)
}

type showExecutionCmd struct {
	remote
	ID   string `arg:"" name:"execution" help:"The execution's id."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*showExecutionCmd) Help() string {
	return "Example:\n\n    valence executions show EXECUTION --json\n"
}

// Run shows one execution.
func (c *showExecutionCmd) Run(s *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/executions/"+url.PathEscape(c.ID), nil)
	if err != nil {
		return err
	}
	return showExecution(s.out, text, c.JSON)
}

func showExecution(w io.Writer, text []byte, asJSON bool) error {
	if asJSON {
		return printJSON(w, text)
	}
	var v shownExecution
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	_, err := io.WriteString(w, v.text())
	return err
}

type cancelExecutionCmd struct {
	remote
	ID   string `arg:"" name:"execution" help:"The execution's id."`
	JSON bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cancelExecutionCmd) Help() string {
	return "Example:\n\n    valence executions cancel EXECUTION\n"
}

// Run cancels one execution.
func (c *cancelExecutionCmd) Run(s *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "POST", "/executions/"+url.PathEscape(c.ID)+"/cancel", nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	fmt.Fprintf(s.out, "%s is being cancelled\n", c.ID)
	return nil
}
