package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
)

type cloudExecutionsCmd struct {
	List     cloudExecutionsListCmd    `cmd:"" default:"withargs" help:"List execution records, newest first (the default)."`
	Show     cloudExecutionShowCmd     `cmd:"" help:"Show one."`
	Cancel   cloudExecutionCancelCmd   `cmd:"" help:"Ask its atom to cancel one that has not ended."`
	Resubmit cloudExecutionResubmitCmd `cmd:"" help:"Ask its atom to run a failed one again."`
}

// Help is shown below the command's summary.
func (*cloudExecutionsCmd) Help() string {
	return `What atoms have reported. The steps and documents of an execution stay on its
atom: valence executions show, there.

Examples:

    valence cloud executions --status ERROR --since 24h
    valence cloud executions --atom edge-01 --process order-sync --json
    valence cloud executions show execution-…-2026.01.02
    valence cloud executions resubmit execution-…-2026.01.02 --wait
`
}

// platform gives the platform API of the control plane that the flags name.
func (r *cloudRemote) platform() (*platformAPI, error) {
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	return &platformAPI{address: c.base, account: c.account, base: c.base + "/api/rest/v1/" + url.PathEscape(c.account) + "/", token: c.token, http: c.http}, nil
}

// recordStatuses are what a record may say.
var recordStatuses = []string{cloud.Aborted, cloud.Complete, cloud.CompleteWarn, cloud.Discarded, cloud.Enqueued, cloud.Failed, cloud.InProcess, cloud.Started}

type cloudExecutionsListCmd struct {
	cloudRemote
	Status  []string `placeholder:"STATUS" help:"Only with one of these: ABORTED, COMPLETE, COMPLETE_WARN, DISCARDED, ENQUEUED, ERROR, INPROCESS, STARTED."`
	Process string   `placeholder:"NAME" help:"Only of this process."`
	Atom    string   `placeholder:"NAME" help:"Only of this atom, by its name or id."`
	Request string   `placeholder:"ID" help:"Only of this execution request."`
	Since   string   `placeholder:"WHEN" help:"Only begun since: a duration back from now such as 30m, 24h or 7d, or a time such as 2026-01-02T15:04:05Z."`
	Limit   int      `default:"50" help:"Most to list, newest first."`
	JSON    bool     `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudExecutionsListCmd) Help() string { return (*cloudExecutionsCmd)(nil).Help() }

// filter is the question as the platform API takes it.
func (c *cloudExecutionsListCmd) filter() (map[string]any, error) {
	type expression = map[string]any
	var all []expression
	is := func(operator, property, value string) expression {
		return expression{"operator": operator, "property": property, "argument": []string{value}}
	}
	equals := func(property, value string) {
		if value != "" {
			all = append(all, is("EQUALS", property, value))
		}
	}
	var statuses []expression
	for _, s := range c.Status {
		if s = strings.ToUpper(s); !slices.Contains(recordStatuses, s) {
			return nil, usage("--status "+cloud.Failed, "no record has the status %s: there are %s", s, strings.Join(recordStatuses, ", "))
		}
		statuses = append(statuses, is("EQUALS", "status", s))
	}
	switch len(statuses) {
	case 0:
	case 1:
		all = append(all, statuses[0])
	default:
		all = append(all, expression{"operator": "or", "nestedExpression": statuses})
	}
	equals("processName", c.Process)
	equals("requestId", c.Request)
	if c.Atom != "" {
		all = append(all, expression{"operator": "or", "nestedExpression": []expression{is("EQUALS", "atomName", c.Atom), is("EQUALS", "atomId", c.Atom)}})
	}
	if c.Since != "" {
		t, err := moment(c.Since, time.Now())
		if err != nil {
			return nil, err
		}
		all = append(all, is("GREATER_THAN_OR_EQUAL", "executionTime", t.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	switch len(all) {
	case 0:
		return expression{}, nil
	case 1:
		return expression{"QueryFilter": expression{"expression": all[0]}}, nil
	}
	return expression{"QueryFilter": expression{"expression": expression{"operator": "and", "nestedExpression": all}}}, nil
}

// shownRecord is an execution record as the platform API answers it.
type shownRecord struct {
	ID         string          `json:"executionId"`
	Time       string          `json:"executionTime"`
	Status     string          `json:"status"`
	Type       string          `json:"executionType"`
	Process    string          `json:"processName"`
	Atom       string          `json:"atomName"`
	Took       json.RawMessage `json:"executionDuration"` // milliseconds, with or without its type
	Message    string          `json:"message"`
	Request    string          `json:"requestId"`
	OnAtom     string          `json:"atomExecutionId"`
	OriginalID string          `json:"originalExecutionId"`
	Document   string          `json:"document"`
}

func (r *shownRecord) took() string {
	var typed []any
	text := string(r.Took)
	if json.Unmarshal(r.Took, &typed) == nil && len(typed) == 2 {
		text = fmt.Sprint(typed[1])
	}
	n, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
	if err != nil || r.Status == cloud.InProcess || r.Status == cloud.Enqueued || r.Status == cloud.Started {
		return ""
	}
	if n == 0 {
		return "<1ms"
	}
	return span(time.Duration(n) * time.Millisecond)
}

// Run lists records.
func (c *cloudExecutionsListCmd) Run(s *streams) error {
	if c.Limit < 1 || c.Limit > 10_000 {
		return usage("--limit 10000", "--limit takes 1 to 10000")
	}
	in, err := c.filter()
	if err != nil {
		return err
	}
	api, err := c.platform()
	if err != nil {
		return err
	}
	found, more, err := newest(context.Background(), api, in, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		text, err := json.Marshal(map[string]any{"executions": found, "more": more})
		if err != nil {
			return err
		}
		return printJSON(s.out, text)
	}
	if len(found) == 0 {
		fmt.Fprintln(s.err, "No executions match.")
		return nil
	}
	t := &table{head: []string{"EXECUTION", "PROCESS", "ATOM", "STATUS", "BEGAN", "TOOK", "DETAIL"}}
	for _, text := range found {
		var r shownRecord
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		began, _ := time.Parse(time.RFC3339, r.Time) // what is no time is shown as none
		t.add(r.ID, r.Process, r.Atom, r.Status, ago(began), r.took(), cut(r.Message, 80))
	}
	if err := t.print(s.out); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(s.err, "There are more: --limit %d, or --since, --status, --process and --atom for fewer\n", min(10*c.Limit, 10_000))
	}
	return nil
}

// newest gives the first records that a question finds, and whether there are more.
func newest(ctx context.Context, api *platformAPI, in map[string]any, limit int) (found []json.RawMessage, more bool, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, false, err
	}
	found = []json.RawMessage{}
	path, header := "ExecutionRecord/query", http.Header(nil)
	for {
		var page struct {
			Token  string            `json:"queryToken"`
			Result []json.RawMessage `json:"result"`
		}
		if _, err := api.call(ctx, http.MethodPost, path, body, header, &page); err != nil {
			return nil, false, err
		}
		found = append(found, page.Result...)
		switch {
		case len(found) > limit || len(found) == limit && page.Token != "":
			return found[:limit], true, nil
		case page.Token == "":
			return found, false, nil
		}
		path, body, header = "ExecutionRecord/queryMore", []byte(page.Token), http.Header{"Content-Type": {"text/plain"}}
	}
}

type cloudExecutionShowCmd struct {
	cloudRemote
	Execution string `arg:"" help:"Id of the record, or of the request that asked for it."`
	JSON      bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudExecutionShowCmd) Help() string {
	return "Example:\n\n    valence cloud executions show execution-…-2026.01.02\n"
}

// Run shows a record.
func (c *cloudExecutionShowCmd) Run(s *streams) error {
	api, err := c.platform()
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.Execution, "executionrecord-") {
		text, err := awaitRecord(context.Background(), api, c.Execution, 0)
		switch {
		case err != nil:
			return err
		case text == nil:
			return wrong("valence cloud atoms, for whether its atom is there", "the atom has not reported anything of %s yet", c.Execution)
		}
		return showRecord(s.out, text, c.JSON)
	}
	text, err := api.call(context.Background(), http.MethodGet, "ExecutionRecord/"+url.PathEscape(c.Execution), nil, nil, nil)
	if err != nil {
		return err
	}
	return showRecord(s.out, text, c.JSON)
}

func showRecord(w io.Writer, text []byte, asJSON bool) error {
	if asJSON {
		return printJSON(w, text)
	}
	var r shownRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	for _, line := range [][2]string{
		{"execution", r.ID}, {"request", r.Request}, {"repeats", r.OriginalID}, {"process", r.Process}, {"atom", r.Atom}, {"status", r.Status},
		{"began by", r.Type}, {"began", r.Time}, {"took", r.took()}, {"error", r.Message}, {"document", r.Document}, {"on the atom", r.OnAtom},
	} {
		if line[1] != "" {
			if _, err := fmt.Fprintf(w, "%-12s %s\n", line[0], line[1]); err != nil {
				return err
			}
		}
	}
	if r.Status == cloud.Failed && r.OnAtom != "" {
		if strings.HasPrefix(r.OnAtom, "none-") || strings.HasPrefix(r.OnAtom, "withdrawn-") {
			return nil // it never ran
		}
		_, err := fmt.Fprintf(w, "to run it again: valence cloud executions resubmit %s; its steps, on the machine of %s: valence executions show %s\n", r.ID, r.Atom, r.OnAtom)
		return err
	}
	return nil
}

type cloudExecutionCancelCmd struct {
	cloudRemote
	Execution string `arg:"" help:"Id of the record, or of the request."`
}

// Help is shown below the command's summary.
func (*cloudExecutionCancelCmd) Help() string {
	return "Example:\n\n    valence cloud executions cancel execution-…-2026.01.02\n"
}

// Run asks for an execution to be cancelled.
func (c *cloudExecutionCancelCmd) Run(s *streams) error {
	api, err := c.platform()
	if err != nil {
		return err
	}
	if _, err := api.call(context.Background(), http.MethodPost, "cancelExecution/"+url.PathEscape(c.Execution), nil, nil, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "its atom is asked to cancel %s\n", c.Execution)
	return err
}

type cloudExecutionResubmitCmd struct {
	cloudRemote
	Execution string        `arg:"" help:"Id of the record, or of the request."`
	From      string        `enum:"start,failed_step" default:"start" placeholder:"WHERE" help:"Where it begins: start, or failed_step, which keeps what had been done."`
	Wait      bool          `help:"Wait until it has ended, and show it; the exit code is 1 if it did not complete."`
	WaitTime  time.Duration `name:"wait-time" default:"5m" help:"Longest wait with --wait."`
	JSON      bool          `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudExecutionResubmitCmd) Help() string {
	return `It runs on the version that is deployed now, as an execution of its own. One
failure is never run twice. The request waits for the atom, also while it is
away; that the atom could not resubmit is told by the record of the request.

Examples:

    valence cloud executions resubmit execution-…-2026.01.02 --wait
    valence cloud executions resubmit execution-…-2026.01.02 --from failed_step
`
}

// Run asks for a failed execution to be run again.
func (c *cloudExecutionResubmitCmd) Run(s *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var made struct {
		Request string `json:"request"`
	}
	ctx := context.Background()
	text, err := api.call(ctx, http.MethodPost, "/executions/"+url.PathEscape(c.Execution)+"/resubmit", map[string]string{"from": c.From}, &made)
	if err != nil {
		return err
	}
	if c.Wait {
		platform, err := c.platform()
		if err != nil {
			return err
		}
		return follow(ctx, s, platform, made.Request, c.WaitTime, c.JSON)
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	_, err = fmt.Fprintf(s.out, "its atom is asked to resubmit %s\nwhat becomes of it: valence cloud executions show %s\n", c.Execution, made.Request)
	return err
}
