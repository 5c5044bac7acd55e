// Package replay has the command that runs executions of an atom's history
// through another version of their process.
package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"valence/atom"
	"valence/atom/replay"
	"valence/atom/sandbox"
	"valence/internal/cli/client"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// Command runs executions of an atom's history through a project.
type Command struct {
	client.AtomFlags
	Path         string `arg:"" name:"project" help:"Folder of the project with the new version."`
	Process      string `required:"" placeholder:"NAME" help:"Process whose executions are replayed."`
	Last         int    `default:"500" placeholder:"N" help:"Number of executions, the newest first."`
	Environment  string `placeholder:"NAME" help:"Environment component with the values that expressions read. Default: environment variables."`
	FailOnChange bool   `help:"Exit with code 1 if something would change, or if no execution could be replayed; for pipelines."`
	JSON         bool   `name:"json" help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Reads finished executions of a running atom, and runs them through the process in the
folder. Connectors answer as they did then, so nothing is called. The report lists
the changes of the calls, the documents, the decisions, the reply and the status.

Executions whose input or answers the history does not have in full are listed with
the reason, and are not replayed. The requests of calls are not in the history: a
changed body shows as the changed document of an earlier step, or not at all.

Examples:

    valence replay orders/ --process order-sync
    valence replay orders/ --process order-sync --last 10000 --fail-on-change
`
}

// Run replays executions.
func (c *Command) Run(s *terminal.Streams) error {
	if c.Last < 1 {
		return clierror.Usage("--last 500", "--last must be at least 1")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	loaded, err := project.Load([]string{c.Path})
	if err != nil {
		return err
	}
	opened, err := (&project.Choice{Environment: c.Environment, Data: c.Data}).Find(loaded, s.Err)
	if err != nil {
		return err
	}
	p, ok := opened.Processes[c.Process]
	if !ok {
		return clierror.Invalid("--process with a process of "+c.Path, "the project has no process %s", c.Process)
	}
	api, err := c.Connect()
	if err != nil {
		return err
	}
	list, err := c.list(ctx, api)
	if err != nil {
		return err
	}
	r := replay.NewReport(c.Process)
	v := replay.New(loaded.Files, p, sandbox.New(opened.Project), environmentOf(opened))
	if err := each(ctx, list, func(id string) error {
		text, err := api.Call(ctx, http.MethodGet, "/executions/"+url.PathEscape(id), nil)
		if err != nil {
			return err
		}
		var then atom.ExecutionView
		if err := json.Unmarshal(text, &then); err != nil {
			return err
		}
		r.Add(&then, v.Replay(ctx, &then))
		return nil
	}); err != nil {
		return err
	}
	if err := Print(s.Out, r, c.JSON); err != nil {
		return err
	}
	if c.FailOnChange && r.Replayed == 0 {
		return clierror.Invalid("--last with a larger number, or run the pipeline without --fail-on-change until there are executions",
			"no execution of %s was replayed, so nothing was compared", c.Process)
	}
	if c.FailOnChange && r.Changed > 0 {
		return clierror.Reported{Code: clierror.ExitInvalid}
	}
	return nil
}

// environmentOf returns the values that the expressions of a project read.
func environmentOf(p *project.Opened) map[string]string {
	env := map[string]string{}
	for i := range p.Values.Env.Len() {
		name, value := p.Values.Env.At(i)
		env[name] = fmt.Sprint(value)
	}
	return env
}

// list returns the ids of the newest finished executions.
func (c *Command) list(ctx context.Context, api *client.Atom) ([]string, error) {
	query := url.Values{"process": {c.Process}, "status": {strings.Join(replay.Statuses(), ",")}}
	var ids []string
	for {
		query.Set("limit", strconv.Itoa(min(500, c.Last-len(ids))))
		text, err := api.Call(ctx, http.MethodGet, "/executions?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Executions []struct{ Execution string }
			NextCursor string `json:"next_cursor"`
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return nil, err
		}
		for _, x := range page.Executions {
			ids = append(ids, x.Execution)
		}
		if page.NextCursor == "" || len(ids) >= c.Last {
			return ids, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

// each calls do for each id, several at a time, and returns the first error.
func each(ctx context.Context, ids []string, do func(string) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan string)
	var workers sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for id := range next {
				if ctx.Err() != nil {
					continue
				}
				if err := do(id); err != nil {
					stop(fmt.Errorf("replay %s: %w", id, err))
				}
			}
		})
	}
	for _, id := range ids {
		next <- id
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}
