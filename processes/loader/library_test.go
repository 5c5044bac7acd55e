package loader

import (
	"fmt"
	"testing"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/processes"
)

// oneName resolves one root of expressions.
type oneName struct {
	root  string
	value any
}

func (n oneName) Name(root string) (any, bool) { return n.value, root == n.root }

// TestLibraryInPlan evaluates an expression of a process that uses functions and
// tables.
func TestLibraryInPlan(t *testing.T) {
	project, problems := loadPath(t, "testdata/good/library")
	if problems != "" {
		t.Fatalf(`got %q, want ""`, problems)
	}
	track := project.Processes["invoices"].Delivery.Track[0].Value
	for country, want := range map[string]string{"PT": "Portugal", "FR": "none"} {
		got, err := track.Text(&expression.Env{Names: oneName{"doc", document.Parse(`{"country":"` + country + `"}`)}})
		if err != nil || got != want {
			t.Errorf("%s: got %q %v, want %q", country, got, err, want)
		}
	}
}

// TestHashOfLibrary checks that the hash of a process changes with the functions
// and tables that it uses, and only with those.
func TestHashOfLibrary(t *testing.T) {
	load := func(rate, name, unused string) (process, other string) {
		t.Helper()
		files := []processes.File{
			{Name: "lib.yaml", Content: fmt.Appendf(nil, "function: rate\nreturns: ${%s}\n---\nfunction: net\nparams: [x]\nreturns: ${x * rate()}\n---\ntable: t\nkey: id\nfile: t.csv\n---\nfunction: unused\nreturns: ${%s}\n", rate, unused)},
			{Name: "t.csv", Content: []byte("id,name\n1," + name + "\n")},
			{Name: "p.yaml", Content: []byte("process: p\nsteps:\n  - map: { a: '${net(doc.x)}', b: '${lookup(\"t\", 1)?.name}' }\n---\nprocess: q\nsteps: [{ log: a }]\n")},
		}
		project, problems := Load(files, testCatalog())
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		return project.Processes["p"].Hash, project.Processes["q"].Hash
	}
	first, other := load("1 + 1", "a", "1 + 1")
	if again, _ := load("1 + 1", "a", "2 + 2"); again != first {
		t.Error("an unused function changes the hash")
	}
	for what, args := range map[string][2]string{"a function of a function": {"1 + 2", "a"}, "a row of a table": {"1 + 1", "b"}} {
		changed, same := load(args[0], args[1], "1 + 1")
		if changed == first {
			t.Errorf("%s: got the same hash, want another", what)
		}
		if same != other {
			t.Errorf("%s: the hash of another process changes", what)
		}
	}
}
