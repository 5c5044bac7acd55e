package examples

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fence is one fenced block of a Markdown file.
type fence struct {
	line int    // line number of the opening fence, from 1
	kind string // language of the block
	file string // value of file=
	text string
}

// session is one command of a console block with its expected output. In the
// output, "…" alone on a line matches any lines, within a line any text.
type session struct {
	line    int
	command string
	prints  string
}

// TestPages follows the README and every page below docs as a reader does, each
// in a folder of its own: it writes the blocks that name a file, types the
// commands of console blocks in one shell, and compares their output. In the
// end every project on the page must pass lint, except those in a folder named
// wrong. Other blocks are not run.
func TestPages(t *testing.T) {
	for _, program := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed, and the pages use it: run `make setup`", program)
		}
	}
	for _, page := range pages(t) {
		all := fences(t, page)
		if !runnable(all) {
			continue
		}
		name, err := filepath.Rel("../../..", page)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			followPage(t, name, all)
		})
	}
}

// TestReadmeRunsCommands fails if the README's blocks are no longer recognized.
func TestReadmeRunsCommands(t *testing.T) {
	got := 0
	for _, f := range fences(t, "../../../README.md") {
		if f.kind == "console" {
			got += len(sessions(f))
		}
	}
	if got < 5 {
		t.Errorf("got %d commands in README.md, want at least 5", got)
	}
}

func runnable(all []fence) bool {
	for _, f := range all {
		if f.file != "" || f.kind == "console" {
			return true
		}
	}
	return false
}

// pages returns the README and every Markdown file below docs.
func pages(t *testing.T) []string {
	t.Helper()
	files := []string{"../../../README.md"}
	err := filepath.WalkDir("../../../docs", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// followPage writes the files of one page and types its commands, in order.
func followPage(t *testing.T, name string, all []fence) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(dir, "bin", "valence")); err != nil {
		t.Fatal(err)
	}
	ports := newPortMap(t, all)
	sh := startShell(t, dir, ports)
	projects := map[string]bool{}
	for _, f := range all {
		switch {
		case f.file != "":
			path := filepath.Join(dir, f.file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(ports.toFree(f.text)), 0o644); err != nil {
				t.Fatal(err)
			}
			folder, _, _ := strings.Cut(f.file, "/")
			if f.kind == "yaml" && folder != "wrong" {
				projects[folder] = true
			}
		case f.kind == "console":
			for _, s := range sessions(f) {
				sh.follow(name, s)
			}
		}
	}
	for folder := range projects {
		if out, err := exec.Command(binary, "lint", filepath.Join(dir, folder)).CombinedOutput(); err != nil {
			t.Errorf("%s: lint %s: %v\n%s", name, folder, err, out)
		}
	}
}

// pattern compiles the expected output of a session.
func pattern(prints string) *regexp.Regexp {
	text := regexp.QuoteMeta(prints)
	text = regexp.MustCompile(`(?m)^…$`).ReplaceAllString(text, "(?s:.*)")
	text = strings.ReplaceAll(text, "…", ".*")
	return regexp.MustCompile(`\A` + text + `\z`)
}

var opening = regexp.MustCompile("^```([a-z]*)(?: file=([a-z0-9./-]+))?$")

// fences returns the fenced blocks of a file.
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
			t.Fatalf("%s:%d: unknown kind of fence: %s", file, n, line)
		}
	}
	if err := lines.Err(); err != nil || in != nil {
		t.Fatalf("%s: a fence is not closed: %v", file, err)
	}
	return all
}

// sessions splits a block into its commands: lines after "$ ". A backslash at
// the end of a line continues the command.
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

// TestPagesNameTests looks up every test that the README and the pages of docs
// name as evidence.
func TestPagesNameTests(t *testing.T) {
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)` in \\[`?([a-z/0-9]+)`?\\]")
	found := 0
	for _, file := range pages(t) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(b, -1) {
			found++
			if !hasTest(t, filepath.Join("../../..", string(m[2])), string(m[1])) {
				t.Errorf("%s: there is no %s in %s", filepath.Base(file), m[1], m[2])
			}
		}
	}
	if found < 7 {
		t.Errorf("got %d named tests, want at least one for each of the seven promises", found)
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

var link = regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)]*))?\)`)

var heading = regexp.MustCompile(`(?m)^#+ (.*)$`)

// anchors returns the fragment of every heading, as GitHub builds them.
func anchors(markdown []byte) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllSubmatch(markdown, -1) {
		text := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(string(m[1])), "")
		all[strings.ReplaceAll(text, " ", "-")] = true
	}
	return all
}

// TestPagesAreLinked checks that every relative link of the README, the pages
// of docs and the examples leads to a file and a heading that exist, and that every page of docs is at most two
// steps away from the README.
func TestPagesAreLinked(t *testing.T) {
	examples, err := filepath.Glob("../../../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := map[string][]string{} // targets by page
	for _, page := range append(append(pages(t), "../../../CHANGELOG.md"), examples...) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			target := filepath.Clean(page)
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
				continue
			}
			if m[2] != "" {
				text, err := os.ReadFile(target)
				if err != nil || !anchors(text)[m[2]] {
					t.Errorf("%s links to %s#%s: there is no such heading", page, m[1], m[2])
				}
			}
			links[filepath.Clean(page)] = append(links[filepath.Clean(page)], target)
		}
	}
	near := map[string]bool{}
	for _, first := range links[filepath.Clean("../../../README.md")] {
		near[first] = true
		for _, second := range links[first] {
			near[second] = true
		}
	}
	for _, page := range pages(t)[1:] {
		if filepath.Base(filepath.Dir(page)) == "adr" {
			page = filepath.Dir(page)
		}
		if !near[filepath.Clean(page)] {
			t.Errorf("%s is more than two steps away from the README", page)
		}
	}
}
