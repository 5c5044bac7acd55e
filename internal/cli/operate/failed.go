package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"valence/atom"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// FailedCommand lists, resubmits and deletes failed executions.
type FailedCommand struct {
	List     failedListCommand     `cmd:"" default:"withargs" help:"List unresolved failed executions, newest first (default)."`
	Groups   failedGroupsCommand   `cmd:"" help:"Count failed executions by cause."`
	Resubmit failedResubmitCommand `cmd:"" help:"Run failed executions again: one, several or a whole group."`
	Delete   failedDeleteCommand   `cmd:"" help:"Delete failed executions that must not run again."`
}

// Help returns the text below the command's summary.
func (*FailedCommand) Help() string {
	return `A failed execution is stored with its message and its journal until it is
resubmitted or deleted. "valence executions show" prints all of it.

Examples:

    valence failed
    valence failed groups
    valence failed resubmit EXECUTION --from failed_step
    valence failed resubmit --group FINGERPRINT --rate 50
    valence failed resubmit EXECUTION --document @corrected.json
`
}

// noneFailed is printed when there is nothing to list.
const noneFailed = "No failed executions are unresolved."

// failedFilter selects failed executions.
type failedFilter struct {
	filterFlags
	Group string `placeholder:"FINGERPRINT" help:"Only executions with this cause: a fingerprint from valence failed groups."`
}

// fields returns the filter as fields of a request body.
func (f *failedFilter) fields() (map[string]any, error) {
	fields, err := f.filterFlags.fields()
	if err == nil && f.Group != "" {
		fields["fingerprint"] = f.Group
	}
	return fields, err
}

type failedListCommand struct {
	client.AtomFlags
	failedFilter
	pageFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*failedListCommand) Help() string { return (*FailedCommand)(nil).Help() }

// Run lists failed executions.
func (c *failedListCommand) Run(s *terminal.Streams) error {
	query, err := c.query()
	if err != nil {
		return err
	}
	if err := c.addTo(query); err != nil {
		return err
	}
	if c.Group != "" {
		query.Set("fingerprint", c.Group)
	}
	list, err := search(s, &c.AtomFlags, "/failed", query, c.Limit)
	if err != nil {
		return err
	}
	return list.print(s, c.JSON, noneFailed)
}

type failedGroupsCommand struct {
	client.AtomFlags
	Process string `placeholder:"NAME" help:"Only executions of this process."`
	JSON    bool   `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*failedGroupsCommand) Help() string {
	return `Executions with the same cause have the same fingerprint: process, step, error code,
and the message and answer of the other system without their numbers. Below the table
is an example of each cause, and the command that runs its executions again.

Example:

    valence failed groups --process order-sync
`
}

// Run counts failed executions by cause.
func (c *failedGroupsCommand) Run(s *terminal.Streams) error {
	query := url.Values{"limit": {"500"}}
	if c.Process != "" {
		query.Set("process", c.Process)
	}
	text, err := get(&c.AtomFlags, "/failed/groups?"+query.Encode())
	if err != nil {
		return err
	}
	if c.JSON {
		return terminal.PrintJSON(s.Out, text)
	}
	var list struct {
		Groups []atom.FailureGroupView `json:"groups"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if len(list.Groups) == 0 {
		fmt.Fprintln(s.Err, noneFailed)
		return nil
	}
	t := &terminal.Table{Head: []string{"FINGERPRINT", "PROCESS", "COUNT", "LAST", "CAUSE"}}
	for _, g := range list.Groups {
		cause := g.Status
		if g.Error != nil {
			cause = describeError(g.Error)
		}
		t.Add(g.Fingerprint, g.Process, strconv.FormatInt(g.Count, 10), terminal.Ago(g.LastAt), cause)
	}
	if err := t.Print(s.Out); err != nil {
		return err
	}
	for i := range list.Groups {
		if _, err := io.WriteString(s.Out, groupExample(&list.Groups[i])); err != nil {
			return err
		}
	}
	return nil
}

// groupExample returns the newest failure of a group and how to run all again.
func groupExample(g *atom.FailureGroupView) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s  for example %s\n", g.Fingerprint, g.Example)
	for e := g.Error; e != nil; e = e.Cause {
		if e.Body != "" {
			fmt.Fprintf(&b, "  answer  %s\n", strings.TrimSpace(terminal.Truncate(e.Body, 300)))
			break
		}
	}
	fmt.Fprintf(&b, "  valence failed resubmit --group %s\n", g.Fingerprint)
	return b.String()
}

// failedSelection names failed executions by id or by filter.
type failedSelection struct {
	client.AtomFlags
	failedFilter
	IDs  []string `arg:"" optional:"" name:"execution" help:"Ids of failed executions; default: those that the flags select."`
	All  bool     `help:"Select every failed execution; required if nothing else selects."`
	Rate float64  `placeholder:"N" help:"Executions per second (default 200) when many are selected, so that new messages are not delayed."`
	JSON bool     `help:"Print as JSON."`
}

// check returns an error for ids combined with a filter.
func (f *failedSelection) check(command string) error {
	fields, err := f.fields()
	if err != nil {
		return err
	}
	if len(f.IDs) > 0 && (len(fields) > 0 || f.All) {
		return clierror.Usage(command+" EXECUTION, or the flags alone", "ids and selecting flags cannot be combined")
	}
	return nil
}

// batch returns the request body for the selected executions.
func (f *failedSelection) batch(command string) (map[string]any, error) {
	fields, err := f.fields()
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 && !f.All {
		return nil, clierror.Usage(command+" EXECUTION, --group FINGERPRINT, --process NAME, or --all", "no executions are selected")
	}
	if f.All {
		fields["all"] = true
	}
	if f.Rate != 0 {
		fields["rate"] = f.Rate
	}
	return fields, nil
}

// each makes one request per id and prints the results. It continues after
// refused ids and returns an error if there were any.
func (f *failedSelection) each(s *terminal.Streams, do func(*client.Atom, string) (json.RawMessage, error), describe func(string, json.RawMessage) string) error {
	api, err := f.Connect()
	if err != nil {
		return err
	}
	refused := false
	for _, id := range f.IDs {
		answer, err := do(api, id)
		switch {
		case err != nil && len(f.IDs) == 1:
			return err
		case err != nil:
			fmt.Fprintf(s.Err, "%s: %v\n", id, err)
			refused = true
		case f.JSON && len(answer) > 0:
			if err := terminal.PrintJSON(s.Out, answer); err != nil {
				return err
			}
		case !f.JSON:
			fmt.Fprintln(s.Out, describe(id, answer))
		}
	}
	if refused {
		return clierror.Invalid("valence executions show EXECUTION", "some executions were refused")
	}
	return nil
}

type failedDeleteCommand struct{ failedSelection }

// Help returns the text below the command's summary.
func (*failedDeleteCommand) Help() string {
	return `The message and the journal are deleted. The record remains in the history until its
retention ends.

Example:

    valence failed delete --group FINGERPRINT
`
}

// Run deletes failed executions.
func (c *failedDeleteCommand) Run(s *terminal.Streams) error {
	const command = "valence failed delete"
	if err := c.check(command); err != nil {
		return err
	}
	if len(c.IDs) == 0 {
		body, err := c.batch(command)
		if err != nil {
			return err
		}
		return c.follow(s, "/failed/delete", body, "deleted")
	}
	return c.each(s, func(api *client.Atom, id string) (json.RawMessage, error) {
		return api.Call(context.Background(), http.MethodDelete, "/failed/"+url.PathEscape(id), nil)
	}, func(id string, _ json.RawMessage) string { return id + " is deleted" })
}
