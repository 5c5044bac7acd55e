package prose

import (
	"bufio"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../../.."
	budget = "testdata/budget.txt"
)

var update = flag.Bool("update", false, "lower the budgets to the present counts")

// words are clumsy in technical prose: they usually stand for a vaguer or
// longer sentence than the fact needs.
var words = []string{"gives", "tells", "takes", "is told", "are told", "keeps", "what", "whoever", "where", "beside", "behind"}

// rates are the most occurrences per 1,000 comment lines in the whole module.
var rates = map[string]float64{"gives": 1, "tells": 1, "takes": 1, "is told": 1, "are told": 1}

type key struct{ pkg, word string }

func TestBudget(t *testing.T) {
	got, lines := count(t)
	want := readBudget(t)
	for k, n := range got {
		if n > want[k] {
			t.Errorf("%s: got %q %d times in comments, want at most %d; reword the new comments", k.pkg, k.word, n, want[k])
		}
	}
	if *update {
		writeBudget(t, got, want)
		return
	}
	for k, n := range want {
		if got[k] < n {
			t.Errorf("%s: got %q %d times, want %d; lower the budget with go test ./internal/test/prose -update", k.pkg, k.word, got[k], n)
		}
	}
	for word, most := range rates {
		n := 0
		for k, c := range got {
			if k.word == word {
				n += c
			}
		}
		if rate := 1000 * float64(n) / float64(lines); rate > most {
			t.Errorf("got %q %.1f times per 1,000 comment lines, want at most %g", word, rate, most)
		}
	}
}

// TestReturns checks the other side: doc comments say what functions return.
func TestReturns(t *testing.T) {
	n, lines := 0, 0
	eachComment(t, func(_, text string) {
		lines += strings.Count(text, "\n")
		n += len(regexp.MustCompile(`\breturns\b`).FindAllString(text, -1))
	})
	if rate := 1000 * float64(n) / float64(lines); rate < 20 {
		t.Errorf(`got "returns" %.1f times per 1,000 comment lines, want at least 20`, rate)
	}
}

func count(t *testing.T) (counts map[key]int, lines int) {
	t.Helper()
	patterns := make([]*regexp.Regexp, len(words))
	for i, w := range words {
		patterns[i] = regexp.MustCompile(`\b` + w + `\b`)
	}
	counts = map[key]int{}
	eachComment(t, func(pkg, text string) {
		lines += strings.Count(text, "\n")
		for i, p := range patterns {
			if n := len(p.FindAllString(text, -1)); n > 0 {
				counts[key{pkg, words[i]}] += n
			}
		}
	})
	return counts, lines
}

// eachComment calls f with every comment group of the module, in lower case.
func eachComment(t *testing.T, f func(pkg, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, c := range file.Comments {
			f(filepath.ToSlash(pkg), strings.ToLower(c.Text()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func readBudget(t *testing.T) map[key]int {
	t.Helper()
	f, err := os.Open(budget)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counts := map[key]int{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Split(s.Text(), "\t")
		if len(fields) != 3 {
			t.Fatalf("%s: got line %q, want package, word and count separated by tabs", budget, s.Text())
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			t.Fatalf("%s: %v", budget, err)
		}
		counts[key{fields[0], fields[1]}] = n
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return counts
}

// writeBudget stores the lower of the present and the former counts. Without
// a former count nothing is allowed.
func writeBudget(t *testing.T, got, former map[key]int) {
	t.Helper()
	var lines []string
	for k, n := range got {
		if n = min(n, former[k]); n > 0 {
			lines = append(lines, fmt.Sprintf("%s\t%s\t%d\n", k.pkg, k.word, n))
		}
	}
	slices.Sort(lines)
	if err := os.WriteFile(budget, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}
