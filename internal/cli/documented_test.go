package cli

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"valence/internal/cli/terminal"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```(sh|console)$(.*?)^```$")
	program    = regexp.MustCompile(`^(?:\$ )?(?:bin/|\./)?valence (.*)$`)
	shellWord  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+`)
)

// TestDocumentedCommands parses every `valence` command in shell blocks of the
// documentation: commands, flags and arguments must exist.
func TestDocumentedCommands(t *testing.T) {
	files := []string{"../../README.md"}
	for _, folder := range []string{"../../docs", "../../examples"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".md" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	parser, err := newParser(&terminal.Streams{Out: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shellBlock.FindAllSubmatch(b, -1) {
			text := strings.ReplaceAll(string(bytes.TrimSpace(block[2])), "\\\n", " ")
			for _, line := range strings.Split(text, "\n") {
				m := program.FindStringSubmatch(line)
				if m == nil || string(block[1]) == "console" && !strings.HasPrefix(line, "$ ") {
					continue // another program, or output
				}
				found++
				if _, err := parser.Parse(arguments(m[1])); err != nil {
					t.Errorf("%s: %s\n%v", file, line, err)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("got %d commands, want at least 50", found)
	}
}

// arguments splits a command line up to the first shell operator or comment.
func arguments(line string) []string {
	var all []string
	for _, w := range shellWord.FindAllString(line, -1) {
		if w == "|" || w == "||" || w == "&" || w == "&&" || w == ">" || w == "<" || strings.HasPrefix(w, "2>") || strings.HasPrefix(w, "#") {
			break
		}
		all = append(all, strings.Trim(w, `"'`))
	}
	return all
}
