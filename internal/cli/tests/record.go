package tests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"valence/atom/connection"
	"valence/atom/run"
	"valence/atom/sandbox"
	"valence/connectors"
	"valence/internal/atomicfile"
	"valence/internal/cli/message"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
	"valence/processes/testrun"
)

// recordFlags are the flags of a recording.
type recordFlags struct {
	Record        string `placeholder:"NAME" help:"Run a process once with real calls, and write a test with this name and the answers as its mocks."`
	Process       string `placeholder:"NAME" help:"Process to run. Default: the one with the name of the test, or the only one."`
	message.Flags `embed:""`
	Environment   string `placeholder:"NAME" help:"Environment component with the values. Default: environment variables."`
	Data          string `default:"data" env:"VALENCE_DATA" help:"Data folder of the atom, which the project cannot reach."`
}

// check reports flags that exclude each other.
func (c *Command) checkRecord() error {
	switch {
	case c.Record == "" && (c.Process != "" || c.Environment != "" || c.Used()):
		return clierror.Usage("valence test --record NAME", "the flags of the message, --process and --environment need --record")
	case c.Record == "":
		return nil
	case c.Filter != "" || c.Coverage != "" || c.KillAt != "" || c.Watch || c.Format == "junit":
		return clierror.Usage("valence test --record NAME", "--record has no --filter, --coverage, --kill-at, --watch or --format junit")
	}
	return nil
}

// recording runs a process with real calls and writes a test of it.
type recording struct {
	name    string
	loaded  *project.Loaded
	project *project.Opened
	target  *processes.Process
	folder  string // of the test file
	slug    string // name of the files
	hide    *hider
	clients map[string]*client
	sandbox *sandbox.Sandbox
	reached map[string]bool    // processes that the target calls, and itself
	input   *document.Document // of the run
	stopped error              // why a call was not made; nil: all were
}

// client is an open connection.
type client struct {
	connectors.Connection
	limits processes.ConnectionLimits
}

// recorded is the result of a recording.
type recorded struct {
	Test     string            `json:"test"`
	Process  string            `json:"process"`
	Status   string            `json:"status"`
	Error    string            `json:"error,omitempty"`
	Calls    int               `json:"calls"`
	Files    []string          `json:"files"`
	LeftOut  []string          `json:"left_out"`
	Passed   bool              `json:"passed"`
	Failures []testrun.Failure `json:"failures"`
	result   *testrun.Result
	took     time.Duration
}

// record runs a process, and writes the test.
func (c *Command) record(ctx context.Context, s *terminal.Streams) error {
	r, err := c.prepare(s)
	if err != nil {
		return err
	}
	defer r.close()
	setup, err := r.message(&c.Flags, s.In)
	if err != nil {
		return err
	}
	out, answers, err := r.run(ctx, setup)
	if err != nil {
		return err
	}
	result, files, err := r.build(ctx, setup, out, answers)
	if err != nil {
		return err
	}
	if err := r.write(files); err != nil {
		return err
	}
	if err := result.print(s, c.Format); err != nil {
		return err
	}
	if !result.Passed {
		return clierror.Reported{Code: clierror.ExitInvalid}
	}
	return nil
}

// prepare reads the project, and checks that the test can be written.
func (c *Command) prepare(s *terminal.Streams) (*recording, error) {
	loaded, err := project.Load(c.Paths)
	if err != nil {
		return nil, err
	}
	opened, err := (&project.Choice{Environment: c.Environment, Data: c.Data}).Find(loaded, s.Err)
	if err != nil {
		return nil, err
	}
	r := &recording{name: c.Record, loaded: loaded, project: opened, slug: slug(c.Record), hide: newHider(opened), clients: map[string]*client{}, sandbox: sandbox.New(opened.Project), reached: map[string]bool{}}
	if r.target, err = c.targetOf(opened); err != nil {
		return nil, err
	}
	if err := r.refuse(r.target, r.reached); err != nil {
		return nil, err
	}
	for _, t := range opened.Tests {
		if t.Name == c.Record {
			return nil, clierror.Invalid("--record with another name, or remove the test", "the project has a test %q: %s", t.Name, t.Pos)
		}
	}
	if r.slug == "" {
		return nil, clierror.Usage("--record 'an order is invoiced'", "the name of a test needs a letter or a digit")
	}
	r.folder = r.place()
	for _, name := range []string{r.file(), path.Join(r.folder, r.fixtures())} {
		if _, err := os.Lstat(filepath.FromSlash(name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, clierror.Invalid("--record with another name, or remove "+name, "%s exists, and nothing is overwritten", name)
		}
	}
	return r, nil
}

// targetOf returns the process to run.
func (c *Command) targetOf(p *project.Opened) (*processes.Process, error) {
	names := processNames(p.Project)
	name := cmp.Or(c.Process, c.Record)
	if c.Process == "" && len(names) == 1 {
		name = names[0]
	}
	if target, ok := p.Processes[name]; ok {
		return target, nil
	}
	if c.Process == "" {
		return nil, clierror.Usage("--process with the process to run", "the project has several processes, and none is called %s", name)
	}
	return nil, clierror.Usage(spec.Suggestion(name, names), "the project has no process %s", name)
}

func processNames(p *processes.Project) []string {
	var names []string
	for name := range p.Processes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// refuse reports steps that a recording cannot answer.
func (r *recording) refuse(p *processes.Process, seen map[string]bool) (err error) {
	if p == nil || seen[p.Name] {
		return nil
	}
	seen[p.Name] = true
	p.Steps.Each(func(s *processes.Step) {
		repeats, ok := s.Settings.(processes.Repeater)
		switch {
		case err != nil:
		case s.Kind == "wait":
			err = clierror.Invalid("write the test by hand, with `signals:`", "%s: the process waits for a signal, which a recording does not have", s.Pos)
		case ok && repeats.Repeats().Pages:
			err = clierror.Invalid("write the test by hand, with one answer for each page", "%s: the process reads pages, whose answers cannot be recorded", s.Pos)
		}
	})
	for _, call := range p.Calls {
		if err == nil {
			err = r.refuse(r.project.Processes[call.Process], seen)
		}
	}
	return err
}

// place returns the folder of the project's tests: of the target, of any process,
// or else of the target itself.
func (r *recording) place() string {
	for _, t := range r.project.Tests {
		if t.Target == r.target.Name {
			return path.Dir(t.Pos.File)
		}
	}
	if len(r.project.Tests) > 0 {
		return path.Dir(r.project.Tests[0].Pos.File)
	}
	return path.Dir(r.target.Pos.File)
}

func (r *recording) file() string { return path.Join(r.folder, r.slug+".test.yaml") }

// fixtures returns the folder of the fixtures, relative to the test file.
func (r *recording) fixtures() string { return "fixtures/" + r.slug }

// run runs the process with real calls.
func (r *recording) run(ctx context.Context, setup processes.TestSetup) (*testrun.Outcome, []*sandbox.Answered, error) {
	setup.Env, setup.Secrets = r.hide.env, r.hide.secrets
	one := &testrun.Run{Test: &processes.Test{Name: r.name, Pos: r.target.Pos, Target: r.target.Name}, TestSetup: setup}
	s, err := one.Scenario(r.target)
	if err != nil {
		return nil, nil, clierror.Usage("correct the document", "%v", err)
	}
	s.Start, r.input = time.Now().UTC(), s.Input
	out, answers, err := r.sandbox.Record(ctx, s, r.call)
	switch {
	case ctx.Err() != nil:
		return nil, nil, clierror.Failed("run the command again", "the recording was interrupted after %s, and nothing is written", terminal.Count(len(answers), "call", "calls"))
	case r.stopped != nil:
		return nil, nil, r.stopped
	}
	return out, answers, err
}

// call makes one attempt of a call. The values of the connection are read before
// the first one.
func (r *recording) call(ctx context.Context, a *run.Attempt) (*connectors.Result, error) {
	name, op := a.Of.Operation.Connection, a.Of.Operation.Operation
	c := r.clients[name]
	if c == nil {
		opened, limits, err := r.project.Connect(name)
		if err != nil {
			r.stopped = cmp.Or(r.stopped, err)
			return nil, connectors.Failf(fault.CodeUnavailable, false, err, "the connection cannot be opened")
		}
		c = &client{opened, limits}
		r.clients[name] = c
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.Of.Timeout, c.limits.Timeout, connection.DefaultTimeout))
	defer cancel()
	result, err := op.Run(ctx, c.Connection, a.Of.With, a.Call)
	if fail := connectors.Interrupted(ctx, name+"."+op.Name); err != nil && fail != nil {
		return nil, fail
	}
	return result, err
}

func (r *recording) close() {
	for _, c := range r.clients {
		_ = c.Close() // nothing was sent with it that is not answered
	}
}

// write writes the files, of which none may exist.
func (r *recording) write(files []processes.File) error {
	for _, f := range files {
		name := filepath.FromSlash(f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return clierror.Failed("make the folder writable", "%v", err)
		}
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return clierror.Invalid("--record with another name", "%s exists, and nothing is overwritten", f.Name)
		}
		if err := atomicfile.Write(name, f.Content, 0o644); err != nil {
			return clierror.Failed("make the folder writable", "%v", err)
		}
	}
	return nil
}

// load loads the project with the files of the test.
func (r *recording) load(files []processes.File) (*processes.Project, []processes.File, *testrun.Run, error) {
	all := append(slices.Clone(r.loaded.Files), files...)
	p, problems := loader.Load(all, project.Catalog())
	for _, q := range problems {
		if q.Severity == fault.Error {
			return nil, nil, nil, clierror.Failed("write the test by hand", "the recording makes no valid test: %s: %s", q.Pos, q.Msg)
		}
	}
	for _, t := range testrun.Plan(p, "") {
		if t.Test.Name == r.name {
			return p, all, t, nil
		}
	}
	return nil, nil, nil, clierror.Failed("write the test by hand", "the recording makes no test")
}

// print prints the result, with a warning if the test expects no success.
func (r *recorded) print(s *terminal.Streams, format string) error {
	switch r.Status {
	case "rejected", "failed", "expired", "cancelled":
		why := ""
		if r.Error != "" {
			why = ": " + r.Error
		}
		fmt.Fprintf(s.Err, "warning: the test expects the status %s%s\n", r.Status, why)
	}
	if format == "json" {
		return terminal.EncodeJSON(s.Out, r)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s ran: %s, %s\n", r.Process, r.Status, terminal.Count(r.Calls, "call", "calls"))
	for _, name := range r.Files {
		fmt.Fprintf(&b, "wrote %s\n", name)
	}
	for _, field := range r.LeftOut {
		fmt.Fprintf(&b, "not expected: %s\n", field)
	}
	if _, err := s.Out.Write(b.Bytes()); err != nil {
		return err
	}
	return printResults(s.Out, []*testrun.Result{r.result}, r.took)
}

// failureText returns the code and the message of a failure.
func failureText(text []byte) string {
	var f struct{ Code, Message string }
	if len(text) == 0 || json.Unmarshal(text, &f) != nil {
		return ""
	}
	return f.Code + ": " + f.Message
}
