package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/convert"
)

type execCmd struct {
	remote
	Process     string        `arg:"" help:"The process."`
	Document    string        `short:"d" placeholder:"@FILE|-|TEXT" help:"The input: a file, standard input, or the text itself. None by default."`
	MediaType   string        `placeholder:"TYPE" help:"Media type of the input; by default that of the file's name, otherwise application/json."`
	Prop        []string      `placeholder:"NAME=VALUE" sep:"none" help:"A process property; VALUE is JSON if it is valid JSON, text otherwise. May be repeated."`
	Wait        bool          `help:"Wait until it has ended, and show it; the exit code is 1 if it failed."`
	WaitTime    time.Duration `name:"wait-time" default:"5m" help:"Longest wait with --wait and --local."`
	Local       bool          `help:"Run it here, without an atom, on a store that is thrown away."`
	Project     []string      `placeholder:"PATH" default:"." files:"" help:"With --local: the project."`
	Environment string        `placeholder:"NAME" help:"With --local: the environment; without it values come from the machine's variables."`
	JSON        bool          `help:"Print as JSON."`
}

// Help is shown below the command's summary.
func (*execCmd) Help() string {
	return `Examples:

    valence exec order-sync --document '{"id": 4711}' --wait
    valence exec order-sync --document @order.json --prop retry=true
    valence exec order-sync --local --document - < order.json
`
}

// request is the body of an execution request.
type request struct {
	Props     map[string]json.RawMessage `json:"props,omitempty"`
	Document  json.RawMessage            `json:"document,omitempty"`
	MediaType string                     `json:"media_type,omitempty"`
}

// Run runs a process.
func (c *execCmd) Run(s *streams) error {
	req, err := c.request(s.in)
	if err != nil {
		return err
	}
	if c.Local {
		return c.local(s, req)
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	ctx := context.Background()
	text, err := api.call(ctx, "POST", "/processes/"+url.PathEscape(c.Process)+"/executions", req)
	if err != nil {
		return err
	}
	var receipt struct{ Execution, Status string }
	if err := json.Unmarshal(text, &receipt); err != nil {
		return err
	}
	if !c.Wait || receipt.Execution == "" {
		if c.JSON {
			return printJSON(s.out, text)
		}
		_, err := fmt.Fprintf(s.out, "%s %s\n", receipt.Execution, receipt.Status)
		return err
	}
	return c.await(ctx, s, func(ctx context.Context) ([]byte, error) {
		return api.call(ctx, "GET", "/executions/"+url.PathEscape(receipt.Execution), nil)
	})
}

// request makes the body of the execution request from the flags.
func (c *execCmd) request(stdin io.Reader) (*request, error) {
	req := &request{MediaType: c.MediaType}
	for _, p := range c.Prop {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usage("--prop "+p+"=VALUE", "a property is NAME=VALUE, not %q", p)
		}
		text := json.RawMessage(value)
		if convert.CheckJSON(text) != nil {
			quoted, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			text = quoted
		}
		if req.Props == nil {
			req.Props = map[string]json.RawMessage{}
		}
		req.Props[name] = text
	}
	text, given, err := readDocument(c.Document, stdin)
	if err != nil || !given {
		return req, err
	}
	if req.MediaType == "" {
		if file, ok := strings.CutPrefix(c.Document, "@"); ok {
			req.MediaType = mediaTypeOf(file)
		}
	}
	kind, _, err := mime.ParseMediaType(req.MediaType)
	if req.MediaType != "" && err != nil {
		return nil, usage("--media-type application/xml", "%q is no media type", req.MediaType)
	}
	if req.MediaType != "" && kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		req.Document, err = json.Marshal(string(text))
		return req, err
	}
	if err := convert.CheckJSON(text); err != nil {
		return nil, usage("--media-type text/plain, if it is not meant to be JSON", "the document is not valid JSON: %v", err)
	}
	req.MediaType, req.Document = "", text
	return req, nil
}

// readDocument reads an input as it is: a file behind an @, standard input for
// a dash, or the text itself.
func readDocument(from string, stdin io.Reader) (text []byte, given bool, err error) {
	switch {
	case from == "":
		return nil, false, nil
	case from == "-":
		text, err = io.ReadAll(stdin)
	case strings.HasPrefix(from, "@"):
		text, err = os.ReadFile(from[1:])
	default:
		return []byte(from), true, nil
	}
	if err != nil {
		return nil, false, usage("--document @FILE with a file that can be read", "%v", err)
	}
	return text, true, nil
}

// mediaTypeOf tells what a file holds by its name; "" is JSON.
func mediaTypeOf(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".xml":
		return "application/xml"
	case ".csv":
		return "text/csv"
	case ".txt":
		return "text/plain"
	}
	return ""
}

// await looks at an execution until it has ended, and prints it.
func (c *execCmd) await(ctx context.Context, s *streams, look func(context.Context) ([]byte, error)) error {
	ctx, cancel := context.WithTimeout(ctx, c.WaitTime)
	defer cancel()
	delay := 5 * time.Millisecond
	for {
		text, err := look(ctx)
		if err != nil {
			return err
		}
		var v shownExecution
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
		if v.EndedAt != nil {
			if err := showExecution(s.out, text, c.JSON); err != nil {
				return err
			}
			if s := atom.Status(v.Status); s != atom.Completed && s != atom.CompletedWithWarnings {
				return reported{exitErrors}
			}
			return nil
		}
		if pause(ctx, delay) != nil {
			return wrong("valence executions show "+v.Execution, "%s has not ended within %s: it is %s", v.Execution, c.WaitTime, v.Status)
		}
		delay = min(2*delay, time.Second)
	}
}
