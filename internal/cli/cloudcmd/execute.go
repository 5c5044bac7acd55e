package cloudcmd

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

type executeCommand struct {
	client.CloudFlags
	Process   string   `arg:"" help:"Name or id of the process."`
	Atom      string   `required:"" placeholder:"NAME" help:"Name or id of the atom that runs it."`
	Prop      []string `placeholder:"NAME=VALUE" sep:"none" help:"Process property, as text. May be repeated."`
	Document  string   `short:"d" placeholder:"@FILE|-|TEXT" help:"Input: a file, standard input, or the text itself. Default: none."`
	MediaType string   `placeholder:"TYPE" help:"Media type of the input. Default: by the file extension, otherwise JSON if it is valid JSON, plain text if not."`
	Key       string   `name:"idempotency-key" placeholder:"KEY" help:"A repeated key returns the request that was first made with it."`
	waitFlags
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*executeCommand) Help() string {
	return `The request is stored until the atom polls, even if the atom is offline now.

Examples:

    valence cloud execute fetch-order --atom edge-01 --prop recordId=4711 --wait
    valence cloud execute import-orders --atom edge-01 --document @orders.xml --idempotency-key 2026-01-02
`
}

// Run requests an execution on an atom.
func (c *executeCommand) Run(s *terminal.Streams) error {
	in, err := c.request(s.In)
	if err != nil {
		return err
	}
	api, err := c.Platform()
	if err != nil {
		return err
	}
	var created struct {
		Request string `json:"requestId"`
	}
	ctx := context.Background()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	text, err := api.Call(ctx, http.MethodPost, "ExecutionRequest", body, nil, &created)
	switch {
	case err != nil:
		return err
	case c.Wait:
		return follow(ctx, s, api, created.Request, c.WaitTime, c.JSON)
	case c.JSON:
		return terminal.PrintJSON(s.Out, text)
	}
	return printLine(s, "%s", created.Request)
}

// request returns the body of the execution request that the flags describe.
func (c *executeCommand) request(stdin io.Reader) (map[string]any, error) {
	in := map[string]any{"@type": "ExecutionRequest", "atomId": c.Atom}
	if isID(c.Process) {
		in["processId"] = c.Process
	} else {
		in["processName"] = c.Process
	}
	if c.Key != "" {
		in["idempotencyKey"] = c.Key
	}
	var props []map[string]string
	for _, p := range c.Prop {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, clierror.Usage("--prop "+p+"=VALUE", "a property is NAME=VALUE, not %q", p)
		}
		props = append(props, map[string]string{"name": name, "value": value})
	}
	if len(props) > 0 {
		in["DynamicProcessProperties"] = map[string]any{"DynamicProcessProperty": props}
	}
	text, ok, err := terminal.ReadDocument(c.Document, stdin)
	if err != nil || !ok {
		return in, err
	}
	in["document"] = string(text)
	kind := c.MediaType
	if file, ok := strings.CutPrefix(c.Document, "@"); ok && kind == "" {
		kind = terminal.MediaType(file)
	}
	if kind != "" {
		in["documentType"] = kind
	}
	return in, nil
}

// isID reports whether s is an id: process names never look like a UUID.
func isID(s string) bool {
	parts := strings.Split(s, "-")
	return len(s) == 36 && len(parts) == 5 && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}

// follow waits for the end of a requested execution and prints its record. An
// execution that did not complete is an error.
func follow(ctx context.Context, s *terminal.Streams, api *client.Platform, request string, timeout time.Duration, asJSON bool) error {
	text, err := awaitRecord(ctx, api, request, timeout)
	if err != nil {
		return err
	}
	var r record
	if text != nil {
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
	}
	if !r.ended() {
		state := "its atom has not received it"
		if r.Status != "" {
			state = "it is " + r.Status
		}
		return clierror.Invalid("valence cloud executions show "+request, "%s has not ended within %s: %s", request, timeout, state)
	}
	if err := printRecord(s.Out, text, asJSON); err != nil {
		return err
	}
	if r.Status != cloud.Complete && r.Status != cloud.CompleteWarn {
		return clierror.Reported{Code: clierror.ExitInvalid}
	}
	return nil
}

// Limits of one long poll for a record, and the pause between short ones.
const (
	maxLongPoll  = 30 * time.Second
	pollInterval = 200 * time.Millisecond
)

// awaitRecord waits until a requested execution ends or the timeout is over,
// and returns its latest record; nil if the atom has reported nothing.
func awaitRecord(ctx context.Context, api *client.Platform, request string, timeout time.Duration) ([]byte, error) {
	end := time.Now().Add(timeout)
	for {
		var header http.Header
		left := time.Until(end)
		if n := int(min(left, maxLongPoll) / time.Second); n > 0 {
			header = http.Header{"Prefer": {"wait=" + strconv.Itoa(n)}}
		}
		var answer struct {
			Result []json.RawMessage `json:"result"`
		}
		if _, err := api.Call(ctx, http.MethodGet, "ExecutionRecord/async/"+url.PathEscape(request), nil, header, &answer); err != nil {
			return nil, err
		}
		var r record
		if len(answer.Result) > 0 {
			if err := json.Unmarshal(answer.Result[0], &r); err != nil {
				return nil, err
			}
		}
		switch {
		case r.ended(), left <= 0 && len(answer.Result) > 0:
			return answer.Result[0], nil
		case left <= 0:
			return nil, nil
		}
		if header == nil {
			if err := terminal.Sleep(ctx, min(left, pollInterval)); err != nil {
				return nil, err
			}
		}
	}
}
