package examples

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fence is one fenced block of a Markdown file.
type fence struct {
	line int    // of the opening fence, from 1
	kind string // the word behind it
	file string // what file= says
	text string
}

// session is a block of commands as a reader types them, with what they print.
// "…" alone on a line stands for any lines, within a line for any text.
type session struct {
	line    int
	command string
	prints  string
}

// TestReadme follows the README as a reader does: files are written, and
// commands are typed and print what it says, in order, in one folder. Blocks of
// other kinds than `yaml file=NAME` and `console` are only to be read.
func TestReadme(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is needed to follow the README, and is not here: `make setup` installs it where it may", program)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(dir, "bin", "valence")); err != nil {
		t.Fatal(err)
	}
	var running *atom
	ran := 0
	for _, f := range fences(t, "../../README.md") {
		switch {
		case f.kind == "yaml" && f.file != "":
			path := filepath.Join(dir, f.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
				t.Fatal(err)
			}
		case f.kind == "console":
			for _, s := range sessions(f) {
				ran++
				if background, ok := strings.CutSuffix(s.command, " &"); ok {
					if running != nil {
						running.stop()
					}
					running = serve(t, dir, background)
					continue
				}
				follow(t, dir, s, running)
			}
		}
	}
	if ran < 5 {
		t.Errorf("only %d commands were found in the README", ran)
	}
}

// serve starts a `valence run` that a reader leaves running in the background,
// on free ports.
func serve(t *testing.T, dir, command string) *atom {
	t.Helper()
	cmd := exec.Command("bash", "-c", "exec "+command+" --listen 127.0.0.1:0 --admin 127.0.0.1:0")
	cmd.Dir = dir
	return start(t, cmd, filepath.Join(dir, "data"))
}

// follow types one command and compares what it prints. What lists executions
// is typed again, as a reader would, until they have gone as far as it says.
func follow(t *testing.T, dir string, s session, running *atom) {
	t.Helper()
	if !strings.HasPrefix(s.command, "bin/valence executions") {
		if got := typed(t, dir, s, running); !pattern(s.prints).MatchString(got) {
			t.Errorf("README.md:%d: $ %s\nprints\n%s\nand the README says\n%s", s.line, s.command, got, s.prints)
		}
		return
	}
	running.until("README.md prints what $ "+s.command+" does", func() string {
		if got := typed(t, dir, s, running); !pattern(s.prints).MatchString(got) {
			return got
		}
		return ""
	})
}

// typed gives what a command prints.
func typed(t *testing.T, dir string, s session, running *atom) string {
	t.Helper()
	command := s.command
	if running != nil {
		command = strings.ReplaceAll(command, "http://127.0.0.1:9090", running.listen)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	got := strings.TrimRight(out.String(), "\n")
	if running != nil {
		got = strings.ReplaceAll(got, running.listen, "http://127.0.0.1:9090")
	}
	return got
}

// pattern makes an expression of what a session prints.
func pattern(prints string) *regexp.Regexp {
	text := regexp.QuoteMeta(prints)
	text = regexp.MustCompile(`(?m)^…$`).ReplaceAllString(text, "(?s:.*)")
	text = strings.ReplaceAll(text, "…", ".*")
	return regexp.MustCompile(`\A` + text + `\z`)
}

var opening = regexp.MustCompile("^```([a-z]*)(?: file=([a-z0-9./-]+))?$")

// fences gives the fenced blocks of a file.
func fences(t *testing.T, file string) []fence {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []fence
	var in *fence
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch m := opening.FindStringSubmatch(line); {
		case in != nil && line == "```":
			all = append(all, *in)
			in = nil
		case in != nil:
			in.text += line + "\n"
		case m != nil:
			in = &fence{line: n, kind: m[1], file: m[2]}
		case strings.HasPrefix(line, "```"):
			t.Fatalf("%s:%d: a fence that is not understood: %s", file, n, line)
		}
	}
	if err := lines.Err(); err != nil || in != nil {
		t.Fatalf("%s: a fence does not end: %v", file, err)
	}
	return all
}

// sessions splits a block into its commands: lines after "$ ", continued by a
// backslash at the end.
func sessions(f fence) []session {
	var all []session
	lines := strings.Split(strings.TrimRight(f.text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			if len(all) > 0 {
				s := &all[len(all)-1]
				s.prints = strings.TrimPrefix(s.prints+"\n"+lines[i], "\n")
			}
			continue
		}
		s := session{line: f.line + 1 + i, command: command}
		for strings.HasSuffix(s.command, "\\") && i+1 < len(lines) {
			i++
			s.command += "\n" + lines[i]
		}
		all = append(all, s)
	}
	return all
}

// TestReadmeNamesTests looks up every test that the README and the pages of
// docs/ point to: a promise without its test is none.
func TestReadmeNamesTests(t *testing.T) {
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)` in \\[`?([a-z/0-9]+)`?\\]")
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../../README.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(b, -1) {
			found++
			if !hasTest(t, filepath.Join("../..", string(m[2])), string(m[1])) {
				t.Errorf("%s: there is no %s in %s", filepath.Base(file), m[1], m[2])
			}
		}
	}
	if found < 7 {
		t.Errorf("only %d tests are named, and there are seven promises", found)
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("\nfunc "+name+"(")) {
			return true
		}
	}
	return false
}
