package floors

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "valence"

// listed is what `go list -json` tells of a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Error        *struct{ Err string }
}

func list(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

func packages(t *testing.T) []listed {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(list(t, "-e", "-json=ImportPath,Imports,TestImports,XTestImports,Error", "./...")))
	var all []listed
	for {
		var p listed
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, problem := range judge(p) {
			t.Error(problem)
		}
	}
}

// judge holds one package against its row.
func judge(p listed) []string {
	name := inModule(p.ImportPath)
	r, ok := find(name)
	if !ok {
		return []string{name + ": has no row in the table: which floor is it on, and what may it import?"}
	}
	var problems []string
	for _, path := range p.Imports {
		problems = append(problems, refuse(name, r, path, false)...)
	}
	for _, path := range join(p.TestImports, p.XTestImports) {
		problems = append(problems, refuse(name, r, path, true)...)
	}
	return problems
}

// refuse says why a package may not import a path; nothing where it may. Tests
// of a package may also import what stands on its own floor or lower, the
// fakes, the test-only modules, and modules that the product uses.
func refuse(name string, r row, path string, inTest bool) []string {
	if path == module || strings.HasPrefix(path, module+"/") {
		other := inModule(path)
		o, known := find(other)
		switch {
		case other == name, !known: // an external test; a package without a row is reported as itself
			return nil
		case r.floor == tooling, inTest && allows(fakes, other):
			return nil
		case o.floor == tooling:
			return []string{name + ": imports " + other + ", which is tooling and no part of the product"}
		case allows(fakes, other):
			return []string{name + ": imports " + other + " outside a test"}
		case o.floor > r.floor:
			return []string{name + ": imports " + other + ", which is on a higher floor"}
		case inTest:
			return nil
		case !allows(r.project, other):
			return []string{name + ": may not import " + other}
		}
		return nil
	}
	if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") { // the standard library, and "C"
		if path == "testing" && !inTest && !allows(fakes, name) && r.floor != tooling {
			return []string{name + ": imports testing outside a test"}
		}
		return nil
	}
	switch {
	case belongs(testOnly, path) && !inTest:
		return []string{name + ": imports " + path + " outside a test"}
	case belongs(testOnly, path), belongs(r.modules, path):
		return nil
	case inTest && belongs(product(), path):
		return nil
	}
	return []string{name + ": may not import " + path}
}

// product lists the modules that some package of the product may import.
func product() []string {
	var all []string
	for _, r := range table {
		all = append(all, r.modules...)
	}
	return all
}

func inModule(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name string
		p    listed
		want string
	}{
		{"allowed", listed{ImportPath: "valence/internal/profile", Imports: []string{"fmt", "valence/internal/fault", jsonschema}}, ""},
		{"a floor up", listed{ImportPath: "valence/internal/fault", Imports: []string{"valence/processes"}}, "internal/fault: imports processes, which is on a higher floor"},
		{"beside", listed{ImportPath: "valence/internal/spec", Imports: []string{"valence/internal/expression"}}, "internal/spec: may not import internal/expression"},
		{"a connector on another", listed{ImportPath: "valence/connectors/http", Imports: []string{"valence/connectors/ftp"}}, "connectors/http: may not import connectors/ftp"},
		{"a foreign module", listed{ImportPath: "valence/atom", Imports: []string{mux + "/x"}}, "atom: may not import " + mux + "/x"},
		{"the language knows no runtime", listed{ImportPath: "valence/processes", Imports: []string{"valence/atom"}}, "processes: imports atom, which is on a higher floor"},
		{"fakes outside a test", listed{ImportPath: "valence/internal/cli", Imports: []string{"valence/atom/atomtest"}}, "internal/cli: imports atom/atomtest outside a test"},
		{"fakes in a test", listed{ImportPath: "valence/atom", XTestImports: []string{"valence/atom", "valence/atom/atomtest"}}, ""},
		{"test-only module in a test", listed{ImportPath: "valence/atom", TestImports: []string{"pgregory.net/rapid"}}, ""},
		{"test-only module outside", listed{ImportPath: "valence/atom", Imports: []string{"pgregory.net/rapid"}}, "atom: imports pgregory.net/rapid outside a test"},
		{"testing outside a test", listed{ImportPath: "valence/atom", Imports: []string{"testing"}}, "atom: imports testing outside a test"},
		{"tooling", listed{ImportPath: "valence/internal/cli", Imports: []string{"valence/internal/bench"}}, "internal/cli: imports internal/bench, which is tooling and no part of the product"},
		{"unknown package", listed{ImportPath: "valence/util"}, "util: has no row in the table: which floor is it on, and what may it import?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(judge(c.p), "\n"); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestBinary holds what reaches a user's machine: no fakes, no tooling, no
// test framework.
func TestBinary(t *testing.T) {
	for _, path := range strings.Fields(string(list(t, "-deps", "./cmd/valence"))) {
		if path == "testing" || belongs(testOnly, path) {
			t.Errorf("%s is part of the binary", path)
		}
		if name := inModule(path); name != path {
			if r, ok := find(name); allows(fakes, name) || ok && r.floor == tooling {
				t.Errorf("%s is part of the binary", name)
			}
		}
	}
}

// TestDocumented holds docs/architecture.md against the table: the same
// packages on the same floors.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| ([0-9]+|–) \\| `([^`]+)` \\|").FindAllStringSubmatch(string(b), -1) {
		written[m[2]] = m[1]
	}
	for _, r := range table {
		floor := strconv.Itoa(r.floor)
		if r.floor == tooling {
			floor = "–"
		}
		if got := written[r.pkg]; got != floor {
			t.Errorf("docs/architecture.md: %s is on floor %s, but is written %q", r.pkg, floor, got)
		}
		delete(written, r.pkg)
	}
	for pkg := range written {
		t.Errorf("docs/architecture.md: %s is not in the table", pkg)
	}
}
