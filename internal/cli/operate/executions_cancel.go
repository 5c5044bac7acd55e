package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// liveStatuses are the statuses of executions that can be cancelled.
var liveStatuses = []string{string(store.Accepted), atom.StatusRunning, string(store.Waiting), string(store.Held)}

type executionsCancelCommand struct {
	client.AtomFlags
	filterFlags
	IDs    []string `arg:"" optional:"" name:"execution" help:"Ids of executions; default: those that the flags select."`
	Status []string `placeholder:"STATUS" help:"Only executions with one of these statuses: accepted, running, waiting, held."`
	All    bool     `help:"Select every execution that has not ended; required if nothing else selects."`
	JSON   bool     `help:"Print as JSON, one execution per line."`
}

// Help returns the text below the command's summary.
func (*executionsCancelCommand) Help() string {
	return `Executions that flags select are cancelled newest first. One that ends meanwhile is
reported and left alone.

Examples:

    valence executions cancel EXECUTION
    valence executions cancel --process order-sync --status waiting,held
`
}

// Run cancels executions.
func (c *executionsCancelCommand) Run(s *terminal.Streams) error {
	fields, err := c.fields()
	if err != nil {
		return err
	}
	selects := len(fields) > 0 || len(c.Status) > 0 || c.All
	switch {
	case len(c.IDs) > 0 && selects:
		return clierror.Usage("valence executions cancel EXECUTION, or the flags alone", "ids and selecting flags cannot be combined")
	case len(c.IDs) == 0 && !selects:
		return clierror.Usage("valence executions cancel EXECUTION, --process NAME, or --all", "no executions are selected")
	}
	ids := c.IDs
	if selects {
		if ids, err = c.selected(s); err != nil {
			return err
		}
	}
	api, err := c.Connect()
	if err != nil {
		return err
	}
	return c.cancel(s, api, ids, selects)
}

// selected returns the ids of the executions that the flags select.
func (c *executionsCancelCommand) selected(s *terminal.Streams) ([]string, error) {
	statuses := liveStatuses
	if len(c.Status) > 0 {
		statuses = c.Status
	}
	for _, status := range statuses {
		if !slices.Contains(liveStatuses, status) {
			return nil, clierror.Usage("--status "+strings.Join(liveStatuses, ","), "executions with the status %s cannot be cancelled", status)
		}
	}
	query := url.Values{"limit": {"500"}, "status": {strings.Join(statuses, ",")}}
	if err := c.addTo(query); err != nil {
		return nil, err
	}
	var ids []string
	var decodeErr error
	err := eachPage(s, &c.AtomFlags, "/executions", query, func(page *executionList) bool {
		for _, text := range page.Executions {
			var v atom.ExecutionView
			if decodeErr = json.Unmarshal(text, &v); decodeErr != nil {
				return false
			}
			ids = append(ids, v.Execution)
		}
		return true
	})
	if err == nil {
		err = decodeErr
	}
	return ids, err
}

// cancel cancels executions and prints each. skipEnded skips those that have
// ended meanwhile.
func (c *executionsCancelCommand) cancel(s *terminal.Streams, api *client.Atom, ids []string, skipEnded bool) error {
	cancelled, refused := 0, 0
	for _, id := range ids {
		text, err := api.Call(context.Background(), http.MethodPost, "/executions/"+url.PathEscape(id)+"/cancel", nil)
		switch {
		case err != nil && len(ids) == 1 && !skipEnded:
			return err
		case err != nil:
			fmt.Fprintf(s.Err, "%s: %v\n", id, err)
			refused++
		case c.JSON:
			cancelled++
			if err := printLine(s.Out, text); err != nil {
				return err
			}
		default:
			cancelled++
			fmt.Fprintf(s.Out, "%s is being cancelled\n", id)
		}
	}
	switch {
	case skipEnded && !c.JSON:
		fmt.Fprintf(s.Out, "%d of %d cancelled\n", cancelled, len(ids))
	case refused > 0:
		return clierror.Invalid("valence executions show EXECUTION", "some executions were not cancelled")
	}
	return nil
}
