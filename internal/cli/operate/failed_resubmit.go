package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"valence/atom"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

type failedResubmitCommand struct {
	failedSelection
	From     string `enum:"start,failed_step" default:"start" help:"Where to begin: start, or failed_step, which does not repeat the steps before it."`
	Version  string `enum:"current,original" default:"current" help:"Version of the process: current or original."`
	Document string `placeholder:"JSON|@FILE" help:"Corrected message for one execution; @FILE reads it from a file."`
}

// Help returns the text below the command's summary.
func (*failedResubmitCommand) Help() string {
	return `Each failed execution runs again as a new, linked execution. Repeated calls have the
same idempotency key, unless the message is changed. Several executions are
resubmitted in the order in which they were accepted; Ctrl-C stops after the
current one.

Examples:

    valence failed resubmit EXECUTION
    valence failed resubmit EXECUTION --document @corrected.json
    valence failed resubmit --group FINGERPRINT --from failed_step --rate 50
`
}

// Run resubmits failed executions.
func (c *failedResubmitCommand) Run(s *terminal.Streams) error {
	const command = "valence failed resubmit"
	if err := c.check(command); err != nil {
		return err
	}
	if c.Document != "" && len(c.IDs) != 1 {
		return clierror.Usage(command+" EXECUTION --document @corrected.json", "--document needs exactly one execution")
	}
	if len(c.IDs) == 0 {
		body, err := c.batch(command)
		if err != nil {
			return err
		}
		body["from"], body["version"] = c.From, c.Version
		return c.follow(s, "/failed/resubmit", body, "resubmitted")
	}
	body := map[string]any{"from": c.From, "version": c.Version}
	if c.Document != "" {
		document, err := c.document()
		if err != nil {
			return err
		}
		body["document"] = document
	}
	return c.each(s, func(api *client.Atom, id string) (json.RawMessage, error) {
		return api.Call(context.Background(), http.MethodPost, "/failed/"+url.PathEscape(id)+"/resubmit", body)
	}, func(id string, answer json.RawMessage) string {
		var created struct {
			Execution string `json:"execution"`
		}
		if json.Unmarshal(answer, &created) != nil {
			return id + " is resubmitted"
		}
		return id + " runs again as " + created.Execution
	})
}

// document reads the corrected message.
func (c *failedResubmitCommand) document() (json.RawMessage, error) {
	text := []byte(c.Document)
	if name, ok := strings.CutPrefix(c.Document, "@"); ok {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return nil, clierror.Usage("--document @FILE with a readable file", "%v", err)
		}
	}
	if !json.Valid(text) {
		return nil, clierror.Usage(`--document '{"order": 4711}', or --document @FILE`, "the document is not valid JSON")
	}
	return text, nil
}

// pollBatch is how often the progress of a batch is read.
const pollBatch = 200 * time.Millisecond

// follow starts a batch and shows its progress until it is done or the user
// stops it.
func (f *failedSelection) follow(s *terminal.Streams, path string, body map[string]any, done string) error {
	api, err := f.Connect()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	text, err := api.Call(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	v := &atom.BatchView{}
	if err := json.Unmarshal(text, v); err != nil {
		return err
	}
	tick := time.NewTicker(pollBatch)
	defer tick.Stop()
	progress := terminal.NewProgress(s.Err)
	for v.State == "running" {
		if !f.JSON {
			progress.Show(fmt.Sprintf("%d of %d %s", v.Done, v.Matched, done))
		}
		method := http.MethodGet
		select {
		case <-tick.C:
		case <-ctx.Done():
			method = http.MethodDelete // the remaining executions stay failed
		}
		if text, err = api.Call(context.Background(), method, "/failed/batches/"+v.ID, nil); err != nil {
			return err
		}
		if err := json.Unmarshal(text, v); err != nil {
			return err
		}
	}
	progress.Clear()
	if f.JSON {
		if err := terminal.PrintJSON(s.Out, text); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.Out, "%d of %d %s\n", v.Done, v.Matched, done)
	}
	return batchError(v, done)
}

// batchError returns an error if some executions of a batch were not processed.
func batchError(v *atom.BatchView, done string) error {
	switch {
	case v.Refused > 0:
		return clierror.Invalid("valence failed, to list the remaining ones", "%s could not be %s: %s", terminal.Count(v.Refused, "execution", "executions"), done, v.Reason)
	case v.State == "stopped":
		return clierror.Invalid("run the command again for the rest", "stopped before all executions were %s", done)
	}
	return nil
}
