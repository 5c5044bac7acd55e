package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown below the command's summary.
func (*completionCmd) Help() string {
	return `Examples:

    source <(valence completion bash)                                   # this shell
    valence completion bash > /etc/bash_completion.d/valence            # every shell
    valence completion zsh > "${fpath[1]}/_valence"
    valence completion fish > ~/.config/fish/completions/valence.fish
`
}

// Run prints the script. It is made from the same description of the commands
// that parses the command line, so it is never behind.
func (c *completionCmd) Run(s *streams, app *kong.Application) error {
	commands := completions(app.Node, "")
	switch c.Shell {
	case "bash":
		return bashCompletion(s.out, commands)
	case "zsh":
		return zshCompletion(s.out, commands)
	default:
		return fishCompletion(s.out, commands)
	}
}

// completion is what may follow one command.
type completion struct {
	path  string // "" for the program itself, then "executions", "executions show"
	help  string
	subs  []word
	flags []word
	files bool // an argument is a file or a folder
}

type word struct {
	name, help string
	values     []string // what a flag takes, where that is a short list
	takes      bool     // a flag with a value
}

func completions(n *kong.Node, path string) []completion {
	c := completion{path: path, help: n.Help}
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
			w := word{name: "--" + f.Name, help: f.Help, takes: !f.IsBool()}
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

func names(words []word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w.name
	}
	return strings.Join(list, " ")
}

func bashCompletion(w io.Writer, commands []completion) error {
	var b strings.Builder
	b.WriteString(`# bash completion for valence
_valence() {
    local cur prev path word i
    cur="${COMP_WORDS[COMP_CWORD]}"
    prev="${COMP_WORDS[COMP_CWORD-1]}"
    path=""
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        case "${path:+$path }$word" in
`)
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, "            %q) path=%q ;;\n", c.path, c.path)
	}
	b.WriteString("        esac\n    done\n    case \"$path|$prev\" in\n")
	for _, c := range commands {
		for _, f := range c.flags {
			if len(f.values) > 0 {
				fmt.Fprintf(&b, "        %q) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", c.path+"|"+f.name, strings.Join(f.values, " "))
			} else if f.takes {
				fmt.Fprintf(&b, "        %q) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", c.path+"|"+f.name)
			}
		}
	}
	b.WriteString("    esac\n    case \"$path\" in\n")
	for _, c := range commands {
		files := ""
		if c.files {
			files = "-f "
		}
		fmt.Fprintf(&b, "        %q)\n            if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W %q -- \"$cur\"))\n", c.path, names(c.flags))
		fmt.Fprintf(&b, "            else COMPREPLY=($(compgen %s-W %q -- \"$cur\")); fi ;;\n", files, names(c.subs))
	}
	b.WriteString("    esac\n}\ncomplete -o filenames -F _valence valence\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func zshCompletion(w io.Writer, commands []completion) error {
	var b strings.Builder
	b.WriteString(`#compdef valence
# zsh completion for valence
_valence() {
    local at="" word prev="${words[CURRENT-1]}"
    local -a subs flags
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "${at:+$at }$word" in
`)
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, "            %s) at=%s ;;\n", zshQuote(c.path), zshQuote(c.path))
	}
	b.WriteString("        esac\n    done\n    case \"$at|$prev\" in\n")
	for _, c := range commands {
		for _, f := range c.flags {
			if len(f.values) > 0 {
				fmt.Fprintf(&b, "        %s) compadd -- %s; return ;;\n", zshQuote(c.path+"|"+f.name), strings.Join(f.values, " "))
			} else if f.takes {
				fmt.Fprintf(&b, "        %s) _files; return ;;\n", zshQuote(c.path+"|"+f.name))
			}
		}
	}
	b.WriteString("    esac\n    case \"$at\" in\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "        %s)\n            subs=(%s)\n            flags=(%s)\n", zshQuote(c.path), zshWords(c.subs), zshWords(c.flags))
		if c.files {
			b.WriteString("            [[ $PREFIX == -* ]] || _files\n")
		}
		b.WriteString("            ;;\n")
	}
	b.WriteString(`    esac
    if [[ $PREFIX == -* ]]; then _describe 'option' flags; else (( $#subs )) && _describe 'command' subs; fi
}
compdef _valence valence
`)
	_, err := io.WriteString(w, b.String())
	return err
}

func zshWords(words []word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = zshQuote(strings.ReplaceAll(w.name, ":", `\:`) + ":" + w.help)
	}
	return strings.Join(list, " ")
}

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func fishCompletion(w io.Writer, commands []completion) error {
	var b strings.Builder
	b.WriteString(`# fish completion for valence
function __valence_at
    set -l path
    for word in (commandline -opc)[2..]
        switch "$path $word"
`)
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, "            case %s\n                set path %s\n", fishQuote(parent(c.path)+" "+last(c.path)), fishQuote(c.path))
	}
	b.WriteString("        end\n    end\n    test \"$path\" = \"$argv[1]\"\nend\ncomplete -c valence -f\n")
	for _, c := range commands {
		at := fishQuote("__valence_at " + fishQuote(c.path))
		for _, s := range c.subs {
			fmt.Fprintf(&b, "complete -c valence -n %s -a %s -d %s\n", at, s.name, fishQuote(s.help))
		}
		if c.files {
			fmt.Fprintf(&b, "complete -c valence -n %s -F\n", at)
		}
		for _, f := range c.flags {
			value := ""
			if len(f.values) > 0 {
				value = " -x -a " + fishQuote(strings.Join(f.values, " "))
			} else if f.takes {
				value = " -r -F"
			}
			fmt.Fprintf(&b, "complete -c valence -n %s -l %s%s -d %s\n", at, strings.TrimPrefix(f.name, "--"), value, fishQuote(f.help))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, ' '); i >= 0 {
		return path[:i]
	}
	return ""
}

func last(path string) string { return path[strings.LastIndexByte(path, ' ')+1:] }

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
