package cli

import (
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"valence/internal/cli/terminal"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell: bash, zsh or fish."`
}

// Help returns the text below the command's summary.
func (*completionCommand) Help() string {
	return `Examples:

    source <(valence completion bash)                                   # in this shell
    valence completion bash > /etc/bash_completion.d/valence            # in every shell
    valence completion zsh > "${fpath[1]}/_valence"
    valence completion fish > ~/.config/fish/completions/valence.fish
`
}

// Run prints the script. It is generated from the grammar, so it is always up to date.
func (c *completionCommand) Run(s *terminal.Streams, app *kong.Application) error {
	commands := completions(app.Node, "")
	script := fishScript(commands)
	switch c.Shell {
	case "bash":
		script = bashScript(commands)
	case "zsh":
		script = zshScript(commands)
	}
	_, err := io.WriteString(s.Out, script)
	return err
}

// completion has the words that can follow one command.
type completion struct {
	path  string // such as "executions show"; empty for the program itself
	subs  []word // subcommands and fixed values of arguments
	flags []word
	files bool // an argument is a path
}

// word is a subcommand, a flag or a value.
type word struct {
	name, help string
	values     []string // of a flag with fixed values
	hasValue   bool
}

// completions returns the completion of a command and those below it.
func completions(n *kong.Node, path string) []completion {
	c := completion{path: path}
	var below []completion
	for _, child := range n.Children {
		if child.Hidden {
			continue
		}
		c.subs = append(c.subs, word{name: child.Name, help: child.Help})
		below = append(below, completions(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			w := word{name: "--" + f.Name, help: f.Help, hasValue: !f.IsBool()}
			if f.Enum != "" {
				w.values = f.EnumSlice()
			}
			c.flags = append(c.flags, w)
		}
	}
	for _, p := range n.Positional {
		if p.Enum != "" {
			for _, v := range p.EnumSlice() {
				c.subs = append(c.subs, word{name: v})
			}
		} else if p.Tag.Has("files") {
			c.files = true
		}
	}
	return append([]completion{c}, below...)
}

// names returns the names of words, separated by spaces.
func names(words []word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w.name
	}
	return strings.Join(list, " ")
}
