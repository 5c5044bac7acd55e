package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"valence/atom/store"
	"valence/internal/cli/client"
	"valence/internal/cli/message"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// ExecCommand runs one process.
type ExecCommand struct {
	client.AtomFlags
	Process string `arg:"" help:"Name of the process."`
	message.Flags
	Wait        bool          `help:"Wait for the end of the execution and show it. The exit code is 1 if it failed."`
	WaitTime    time.Duration `name:"wait-time" default:"5m" help:"Longest wait with --wait and --local."`
	Local       bool          `help:"Run the process in this command, without an atom, on a temporary store."`
	Project     []string      `placeholder:"PATH" default:"." files:"" help:"With --local: folders and files of the project."`
	Environment string        `placeholder:"NAME" help:"With --local: environment component with the values. Default: environment variables."`
	JSON        bool          `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*ExecCommand) Help() string {
	return `Starts a new execution on a running atom. With --local, no atom is needed.

A process with a listener may read the HTTP request that starts it, as request. The flags --method, --param, --query and
--header describe that request; without any of them, request is null. Authentication is not checked.

Examples:

    valence exec order-sync --header 'X-Event-Id: 1' --document '{"id": 4711}' --wait
    valence exec order-sync --header 'X-Event-Id: 2' --document @order.json --prop retry=true
    valence exec order-status --param id=4711 --query lang=pt --wait
    valence exec order-sync --local --header 'X-Event-Id: 3' --document - < order.json
`
}

// execRequest is the body of an execution request.
type execRequest struct {
	Props     map[string]json.RawMessage `json:"props,omitempty"`
	Document  json.RawMessage            `json:"document,omitempty"`
	MediaType string                     `json:"media_type,omitempty"`
	Request   *message.Request           `json:"request,omitempty"`
}

// Run runs a process.
func (c *ExecCommand) Run(s *terminal.Streams) error {
	req, err := c.request(s.In)
	if err != nil {
		return err
	}
	if c.Local {
		return c.runLocal(s, req)
	}
	api, err := c.Connect()
	if err != nil {
		return err
	}
	return c.execute(s, api, req, c.Wait)
}

// execute requests the execution and prints its receipt or, with wait, its outcome.
func (c *ExecCommand) execute(s *terminal.Streams, api *client.Atom, req *execRequest, wait bool) error {
	ctx := context.Background()
	text, err := api.Call(ctx, http.MethodPost, "/processes/"+url.PathEscape(c.Process)+"/executions", req)
	if err != nil {
		return err
	}
	var receipt struct{ Execution, Status string }
	if err := json.Unmarshal(text, &receipt); err != nil {
		return err
	}
	switch {
	case wait && receipt.Execution != "":
		return c.await(ctx, s, api, receipt.Execution)
	case c.JSON || c.Local:
		return terminal.PrintJSON(s.Out, text)
	}
	_, err = fmt.Fprintf(s.Out, "%s %s\n", receipt.Execution, receipt.Status)
	return err
}

// request returns the body of the execution request that the flags describe.
func (c *ExecCommand) request(stdin io.Reader) (*execRequest, error) {
	props, err := c.Props()
	if err != nil {
		return nil, err
	}
	r, err := c.Flags.Request()
	if err != nil {
		return nil, err
	}
	req := &execRequest{Props: props, Request: r}
	text, media, ok, err := c.Read(stdin)
	if req.MediaType = media; err != nil || !ok {
		return req, err
	}
	if req.Document = text; media != "" {
		req.Document, err = json.Marshal(string(text))
	}
	return req, err
}

// await polls an execution until it ends, and prints it.
func (c *ExecCommand) await(ctx context.Context, s *terminal.Streams, api *client.Atom, id string) error {
	ctx, cancel := context.WithTimeout(ctx, c.WaitTime)
	defer cancel()
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		text, err := api.Call(ctx, http.MethodGet, "/executions/"+url.PathEscape(id), nil)
		if err != nil {
			return err
		}
		var v executionView
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
		if v.EndedAt == nil {
			if terminal.Sleep(ctx, delay) != nil {
				return clierror.Invalid("valence executions show "+v.Execution, "%s has not ended within %s: it is %s", v.Execution, c.WaitTime, v.Status)
			}
			continue
		}
		if err := printExecution(s.Out, text, c.JSON, false); err != nil {
			return err
		}
		if status := store.Status(v.Status); status != store.Completed && status != store.CompletedWithWarnings {
			return clierror.Reported{Code: clierror.ExitInvalid}
		}
		return nil
	}
}
