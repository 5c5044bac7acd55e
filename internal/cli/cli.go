// Package cli is the command line: every command, and the one place where the
// parts of the program are wired together.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"valence/internal/spec"
)

// version is what this program is called when it is asked; a release's build
// sets it (-ldflags -X). Nothing else does.
var version = "0.1.0"

// Exit codes: a stable part of the command line.
const (
	exitDone   = 0
	exitErrors = 1 // the thing asked about has errors
	exitUsage  = 2 // used wrongly
	exitFailed = 3 // could not reach or start something
)

// grammar is the command line as kong reads it.
type grammar struct {
	Run        runCmd        `cmd:"" help:"Start an atom on a project."`
	Demo       demoCmd       `cmd:"" help:"Show the whole story on this machine, with nothing to configure."`
	New        newCmd        `cmd:"" help:"Make a project that lints and runs."`
	Lint       lintCmd       `cmd:"" help:"Find all problems of a project."`
	Explain    explainCmd    `cmd:"" help:"Tell what a process will do: what is durable, what can repeat, how long callers wait."`
	Exec       execCmd       `cmd:"" help:"Run one process."`
	Executions executionsCmd `cmd:"" help:"List, show and cancel executions of a running atom."`
	Failed     failedCmd     `cmd:"" help:"List, group, resubmit and delete what failed."`
	Sequences  sequencesCmd  `cmd:"" help:"List, skip and release what blocks a key of a sequence."`
	Processes  processesCmd  `cmd:"" help:"List, pause and resume the processes of a running atom."`
	Join       joinCmd       `cmd:"" help:"Enrol this machine's atom with a control plane."`
	Deploy     deployCmd     `cmd:"" help:"Package a project and deploy it to an environment."`
	Backup     backupCmd     `cmd:"" help:"Copy the data of a running or stopped atom."`
	Cloud      cloudCmd      `cmd:"" help:"Start a control plane, or manage one."`
	Schema     schemaCmd     `cmd:"" help:"Print the JSON Schema of the language."`
	Completion completionCmd `cmd:"" help:"Print the completion script of a shell."`
	Version    versionCmd    `cmd:"" help:"Print which program this is."`
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// mistake is an error as the user sees it: what is wrong, what to do, and the
// exit code.
type mistake struct {
	code     int
	msg, try string
}

func (m *mistake) Error() string { return m.msg }

func usage(try, format string, args ...any) error {
	return &mistake{exitUsage, fmt.Sprintf(format, args...), try}
}

func failed(try, format string, args ...any) error {
	return &mistake{exitFailed, fmt.Sprintf(format, args...), try}
}

func wrong(try, format string, args ...any) error {
	return &mistake{exitErrors, fmt.Sprintf(format, args...), try}
}

// reported ends a command whose output has told already what is wrong.
type reported struct{ code int }

func (r reported) Error() string { return fmt.Sprintf("exit code %d", r.code) }

// exited carries an exit out of kong, which knows only os.Exit.
type exited struct{ code int }

// Main runs one command line, without the program's name, and gives the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exited:
			code = r.code
		default:
			panic(r)
		}
	}()
	s := &streams{in, out, errw}
	parser, err := newParser(s)
	if err != nil {
		panic(err) // the grammar itself is wrong: no command line can help
	}
	err = unknownCommand(parser, args)
	if err == nil {
		err = parseAndRun(parser, s, args)
	}
	return s.end(err)
}

func newParser(s *streams) (*kong.Kong, error) {
	return kong.New(&grammar{},
		kong.Name("valence"),
		kong.Description("Runs integration processes written in YAML: web services in, connector calls out, nothing acknowledged is lost."),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { panic(exited{code}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.NamedMapper("size", sizeMapper{}),
	)
}

func parseAndRun(parser *kong.Kong, s *streams, args []string) error {
	if len(args) == 0 {
		if _, err := parser.Parse([]string{"--help"}); err != nil {
			return err
		}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		var p *kong.ParseError
		try := "valence --help"
		if errors.As(err, &p) && p.Context != nil && p.Context.Selected() != nil {
			try = p.Context.Selected().FullPath() + " --help"
		}
		return usage(try, "%s", strings.TrimPrefix(err.Error(), parser.Model.Name+": "))
	}
	return ctx.Run(s, parser.Model)
}

// end prints an error in the form that users know, and gives the exit code.
func (s *streams) end(err error) int {
	if err == nil {
		return exitDone
	}
	if r := (reported{}); errors.As(err, &r) {
		return r.code
	}
	m := &mistake{code: exitFailed, msg: err.Error()}
	errors.As(err, &m)
	fmt.Fprintf(s.err, "error: %s\n", m.msg)
	if m.try != "" {
		fmt.Fprintf(s.err, "try: %s\n", m.try)
	}
	return m.code
}

// later are commands that the product will have.
var later = map[string]string{
	"test": "exec PROCESS --local", "sequences": "",
	"migrate": "backup",
}

// unknownCommand tells about a command that is not there before kong does, to
// suggest the nearest.
func unknownCommand(parser *kong.Kong, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return nil
	}
	names := make([]string, 0, len(parser.Model.Children))
	for _, n := range parser.Model.Children {
		if n.Name == args[0] {
			return nil
		}
		names = append(names, n.Name)
	}
	if instead, known := later[args[0]]; known {
		try := "valence --help"
		if instead != "" {
			try = "valence " + instead
		}
		return usage(try, "the command %s is not available yet", args[0])
	}
	if near := spec.Suggest(args[0], names); near != "" {
		return usage("valence "+near, "there is no command %s; did you mean %s?", args[0], near)
	}
	return usage("valence --help", "there is no command %s", args[0])
}
