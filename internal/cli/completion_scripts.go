package cli

import (
	"fmt"
	"strings"
)

// bashScript returns the completion script for bash.
func bashScript(commands []completion) string {
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
			} else if f.hasValue {
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
	return b.String()
}

// zshScript returns the completion script for zsh.
func zshScript(commands []completion) string {
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
			} else if f.hasValue {
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
	return b.String()
}

// zshWords returns words with their descriptions as elements of a zsh array.
func zshWords(words []word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = zshQuote(strings.ReplaceAll(w.name, ":", `\:`) + ":" + w.help)
	}
	return strings.Join(list, " ")
}

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishScript returns the completion script for fish.
func fishScript(commands []completion) string {
	var b strings.Builder
	b.WriteString(`# fish completion for valence
function __valence_at
    set -l path
    for word in (commandline -opc)[2..]
        switch "$path $word"
`)
	for _, c := range commands[1:] {
		parent, name := "", c.path
		if i := strings.LastIndexByte(c.path, ' '); i >= 0 {
			parent, name = c.path[:i], c.path[i+1:]
		}
		fmt.Fprintf(&b, "            case %s\n                set path %s\n", fishQuote(parent+" "+name), fishQuote(c.path))
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
			} else if f.hasValue {
				value = " -r -F"
			}
			fmt.Fprintf(&b, "complete -c valence -n %s -l %s%s -d %s\n", at, strings.TrimPrefix(f.name, "--"), value, fishQuote(f.help))
		}
	}
	return b.String()
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
