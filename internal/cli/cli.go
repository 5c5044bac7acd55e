// Package cli is the command line of valence: the grammar, help, errors and
// shell completion. Each group of commands is a package below it.
package cli

import (
	"errors"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"valence/internal/cli/backup"
	"valence/internal/cli/cloudcmd"
	"valence/internal/cli/connection"
	"valence/internal/cli/demo"
	"valence/internal/cli/deploy"
	"valence/internal/cli/editor"
	"valence/internal/cli/migrate"
	"valence/internal/cli/operate"
	"valence/internal/cli/project"
	"valence/internal/cli/replay"
	"valence/internal/cli/run"
	"valence/internal/cli/terminal"
	"valence/internal/cli/tests"
	"valence/internal/cli/try"
	"valence/internal/clierror"
	"valence/internal/spec"
)

// grammar declares the commands for kong.
type grammar struct {
	Run        run.Command               `cmd:"" help:"Start an atom on a project."`
	Demo       demo.Command              `cmd:"" help:"Show what valence does, on this machine and without configuration."`
	New        project.NewCommand        `cmd:"" help:"Create a project."`
	Import     project.ImportCommand     `cmd:"" help:"Write a project from the configuration of another system."`
	Lint       project.LintCommand       `cmd:"" help:"Report all problems of a project."`
	Explain    project.ExplainCommand    `cmd:"" help:"Explain a process: what is durable, what can repeat, how long callers wait."`
	Test       tests.Command             `cmd:"" help:"Run the tests of a project."`
	Replay     replay.Command            `cmd:"" help:"Run executions of an atom's history through another version of their process."`
	Try        try.Command               `cmd:"" help:"Evaluate an expression, or make one call of a process."`
	Exec       operate.ExecCommand       `cmd:"" help:"Run a process once."`
	Connection connection.Command        `cmd:"" help:"Prepare the other system of a connection."`
	Executions operate.ExecutionsCommand `cmd:"" help:"List, show and cancel the executions of a running atom."`
	Failed     operate.FailedCommand     `cmd:"" help:"List, group, resubmit and delete failed executions."`
	Group      operate.GroupCommand      `cmd:"" help:"List the members of a group of atoms: leases, backlog, lag, version."`
	Sequences  operate.SequencesCommand  `cmd:"" help:"List, skip and release blocked sequence keys."`
	Processes  operate.ProcessesCommand  `cmd:"" help:"List the processes of a running atom, pause and resume their triggers."`
	Join       run.JoinCommand           `cmd:"" help:"Enroll the atom of this machine with a control plane."`
	Deploy     deploy.Command            `cmd:"" help:"Package a project and deploy it to an environment."`
	Backup     backup.Command            `cmd:"" help:"Back up the data of an atom."`
	Check      backup.CheckCommand       `cmd:"" help:"Read a data folder or a backup, and report damage."`
	Migrate    migrate.Command           `cmd:"" help:"Move everything of an atom to a group, or back."`
	Cloud      cloudcmd.Command          `cmd:"" help:"Start or manage a control plane."`
	Schema     project.SchemaCommand     `cmd:"" help:"Print the JSON Schema of the language."`
	LSP        editor.Command            `cmd:"" name:"lsp" help:"Serve an editor: the language server of projects."`
	Completion completionCommand         `cmd:"" help:"Print the completion script for a shell."`
	Version    versionCommand            `cmd:"" help:"Print the version."`
}

// exit carries an exit code out of kong, which expects os.Exit.
type exit struct{ code int }

// Main runs a command line, without the program's name, and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exit:
			code = r.code
		default:
			panic(r)
		}
	}()
	s := &terminal.Streams{In: in, Out: terminal.NewWriter(out), Err: terminal.NewWriter(errw)}
	parser, err := newParser(s)
	if err != nil {
		panic(err) // the grammar is invalid, whatever the command line
	}
	err = checkCommand(parser, args)
	if err == nil {
		err = parseAndRun(parser, s, args)
	}
	return clierror.Report(s.Err, err)
}

func newParser(s *terminal.Streams) (*kong.Kong, error) {
	return kong.New(&grammar{},
		kong.Name("valence"),
		kong.Description("Runs integration processes written in YAML. They serve web services and call other systems; no acknowledged message is lost."),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(code int) { panic(exit{code}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.NamedMapper("size", sizeMapper{}),
		kong.PostBuild(func(k *kong.Kong) error { k.Model.HelpFlag.Help = "Show this help."; return nil }),
	)
}

func parseAndRun(parser *kong.Kong, s *terminal.Streams, args []string) error {
	if len(args) == 0 {
		if _, err := parser.Parse([]string{"--help"}); err != nil {
			return err
		}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		var p *kong.ParseError
		hint := "valence --help"
		if errors.As(err, &p) && p.Context != nil {
			if unknown := unknownCommand(p.Context, args); unknown != nil {
				return unknown
			}
			if p.Context.Selected() != nil {
				hint = p.Context.Selected().FullPath() + " --help"
			}
		}
		return clierror.Usage(hint, "%s", strings.TrimPrefix(err.Error(), parser.Model.Name+": "))
	}
	return ctx.Run(s, parser.Model)
}

// unknownCommand returns the error of a word that stands for a command below
// another one and is none; nil if the words name commands.
func unknownCommand(ctx *kong.Context, args []string) error {
	n := ctx.Model.Node
	for _, word := range args {
		if strings.HasPrefix(word, "-") {
			return nil
		}
		var names []string
		var next *kong.Node
		for _, child := range n.Children {
			if child.Name == word {
				next = child
			}
			if !child.Hidden {
				names = append(names, child.Name)
			}
		}
		switch {
		case next != nil:
			n = next
		case len(names) == 0 || n == ctx.Model.Node || takesArguments(n):
			return nil
		default:
			similar := spec.Suggest(word, names)
			if similar != "" {
				return clierror.Usage(n.FullPath()+" "+similar, "unknown command %s %s; did you mean %s?", n.FullPath(), word, similar)
			}
			return clierror.Usage("one of: "+strings.Join(names, ", "), "unknown command %s %s", n.FullPath(), word)
		}
	}
	return nil
}

// takesArguments reports whether a command has arguments of its own.
func takesArguments(n *kong.Node) bool { return len(n.Positional) > 0 }

// checkCommand returns an error for an unknown command, with the most similar one.
func checkCommand(parser *kong.Kong, args []string) error {
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
	if similar := spec.Suggest(args[0], names); similar != "" {
		return clierror.Usage("valence "+similar, "unknown command %s; did you mean %s?", args[0], similar)
	}
	return clierror.Usage("valence --help", "unknown command %s", args[0])
}
