package cloudcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/cloud"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

type executionsCommand struct {
	List     executionsListCommand     `cmd:"" default:"withargs" help:"List execution records, newest first (default)."`
	Show     executionsShowCommand     `cmd:"" help:"Show an execution record."`
	Cancel   executionsCancelCommand   `cmd:"" help:"Ask the atom to cancel an execution that has not ended."`
	Resubmit executionsResubmitCommand `cmd:"" help:"Ask the atom to run a failed execution again."`
}

// Help returns the text below the command's summary.
func (*executionsCommand) Help() string {
	return `The records are reported by the atoms. The steps and documents of an execution stay on
its atom: use valence executions show there.

Examples:

    valence cloud executions --status ERROR --since 24h
    valence cloud executions --atom edge-01 --process order-sync --json
    valence cloud executions show execution-…-2026.01.02
    valence cloud executions resubmit execution-…-2026.01.02 --wait
`
}

// recordStatuses are the statuses of execution records.
var recordStatuses = []string{cloud.Aborted, cloud.Complete, cloud.CompleteWarn, cloud.Discarded, cloud.Enqueued, cloud.Failed, cloud.InProcess, cloud.Started}

type executionsListCommand struct {
	client.CloudFlags
	Status  []string `placeholder:"STATUS" help:"Only executions with one of these statuses: ABORTED, COMPLETE, COMPLETE_WARN, DISCARDED, ENQUEUED, ERROR, INPROCESS, STARTED."`
	Process string   `placeholder:"NAME" help:"Only executions of this process."`
	Atom    string   `placeholder:"NAME" help:"Only executions of this atom: its name or id."`
	Request string   `placeholder:"ID" help:"Only executions of this execution request."`
	Since   string   `placeholder:"WHEN" help:"Only executions started since: a duration before now, such as 30m, 24h or 7d, or a time such as 2026-01-02T15:04:05Z."`
	Limit   int      `default:"50" help:"Number of records, newest first."`
	JSON    bool     `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*executionsListCommand) Help() string { return (*executionsCommand)(nil).Help() }

// expression is an expression of a platform query.
type expression = map[string]any

func compare(operator, property, value string) expression {
	return expression{"operator": operator, "property": property, "argument": []string{value}}
}

// combine joins expressions with and or or; a single one is returned as it is.
func combine(operator string, all []expression) expression {
	if len(all) == 1 {
		return all[0]
	}
	return expression{"operator": operator, "nestedExpression": all}
}

// filter returns the query that the flags describe.
func (c *executionsListCommand) filter() (map[string]any, error) {
	var all []expression
	var statuses []expression
	for _, s := range c.Status {
		if s = strings.ToUpper(s); !slices.Contains(recordStatuses, s) {
			return nil, clierror.Usage("--status "+cloud.Failed, "unknown status %s; the statuses are %s", s, strings.Join(recordStatuses, ", "))
		}
		statuses = append(statuses, compare("EQUALS", "status", s))
	}
	if len(statuses) > 0 {
		all = append(all, combine("or", statuses))
	}
	if c.Process != "" {
		all = append(all, compare("EQUALS", "processName", c.Process))
	}
	if c.Request != "" {
		all = append(all, compare("EQUALS", "requestId", c.Request))
	}
	if c.Atom != "" {
		all = append(all, combine("or", []expression{compare("EQUALS", "atomName", c.Atom), compare("EQUALS", "atomId", c.Atom)}))
	}
	if c.Since != "" {
		t, err := terminal.ParseSince(c.Since, time.Now())
		if err != nil {
			return nil, err
		}
		all = append(all, compare("GREATER_THAN_OR_EQUAL", "executionTime", t.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	if len(all) == 0 {
		return expression{}, nil
	}
	return expression{"QueryFilter": expression{"expression": combine("and", all)}}, nil
}

// maxRecords is the largest --limit.
const maxRecords = 10_000

// Run lists records.
func (c *executionsListCommand) Run(s *terminal.Streams) error {
	if c.Limit < 1 || c.Limit > maxRecords {
		return clierror.Usage("--limit 10000", "--limit must be between 1 and 10000")
	}
	in, err := c.filter()
	if err != nil {
		return err
	}
	api, err := c.Platform()
	if err != nil {
		return err
	}
	found, more, err := newestRecords(context.Background(), api, in, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		text, err := json.Marshal(map[string]any{"executions": found, "more": more})
		if err != nil {
			return err
		}
		return terminal.PrintJSON(s.Out, text)
	}
	if len(found) == 0 {
		fmt.Fprintln(s.Err, "No executions match.")
		return nil
	}
	t := &terminal.Table{Head: []string{"EXECUTION", "PROCESS", "ATOM", "STATUS", "BEGAN", "TOOK", "DETAIL"}}
	for _, text := range found {
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		began, _ := time.Parse(time.RFC3339, r.Time) // an invalid time is not shown
		t.Add(r.ID, r.Process, r.Atom, r.mark(), terminal.Ago(began), r.duration(), r.detail())
	}
	if err := t.Print(s.Out); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(s.Err, "There are more: --limit %d, or select fewer with --since, --status, --process and --atom\n", min(10*c.Limit, maxRecords))
	}
	return nil
}

// newestRecords returns up to limit records of a query, and whether there are more.
func newestRecords(ctx context.Context, api *client.Platform, in map[string]any, limit int) (found []json.RawMessage, more bool, err error) {
	found = []json.RawMessage{}
	err = client.Pages(ctx, api, "ExecutionRecord", in, func(page []json.RawMessage) bool {
		found = append(found, page...)
		return len(found) <= limit
	})
	if err != nil {
		return nil, false, err
	}
	if len(found) > limit {
		return found[:limit], true, nil
	}
	return found, false, nil
}

// oneRecord names the execution of a command.
type oneRecord struct {
	client.CloudFlags
	Execution string `arg:"" help:"Id of the record or of its execution request."`
}

type executionsShowCommand struct {
	oneRecord
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*executionsShowCommand) Help() string {
	return "Example:\n\n    valence cloud executions show execution-…-2026.01.02\n"
}

// Run shows a record.
func (c *executionsShowCommand) Run(s *terminal.Streams) error {
	api, err := c.Platform()
	if err != nil {
		return err
	}
	ctx := context.Background()
	if strings.HasPrefix(c.Execution, "executionrecord-") {
		text, err := awaitRecord(ctx, api, c.Execution, 0)
		switch {
		case err != nil:
			return err
		case text == nil:
			return clierror.Invalid("valence cloud atoms, to see whether its atom is online", "the atom has not reported %s yet", c.Execution)
		}
		return printRecord(s.Out, text, c.JSON)
	}
	text, err := api.Call(ctx, http.MethodGet, "ExecutionRecord/"+url.PathEscape(c.Execution), nil, nil, nil)
	if err != nil {
		return err
	}
	return printRecord(s.Out, text, c.JSON)
}

type executionsCancelCommand struct{ oneRecord }

// Help returns the text below the command's summary.
func (*executionsCancelCommand) Help() string {
	return "Example:\n\n    valence cloud executions cancel execution-…-2026.01.02\n"
}

// Run asks the atom to cancel an execution.
func (c *executionsCancelCommand) Run(s *terminal.Streams) error {
	api, err := c.Platform()
	if err != nil {
		return err
	}
	if _, err := api.Call(context.Background(), http.MethodPost, "cancelExecution/"+url.PathEscape(c.Execution), nil, nil, nil); err != nil {
		return err
	}
	return printLine(s, "requested the cancellation of %s", c.Execution)
}

type executionsResubmitCommand struct {
	oneRecord
	From string `enum:"start,failed_step" default:"start" placeholder:"WHERE" help:"Where to begin: start, or failed_step, which does not repeat the steps before it."`
	waitFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*executionsResubmitCommand) Help() string {
	return `The process runs in its currently deployed version, as a new execution. A failed
execution is resubmitted at most once. The request is stored until the atom polls,
even if it is offline now. If the atom cannot resubmit the execution, the record of
the request says so.

Examples:

    valence cloud executions resubmit execution-…-2026.01.02 --wait
    valence cloud executions resubmit execution-…-2026.01.02 --from failed_step
`
}

// Run asks the atom to run a failed execution again.
func (c *executionsResubmitCommand) Run(s *terminal.Streams) error {
	api, err := c.Connect()
	if err != nil {
		return err
	}
	var created struct {
		Request string `json:"request"`
	}
	ctx := context.Background()
	text, err := api.Call(ctx, http.MethodPost, "/executions/"+url.PathEscape(c.Execution)+"/resubmit", map[string]string{"from": c.From}, &created)
	if err != nil {
		return err
	}
	if c.Wait {
		platform, err := c.Platform()
		if err != nil {
			return err
		}
		return follow(ctx, s, platform, created.Request, c.WaitTime, c.JSON)
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	return printLine(s, "requested the resubmission of %s\nfollow it: valence cloud executions show %s", c.Execution, created.Request)
}
