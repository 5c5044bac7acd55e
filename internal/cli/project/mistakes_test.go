package project

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

var update = flag.Bool("update", false, "update the golden files")

// TestMistakes checks that each mistake in testdata/bad is explained in one
// message with its position and advice: exactly the .txt file of the same name.
func TestMistakes(t *testing.T) {
	t.Chdir("testdata/bad")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("got %d files (%v), want at least 30", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			p, err := Load([]string{name})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Problems) != 1 {
				t.Fatalf("got %d problems, want one:\n%v", len(p.Problems), p.Problems)
			}
			if q := p.Problems[0]; q.Line == 0 || q.Col == 0 || q.Hint == "" && !strings.Contains(q.Msg, "write ") {
				t.Errorf("got no position or no advice: %v", q)
			}
			if fixed := corrected(p, p.Problems[0]); fixed != "" {
				if _, left := loader.Load([]processes.File{{Name: name, Content: []byte(fixed)}}, Catalog()); len(left) != 0 {
					t.Errorf("the corrected file has problems: %v\n%s", left, fixed)
				}
			}
			var out, errs bytes.Buffer
			err = (&LintCommand{Paths: []string{name}, Format: "text"}).Run(&terminal.Streams{Out: &out, Err: &errs})
			if exit := (clierror.Reported{}); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			got := out.String()
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (run with -update)", err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// corrected returns the file with the correction of a problem, or "" if it has
// none.
func corrected(p *Loaded, problem *fault.Problem) string {
	lines := strings.Split(string(p.Files[0].Content), "\n")
	fixed := problem.Fix.Apply(lines[problem.Line-1], problem.Col)
	if fixed == "" {
		return ""
	}
	lines[problem.Line-1] = fixed
	return strings.Join(lines, "\n")
}

// TestAdviceKeepsProjectsSafe checks that no message proposes to accept all
// callers, and that no message shows a secret.
func TestAdviceKeepsProjectsSafe(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.txt")
	more, _ := filepath.Glob("../../../processes/loader/testdata/bad/*.txt")
	for _, name := range append(files, more...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			advice := strings.HasPrefix(line, "    try: ") && !strings.Contains(line, "write the line as")
			if advice && (strings.Contains(line, "auth: none") || strings.Contains(line, "scheme: none") || strings.Contains(line, "insecure")) {
				t.Errorf("%s:%d: got unsafe advice: %s", name, i+1, line)
			}
			if strings.Contains(line, "mysecret") {
				t.Errorf("%s:%d: got the value of a secret: %s", name, i+1, line)
			}
		}
	}
}
