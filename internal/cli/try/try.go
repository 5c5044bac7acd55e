// Package try has the command that evaluates one expression or makes one call.
package try

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/atom/admin"
	"valence/atom/steps"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
)

// Command evaluates an expression, or makes the call of one step.
type Command struct {
	Expression string `arg:"" optional:"" help:"The expression, such as '$${doc.id}'. With --step it reads the response as doc."`
	Document   string `short:"d" placeholder:"@FILE|-|TEXT" help:"The value of doc and input: a file, standard input, or the text itself. Default: none."`
	MediaType  string `placeholder:"TYPE" help:"Media type of the document. Default: by the file extension, otherwise application/json."`
	Step       string `placeholder:"NAME" help:"Make the call of a step with its settings: the name of the step, or connection.operation if one step calls it."`
	DryRun     bool   `help:"With --step: print the request that would be sent, without credentials, and send nothing."`
	project.Choice
	JSON bool `help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `An expression reads doc, input, raw, env, and the functions and tables of the project. With --step, one real call is made, once and
without retries; variables and results of other steps are not available.

Examples:

    valence try '${sum(doc.items, .price * .qty)}' --document @order.json
    valence try --step erp.post --document @order.json --dry-run
    valence try '${doc.number}' --step erp.post --document @order.json
`
}

// Run evaluates the expression or makes the call.
func (c *Command) Run(s *terminal.Streams) error {
	switch {
	case c.Expression == "" && c.Step == "":
		return clierror.Usage("valence try '${doc.id}' --document @order.json", "there is neither an expression nor --step")
	case c.Expression != "" && !strings.Contains(c.Expression, "${"):
		return clierror.Usage("valence try '${"+c.Expression+"}'", "%q is text without an expression", c.Expression)
	case c.DryRun && (c.Step == "" || c.Expression != ""):
		return clierror.Usage("valence try --step NAME --dry-run", "--dry-run prints the request of a step, without an expression")
	}
	doc, err := c.input(s)
	if err != nil {
		return err
	}
	e, p, err := c.load(s)
	if err != nil {
		return err
	}
	t := newTrial(c, p)
	if c.Step == "" {
		return c.evaluate(s, t, e, doc)
	}
	err = t.call(doc)
	switch {
	case err != nil:
		return t.failure(err)
	case c.Expression != "":
		return c.evaluate(s, t, e, t.answer)
	}
	return t.print(s, c.JSON)
}

// input returns the document of the flags.
func (c *Command) input(s *terminal.Streams) (*document.Document, error) {
	text, ok, err := terminal.ReadDocument(c.Document, s.In)
	if err != nil || !ok {
		return document.Empty, err
	}
	media := c.MediaType
	if file, ok := strings.CutPrefix(c.Document, "@"); ok && media == "" {
		media = terminal.MediaType(file)
	}
	if media == "" {
		media = "application/json"
	}
	doc, err := admin.ParseDocument(context.Background(), text, media)
	if err != nil {
		return nil, clierror.Usage("--media-type text/plain, for a document that is not JSON", "the document cannot be parsed as %s: %v", media, err)
	}
	return doc, nil
}

// load reads the project and adds a process with the expression, which reads the
// functions and tables of the project. It returns the name of the process.
func (c *Command) load(s *terminal.Streams) (string, *project.Opened, error) {
	files, err := c.Read()
	if err != nil {
		return "", nil, err
	}
	name := unused(files)
	if c.Expression != "" {
		text, err := json.Marshal(c.Expression)
		if err != nil {
			return "", nil, err
		}
		files = append(files, processes.File{Name: name + ".yaml", Content: fmt.Appendf(nil, "process: %s\nsteps:\n  - map: %s\n", name, text)})
	}
	p, problems := loader.Load(files, project.Catalog())
	if i := slices.IndexFunc(problems, func(p *fault.Problem) bool { return p.File == name+".yaml" && p.Severity == fault.Error }); i >= 0 {
		return "", nil, clierror.Invalid(problems[i].Hint, "%s", problems[i].Msg)
	}
	o, err := c.Find(&project.Loaded{Project: p, Problems: problems, Files: files}, s.Err)
	return name, o, err
}

// unused returns a name for the process of the expression and its file that no
// file of the project contains.
func unused(files []processes.File) string {
	name := "expression"
	for slices.ContainsFunc(files, func(f processes.File) bool {
		return strings.Contains(f.Name, name) || bytes.Contains(f.Content, []byte(name))
	}) {
		name += "-x"
	}
	return name
}

// evaluate prints the value of the expression.
func (c *Command) evaluate(s *terminal.Streams, t *trial, process string, doc *document.Document) error {
	p := t.project.Processes[process]
	f := steps.NewFrame(context.Background(), t, p, doc, nil, time.Now().UTC())
	if err := f.Run(p.Steps); err != nil {
		return t.failure(err)
	}
	if plain, ok := f.Doc().Value().(string); ok && !c.JSON {
		_, err := fmt.Fprintln(s.Out, t.project.Masks.String(plain))
		return err
	}
	return terminal.PrintJSON(s.Out, t.project.Masks.JSON(f.Doc().Body()))
}

// failure returns the failure of an expression or a call.
func (t *trial) failure(err error) error {
	if own := (*clierror.Error)(nil); errors.As(err, &own) {
		return own
	}
	var fail *fault.Failure
	if !errors.As(err, &fail) {
		return err
	}
	text, hint := fail.Code+": "+fail.Message, ""
	if len(fail.Body) > 0 {
		text += "\n" + string(fail.Body)
	}
	if len(t.project.Missing) > 0 {
		hint = "set the values that are missing, if it reads them: " + strings.Join(t.project.Missing, ", ")
	}
	return clierror.Invalid(hint, "%s", t.project.Masks.String(text))
}

// stepOf returns the step that calls and has a name, or calls an operation.
func stepOf(p *project.Opened, name string) (*processes.Process, *processes.Step, error) {
	var found []*processes.Step
	var in *processes.Process
	var calls []string
	for _, process := range p.Processes {
		each(process.Steps, func(s *processes.Step) {
			caller, ok := s.Settings.(processes.ExternalCaller)
			if !ok || s.Kind != "call" {
				return
			}
			o := caller.ExternalCall().Operation
			operation := o.Connection + "." + o.Operation.Name
			calls = append(calls, operation)
			if s.Name == name || operation == name {
				found, in = append(found, s), process
			}
		})
	}
	switch len(found) {
	case 0:
		return nil, nil, clierror.Usage(spec.Suggestion(name, calls), "no step is called %s or calls it", name)
	case 1:
		return in, found[0], nil
	}
	return nil, nil, clierror.Usage("give one of the steps a `name:`, and --step that name", "%d steps match %s, one of them at %s", len(found), name, found[0].Pos)
}

// each calls do for every step of a list, however deeply nested.
func each(block processes.Block, do func(*processes.Step)) {
	for _, s := range block {
		do(s)
		for _, l := range s.Lists {
			each(l.Steps, do)
		}
	}
}
