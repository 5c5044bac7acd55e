package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
)

type cloudExecuteCmd struct {
	cloudRemote
	Process   string        `arg:"" help:"The process, by its name or id."`
	Atom      string        `required:"" placeholder:"NAME" help:"The atom that is to run it, by its name or id."`
	Prop      []string      `placeholder:"NAME=VALUE" sep:"none" help:"A process property, a text. May be repeated."`
	Document  string        `short:"d" placeholder:"@FILE|-|TEXT" help:"The input: a file, standard input, or the text itself. None by default."`
	MediaType string        `placeholder:"TYPE" help:"Media type of the input; by default that of the file's name, otherwise JSON or plain text, as it reads."`
	Key       string        `name:"idempotency-key" placeholder:"KEY" help:"The same key again gives the request that was made with it first."`
	Wait      bool          `help:"Wait until it has ended, and show it; the exit code is 1 if it did not complete."`
	WaitTime  time.Duration `name:"wait-time" default:"5m" help:"Longest wait with --wait."`
	JSON      bool          `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*cloudExecuteCmd) Help() string {
	return `The request is stored and waits for the atom, also while it is away.

Examples:

    valence cloud execute fetch-order --atom edge-01 --prop recordId=4711 --wait
    valence cloud execute import-orders --atom edge-01 --document @orders.xml --idempotency-key 2026-01-02
`
}

// Run asks an atom to run a process.
func (c *cloudExecuteCmd) Run(s *streams) error {
	in, err := c.request(s.in)
	if err != nil {
		return err
	}
	api, err := c.platform()
	if err != nil {
		return err
	}
	var made struct {
		Request string `json:"requestId"`
	}
	ctx := context.Background()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	text, err := api.call(ctx, http.MethodPost, "ExecutionRequest", body, nil, &made)
	if err != nil {
		return err
	}
	if !c.Wait {
		if c.JSON {
			return printJSON(s.out, text)
		}
		_, err := fmt.Fprintln(s.out, made.Request)
		return err
	}
	return follow(ctx, s, api, made.Request, c.WaitTime, c.JSON)
}

// follow waits for the end of a request and shows it; the exit code tells
// whether it completed.
func follow(ctx context.Context, s *streams, api *platformAPI, request string, longest time.Duration, asJSON bool) error {
	record, err := awaitRecord(ctx, api, request, longest)
	if err != nil {
		return err
	}
	var r shownRecord
	if record != nil {
		if err := json.Unmarshal(record, &r); err != nil {
			return err
		}
	}
	if record == nil || !(&cloud.ExecutionRecord{Status: r.Status}).Ended() {
		how := "its atom has not taken it"
		if r.Status != "" {
			how = "it is " + r.Status
		}
		return wrong("valence cloud executions show "+request, "%s has not ended within %s: %s", request, longest, how)
	}
	if err := showRecord(s.out, record, asJSON); err != nil {
		return err
	}
	if r.Status != cloud.Complete && r.Status != cloud.CompleteWarn {
		return reported{exitErrors}
	}
	return nil
}

// request makes the body of the execution request from the flags.
func (c *cloudExecuteCmd) request(stdin io.Reader) (map[string]any, error) {
	in := map[string]any{"@type": "ExecutionRequest", "atomId": c.Atom}
	if looksLikeID(c.Process) {
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
			return nil, usage("--prop "+p+"=VALUE", "a property is NAME=VALUE, not %q", p)
		}
		props = append(props, map[string]string{"name": name, "value": value})
	}
	if len(props) > 0 {
		in["DynamicProcessProperties"] = map[string]any{"DynamicProcessProperty": props}
	}
	text, given, err := readDocument(c.Document, stdin)
	if err != nil || !given {
		return in, err
	}
	in["document"] = string(text)
	kind := c.MediaType
	if file, ok := strings.CutPrefix(c.Document, "@"); ok && kind == "" {
		kind = mediaTypeOf(file)
	}
	if kind != "" {
		in["documentType"] = kind
	}
	return in, nil
}

// looksLikeID tells an id from a name: a name of a process has no such form.
func looksLikeID(s string) bool {
	parts := strings.Split(s, "-")
	return len(s) == 36 && len(parts) == 5 && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}

// awaitRecord waits for the end of what a request asked for, and gives the
// record as it is then; nil: the atom has reported nothing.
func awaitRecord(ctx context.Context, api *platformAPI, request string, longest time.Duration) ([]byte, error) {
	end := time.Now().Add(longest)
	for {
		var header http.Header
		left := time.Until(end)
		if n := int(min(left, 30*time.Second) / time.Second); n > 0 {
			header = http.Header{"Prefer": {"wait=" + strconv.Itoa(n)}}
		}
		var answer struct {
			Result []json.RawMessage `json:"result"`
		}
		if _, err := api.call(ctx, http.MethodGet, "ExecutionRecord/async/"+url.PathEscape(request), nil, header, &answer); err != nil {
			return nil, err
		}
		var r shownRecord
		if len(answer.Result) > 0 {
			if err := json.Unmarshal(answer.Result[0], &r); err != nil {
				return nil, err
			}
		}
		switch ended := r.Status != "" && (&cloud.ExecutionRecord{Status: r.Status}).Ended(); {
		case ended, left <= 0 && len(answer.Result) > 0:
			return answer.Result[0], nil
		case left <= 0:
			return nil, nil
		}
		if header == nil {
			if err := pause(ctx, min(left, 200*time.Millisecond)); err != nil {
				return nil, err
			}
		}
	}
}
