// Package deploy has the command that packages a project, deploys it to an
// environment and follows it on the environment's atoms.
package deploy

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"valence/atom/sandbox"
	"valence/internal/cli/client"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/wire"
	"valence/processes"
	"valence/processes/testrun"
)

// Command deploys a project.
type Command struct {
	Path string `arg:"" optional:"" default:"." help:"Folder of the project; default: the current folder."`
	client.PlatformFlags
	Environment     string        `short:"e" placeholder:"NAME" help:"Environment to deploy to."`
	Project         string        `placeholder:"NAME" help:"Name of the project. Default: the name in its project component, or the name of its folder."`
	Version         string        `placeholder:"V" help:"Version of the project, such as 1.4.0."`
	Notes           string        `placeholder:"TEXT" help:"Release notes."`
	Paused          bool          `help:"Deploy with paused triggers."`
	SkipTests       bool          `help:"Deploy although the tests of the project did not run. The control plane writes that to its audit log."`
	Replay          int           `placeholder:"N" help:"First run the newest N executions of each process through the new version, on an atom of the environment, and print what would change. Nothing is called."`
	Atom            string        `placeholder:"NAME" help:"With --replay: the atom whose executions are replayed. Default: an online atom that runs the project."`
	FailOnChange    bool          `help:"With --replay: do not deploy if something would change, and exit with code 1."`
	DryRun          bool          `help:"Show what would change, and change nothing."`
	Package         string        `placeholder:"SHA256" help:"Deploy an uploaded package instead of a folder."`
	FromEnvironment string        `placeholder:"NAME" help:"Deploy the package that is deployed to another environment."`
	Rollback        bool          `help:"Deploy the previous package: the newest one that ran on an atom of the environment."`
	Sign            string        `placeholder:"FILE" help:"Sign the deployment with a publisher's private key."`
	Field           []string      `sep:"none" placeholder:"NAME" help:"With --sign: a field that the environment may set, such as env.SHOP_URL or connection.erp.url. May be repeated."`
	Host            []string      `sep:"none" placeholder:"HOST" help:"With --sign: a host that such a field may point to. May be repeated."`
	Serial          int64         `placeholder:"N" help:"With --sign: serial number of the statement, higher than the last. Default: the Unix time in seconds."`
	MakeKey         string        `placeholder:"FILE" help:"Create a publisher's key pair: the private key in FILE, the public key in FILE.pub for valence join --publisher."`
	Wait            time.Duration `default:"2m" help:"How long to wait for the atoms."`
	JSON            bool          `name:"json" help:"Print as JSON."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `The project is linted, tested, packaged, uploaded as a version and deployed to every atom of
the environment. The command waits until each online atom has reported the result.
An atom on which the new version does not start, or fails too often, keeps the
previous version; the exit code is then 1. Offline atoms deploy it when they are
back.

With --replay, an atom of the environment runs executions of its history through the
new version before it is deployed, at low priority, and sends only the report. Without
send_documents in the policy of the environment, the report has no documents, only
the names of changed fields.

A package never changes: the same package is deployed to one environment after the
other.

Examples:

    valence deploy orders/ --to https://cloud.example --environment test --version 1.4.0
    valence deploy orders/ --to https://cloud.example --environment test --version 1.4.0 --dry-run
    valence deploy --to https://cloud.example --environment prod --from-environment test --project orders
    valence deploy orders/ --to https://cloud.example --environment prod --version 1.4.0 --replay 500 --fail-on-change
    valence deploy --to https://cloud.example --environment prod --project orders --rollback
    valence deploy --make-key publisher.key
`
}

// Run deploys a project.
func (c *Command) Run(s *terminal.Streams) error {
	if c.MakeKey != "" {
		return createPublisherKey(s, c.MakeKey)
	}
	if err := c.check(); err != nil {
		return err
	}
	p, err := c.PlatformFlags.Connect()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &rollout{c: c, s: s, p: p}
	if !c.usesUploaded() {
		if err := r.packProject(ctx); err != nil {
			return err
		}
	}
	if err := r.resolve(ctx); err != nil {
		return err
	}
	if c.DryRun {
		return r.compare(ctx)
	}
	return r.deploy(ctx)
}

// usesUploaded reports whether the command deploys an uploaded package.
func (c *Command) usesUploaded() bool {
	return c.Package != "" || c.FromEnvironment != "" || c.Rollback
}

// check returns an error for flags that are missing or do not fit together.
func (c *Command) check() error {
	sources := 0
	for _, set := range []bool{c.Package != "", c.FromEnvironment != "", c.Rollback} {
		if set {
			sources++
		}
	}
	switch {
	case c.Environment == "":
		return clierror.Usage("--environment NAME", "the environment is missing")
	case sources > 1:
		return clierror.Usage("use one of them", "--package, --from-environment and --rollback exclude each other")
	case sources == 0 && c.Version == "" && !c.DryRun:
		return clierror.Usage("--version 1.4.0", "the version is missing")
	case c.Rollback && c.Project == "":
		return clierror.Usage("--project NAME", "the project to roll back is missing")
	case c.Sign == "" && len(c.Field)+len(c.Host) > 0:
		return clierror.Usage("--sign FILE", "--field and --host need --sign")
	case c.SkipTests && sources > 0:
		return clierror.Usage("remove it", "--skip-tests has no effect on a package that is uploaded already")
	case c.Replay < 0 || c.Replay > wire.MaxReplays:
		return clierror.Usage("--replay 500", "--replay must be 1 to %d", wire.MaxReplays)
	case c.Replay == 0 && (c.Atom != "" || c.FailOnChange):
		return clierror.Usage("--replay 500", "--atom and --fail-on-change need --replay")
	case c.Replay > 0 && c.DryRun:
		return clierror.Usage("use one of them", "--replay and --dry-run exclude each other: a replay uploads the version")
	case c.Wait < 0:
		return clierror.Usage("--wait 2m", "--wait must not be negative")
	}
	return nil
}

// rollout is one run of the command.
type rollout struct {
	c           *Command
	s           *terminal.Streams
	p           *client.Platform
	environment object
	project     string
	version     string
	pack        packageRef
	archive     []byte                // nil: the package is uploaded already
	previous    map[string]atomResult // by atom: results of the same package before this rollout
	signed      *signedStatement      // nil: not signed yet
	replayed    *replayed             // nil: nothing was replayed
}

// object is an object of the platform API.
type object struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

// packProject lints, tests and packages the project.
func (r *rollout) packProject(ctx context.Context) error {
	loaded, err := project.LoadValid([]string{r.c.Path}, r.s.Err)
	if err != nil {
		return err
	}
	if !r.c.SkipTests {
		if err := r.test(ctx, loaded); err != nil {
			return err
		}
	}
	if r.archive, err = pack(r.c.Path, loaded.Files); err != nil {
		return err
	}
	if r.project, err = r.c.projectName(loaded.Project); err != nil {
		return err
	}
	r.version = r.c.Version
	r.pack = packageRef{SHA256: wire.PackageID(r.archive), Project: r.project, Version: r.version}
	return nil
}

// test runs the tests of the project. A failure refuses the deployment.
func (r *rollout) test(ctx context.Context, p *project.Loaded) error {
	results := testrun.RunAll(ctx, sandbox.New(p.Project), p.Project, p.Files, testrun.Plan(p.Project, ""))
	if ctx.Err() != nil {
		return clierror.Failed("run the command again", "the tests were interrupted")
	}
	if err := testrun.WriteText(r.s.Err, results, false); err != nil {
		return err
	}
	if failed := testrun.Failures(results); failed > 0 {
		return clierror.Invalid("correct the process or its test; --skip-tests deploys all the same", "%s of the project failed, and nothing was deployed", terminal.Count(failed, "test", "tests"))
	}
	if len(results) > 0 {
		r.progress("tested    %s", terminal.Count(len(results), "test", "tests"))
	}
	return nil
}

// pack returns the archive of files, with names relative to root.
func pack(root string, files []processes.File) ([]byte, error) {
	prefix := path.Clean(filepath.ToSlash(root)) + "/"
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		prefix = path.Dir(path.Clean(filepath.ToSlash(root))) + "/"
	}
	packed := make([]wire.PackageFile, len(files))
	for i, f := range files {
		packed[i] = wire.PackageFile{Name: strings.TrimPrefix(f.Name, prefix), Content: f.Content}
	}
	archive, err := wire.Pack(packed)
	if err != nil {
		return nil, clierror.Invalid("reduce the project", "%v", err)
	}
	return archive, nil
}

// projectName returns the name of the project: the flag, the name in the
// project component, or the name of the folder.
func (c *Command) projectName(p *processes.Project) (string, error) {
	if c.Project != "" {
		return c.Project, nil
	}
	if p.Defaults.Name != "" {
		return p.Defaults.Name, nil
	}
	folder, err := filepath.Abs(c.Path)
	return filepath.Base(folder), err
}

// progress prints a line, unless the output is JSON.
func (r *rollout) progress(format string, args ...any) {
	if !r.c.JSON {
		fmt.Fprintf(r.s.Out, format+"\n", args...)
	}
}
