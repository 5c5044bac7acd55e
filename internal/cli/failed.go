package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"valence/atom"
)

type failedCmd struct {
	List     listFailedCmd     `cmd:"" default:"withargs" help:"List what failed and nobody has dealt with, newest first (the default)."`
	Groups   groupsFailedCmd   `cmd:"" help:"Count it by cause."`
	Resubmit resubmitFailedCmd `cmd:"" help:"Run failed executions again: one, many, or a whole group."`
	Delete   deleteFailedCmd   `cmd:"" help:"Delete failed executions that are not to run again."`
}

// Help is shown below the command's summary.
func (*failedCmd) Help() string {
	return `A failed execution is kept, with its message and what it did, until it is
resubmitted or deleted. "valence executions show" shows one in full.

Examples:

    valence failed
    valence failed groups
    valence failed resubmit EXECUTION --from failed_step
    valence failed resubmit --group FINGERPRINT --rate 50
    valence failed resubmit EXECUTION --document @corrected.json
`
}

// choice selects failed executions.
type choice struct {
	Process string            `placeholder:"NAME" help:"Only of this process."`
	Group   string            `placeholder:"FINGERPRINT" help:"Only of this cause, as the groups name it."`
	Since   string            `placeholder:"WHEN" help:"Only received since: a duration back from now such as 30m, 24h or 7d, or a time such as 2026-01-02T15:04:05Z."`
	Track   map[string]string `placeholder:"NAME=VALUE" help:"Only with this value of a tracked field."`
	Q       string            `name:"q" placeholder:"TEXT" help:"Only with this text in the id, a tracked value or the error."`
}

// fields are the choice as the admin API takes it, in a query or a body.
func (c *choice) fields() (map[string]any, error) {
	fields := map[string]any{}
	for key, value := range map[string]string{"process": c.Process, "fingerprint": c.Group, "q": c.Q} {
		if value != "" {
			fields[key] = value
		}
	}
	if c.Since != "" {
		t, err := moment(c.Since, time.Now())
		if err != nil {
			return nil, err
		}
		fields["since"] = t.Format(time.RFC3339)
	}
	if len(c.Track) > 0 {
		fields["track"] = c.Track
	}
	return fields, nil
}

type listFailedCmd struct {
	remote
	choice
	Limit  int    `default:"50" help:"Most to list, newest first."`
	Cursor string `placeholder:"CURSOR" help:"Go on where a list ended: the next_cursor of --json."`
	JSON   bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*listFailedCmd) Help() string { return (*failedCmd)(nil).Help() }

// Run lists failures.
func (c *listFailedCmd) Run(s *streams) error {
	fields, err := c.fields()
	if err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > 500 {
		return usage("--limit 500, and --cursor for more", "--limit takes 1 to 500")
	}
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Cursor != "" {
		query.Set("cursor", c.Cursor)
	}
	for key, v := range fields {
		if key != "track" {
			query.Set(key, v.(string))
		}
	}
	for name, value := range c.Track {
		query.Set("track."+name, value)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/failed?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return printExecutions(s, text, c.JSON, "Nothing failed that nobody has dealt with.")
}

type groupsFailedCmd struct {
	remote
	Process string `placeholder:"NAME" help:"Only of this process."`
	JSON    bool   `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*groupsFailedCmd) Help() string {
	return "Failures of one cause have one fingerprint: the process, the step, the code, and the message without its numbers.\n\nExample:\n\n    valence failed groups --process order-sync\n"
}

// Run counts failures by cause.
func (c *groupsFailedCmd) Run(s *streams) error {
	query := url.Values{"limit": {"500"}}
	if c.Process != "" {
		query.Set("process", c.Process)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	text, err := api.call(context.Background(), "GET", "/failed/groups?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(s.out, text)
	}
	var list struct {
		Groups []atom.FailureGroupView `json:"groups"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if len(list.Groups) == 0 {
		fmt.Fprintln(s.err, "Nothing failed that nobody has dealt with.")
		return nil
	}
	t := &table{head: []string{"FINGERPRINT", "PROCESS", "COUNT", "LAST", "CAUSE"}}
	for _, g := range list.Groups {
		cause := g.Status
		if g.Error != nil {
			cause = cut(g.Error.Code+": "+g.Error.Message, 80)
		}
		t.add(g.Fingerprint, g.Process, strconv.FormatInt(g.Count, 10), ago(g.LastAt), cause)
	}
	return t.print(s.out)
}

// many is what commands have that deal with one failure or many.
type many struct {
	remote
	choice
	IDs  []string `arg:"" optional:"" name:"execution" help:"Ids of failed executions; without any, what the flags select."`
	All  bool     `help:"Every failed execution: needed where nothing else selects."`
	Rate float64  `placeholder:"N" help:"Of many: at most so many a second (200 by default), so that what arrives meanwhile is not delayed."`
	JSON bool     `help:"Print as JSON."`
}

// body is what the admin API is asked for many.
func (m *many) body(try string) (map[string]any, error) {
	fields, err := m.fields()
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 && !m.All {
		return nil, usage(try+" EXECUTION, --group FINGERPRINT, --process NAME, or --all", "which ones is not said")
	}
	if m.All {
		fields["all"] = true
	}
	if m.Rate != 0 {
		fields["rate"] = m.Rate
	}
	return fields, nil
}

// check finds arguments that do not go together.
func (m *many) check(try string) error {
	fields, err := m.fields()
	if err != nil {
		return err
	}
	if len(m.IDs) > 0 && (len(fields) > 0 || m.All) {
		return usage(try+" EXECUTION, or the flags alone", "ids and flags that select do not go together")
	}
	return nil
}

type resubmitFailedCmd struct {
	many
	From     string `enum:"start,failed_step" default:"start" help:"start, or failed_step: what was done before it is not done again."`
	Version  string `enum:"current,original" default:"current" help:"The version of the process: current, or original."`
	Document string `placeholder:"JSON|@FILE" help:"A corrected message, of one execution; @FILE reads it from a file."`
}

// Help is shown below the command's summary.
func (*resubmitFailedCmd) Help() string {
	return `Each becomes an execution of its own that is linked to the failed one. Calls that
were made carry the same idempotency key again, unless the message is changed.
Many are resubmitted in the order in which they were accepted; the command shows
how far that has come, and Ctrl-C stops it.

Examples:

    valence failed resubmit EXECUTION
    valence failed resubmit EXECUTION --document @corrected.json
    valence failed resubmit --group FINGERPRINT --from failed_step --rate 50
`
}

// Run resubmits.
func (c *resubmitFailedCmd) Run(s *streams) error {
	if err := c.check("valence failed resubmit"); err != nil {
		return err
	}
	if c.Document != "" && len(c.IDs) != 1 {
		return usage("valence failed resubmit EXECUTION --document @corrected.json", "--document is for one execution")
	}
	if len(c.IDs) == 0 {
		body, err := c.body("valence failed resubmit")
		if err != nil {
			return err
		}
		body["from"], body["version"] = c.From, c.Version
		return c.follow(s, "/failed/resubmit", body, "resubmitted")
	}
	body := map[string]any{"from": c.From, "version": c.Version}
	if c.Document != "" {
		doc, err := c.document()
		if err != nil {
			return err
		}
		body["document"] = doc
	}
	return c.each(s, func(api *client, id string) (json.RawMessage, error) {
		return api.call(context.Background(), "POST", "/failed/"+url.PathEscape(id)+"/resubmit", body)
	}, func(id string, answer json.RawMessage) string {
		var made struct {
			Execution string `json:"execution"`
		}
		if json.Unmarshal(answer, &made) != nil {
			return id + " is resubmitted"
		}
		return id + " runs again as " + made.Execution
	})
}

// document reads the corrected message.
func (c *resubmitFailedCmd) document() (json.RawMessage, error) {
	text := []byte(c.Document)
	if name, ok := strings.CutPrefix(c.Document, "@"); ok {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return nil, usage("--document @FILE with a file that can be read", "%v", err)
		}
	}
	if !json.Valid(text) {
		return nil, usage(`--document '{"order": 4711}', or --document @FILE`, "the document is not JSON")
	}
	return text, nil
}

// each does one thing to each id, and prints what came of it. It goes on past
// those that are refused, and fails if there were some.
func (m *many) each(s *streams, do func(*client, string) (json.RawMessage, error), say func(string, json.RawMessage) string) error {
	api, err := m.client()
	if err != nil {
		return err
	}
	var first error
	for _, id := range m.IDs {
		answer, err := do(api, id)
		switch {
		case err != nil && len(m.IDs) == 1:
			return err
		case err != nil:
			fmt.Fprintf(s.err, "%s: %v\n", id, err)
			if first == nil {
				first = wrong("valence executions show EXECUTION", "not all of them could be dealt with")
			}
		case m.JSON && len(answer) > 0:
			if err := printJSON(s.out, answer); err != nil {
				return err
			}
		case !m.JSON:
			fmt.Fprintln(s.out, say(id, answer))
		}
	}
	return first
}

type deleteFailedCmd struct{ many }

// Help is shown below the command's summary.
func (*deleteFailedCmd) Help() string {
	return "The record stays in the history for as long as records do; the message and what was done are deleted.\n\nExample:\n\n    valence failed delete --group FINGERPRINT\n"
}

// Run deletes.
func (c *deleteFailedCmd) Run(s *streams) error {
	if err := c.check("valence failed delete"); err != nil {
		return err
	}
	if len(c.IDs) == 0 {
		body, err := c.body("valence failed delete")
		if err != nil {
			return err
		}
		return c.follow(s, "/failed/delete", body, "deleted")
	}
	return c.each(s, func(api *client, id string) (json.RawMessage, error) {
		return api.call(context.Background(), "DELETE", "/failed/"+url.PathEscape(id), nil)
	}, func(id string, _ json.RawMessage) string { return id + " is deleted" })
}
