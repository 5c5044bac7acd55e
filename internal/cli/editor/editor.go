// Package editor has the command that serves editors.
package editor

import (
	"context"
	"io"

	atomclient "valence/internal/cli/client"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/lsp"
	"valence/internal/version"
)

// Command serves an editor.
type Command struct {
	atomclient.AtomFlags
	Stdio bool `help:"Use standard input and output. It is the only way, and the default; editors pass the flag."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Editors start it. It speaks the Language Server Protocol on standard input and output,
until the editor sends exit or closes the input. See docs/how-to/editors.md.

The project of a file is the nearest folder above it with a project: component,
otherwise the outermost folder of the workspace with a component.

Fields in expressions are described with their last recorded value, if the atom of
the data folder runs. A relative --data is in the first folder of the workspace. The
initialization options data and admin replace the flags.

Example, for the settings of an editor:

    valence lsp
`
}

// Run serves the editor. The exit code is 1 if the editor left without a shutdown.
func (c *Command) Run(s *terminal.Streams) error {
	out := s.Out
	if w, ok := out.(*terminal.Writer); ok {
		out = w.Unwrap()
	}
	server := lsp.New(project.Catalog(), version.String())
	server.Read(c.history, lsp.Atom{Data: c.Data, Admin: c.Admin})
	if !server.Run(context.Background(), io.NopCloser(s.In), out) {
		return clierror.Reported{Code: clierror.ExitInvalid} // as the protocol says
	}
	return nil
}
