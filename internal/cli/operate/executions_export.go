package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"valence/atom"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

type executionsExportCommand struct {
	client.AtomFlags
	filterFlags
	Status    []string `placeholder:"STATUS" help:"Only executions with one of these statuses, as in valence executions."`
	Documents bool     `help:"Include steps and documents: one request for each execution."`
}

// Help returns the text below the command's summary.
func (*executionsExportCommand) Help() string {
	return `Each line is an execution as the admin API returns it, newest first (JSON Lines). The
export has the executions of the moment at which each page was read.

Examples:

    valence executions export --since 24h > executions.jsonl
    valence executions export --status failed --documents | jq -r .error.message
`
}

// Run exports executions.
func (c *executionsExportCommand) Run(s *terminal.Streams) error {
	query := url.Values{"limit": {"500"}}
	if err := c.addTo(query); err != nil {
		return err
	}
	if len(c.Status) > 0 {
		query.Set("status", strings.Join(c.Status, ","))
	}
	api, err := c.Connect()
	if err != nil {
		return err
	}
	var failed error
	err = eachPage(s, &c.AtomFlags, "/executions", query, func(page *executionList) bool {
		for _, text := range page.Executions {
			if c.Documents {
				if text, failed = full(api, text); failed != nil {
					return false
				}
			}
			if failed = printLine(s.Out, text); failed != nil {
				return false
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

// full returns an execution of a list with its steps and documents.
func full(api *client.Atom, listed json.RawMessage) (json.RawMessage, error) {
	var v atom.ExecutionView
	if err := json.Unmarshal(listed, &v); err != nil {
		return nil, err
	}
	return api.Call(context.Background(), http.MethodGet, "/executions/"+url.PathEscape(v.Execution), nil)
}

// printLine prints JSON in one line.
func printLine(w io.Writer, text json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}
