package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "valence"
	root   = "../../.."
)

// listed is the part of `go list -json` that the rules need.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = root
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
	dec := json.NewDecoder(bytes.NewReader(goList(t, "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")))
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
		for _, v := range violations(p) {
			t.Error(v)
		}
	}
}

// violations returns the imports of p that no rule allows.
func violations(p listed) []string {
	name := local(p.ImportPath)
	if under(tooling, name) {
		return nil
	}
	r, ok := ruleOf(name)
	if !ok {
		return []string{name + ": no rule covers this package"}
	}
	var found []string
	for _, path := range p.Imports {
		if reason := forbidden(name, r, path, false); reason != "" {
			found = append(found, name+": "+reason)
		}
	}
	for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
		if reason := forbidden(name, r, path, true); reason != "" {
			found = append(found, name+": "+reason)
		}
	}
	return found
}

// forbidden returns why the package name may not import path, or "".
func forbidden(name string, r rule, path string, inTest bool) string {
	inTest = inTest || under(fakes, name)
	if path == module || strings.HasPrefix(path, module+"/") {
		return forbiddenLocal(name, r, local(path), inTest)
	}
	first, _, _ := strings.Cut(path, "/")
	switch {
	case !strings.Contains(first, "."): // the standard library
		if path == "testing" && !inTest {
			return "imports testing outside a test"
		}
		return ""
	case belongs(testModules, path):
		if !inTest {
			return "imports " + path + " outside a test"
		}
		return ""
	}
	for m, users := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			if inTest || under(users, name) {
				return ""
			}
			return "may not import " + m + ", which belongs to " + strings.Join(users, ", ")
		}
	}
	return "imports " + path + ", which modules does not list"
}

func forbiddenLocal(name string, r rule, other string, inTest bool) string {
	target, known := ruleOf(other)
	switch {
	case other == name, inTest && under(fakes, other), inTest && under(tooling, other):
		return ""
	case under(tooling, other):
		return "imports " + other + ", which is tooling"
	case under(fakes, other):
		return "imports " + other + " outside a test"
	case !known:
		return "imports " + other + ", which no rule covers"
	case siblingConnectors(name, other):
		return "imports " + other + ", another connector"
	case target.prefix == r.prefix, slices.Contains(r.imports, target.prefix):
		return ""
	case r.prefix == "internal/cli" && !under([]string{"cmd"}, other): // wires everything together
		return ""
	case inTest && rank(target) < rank(r):
		return ""
	}
	return "may not import " + other
}

// siblingConnectors reports whether one connector's folder imports another's.
func siblingConnectors(name, other string) bool {
	const dir = "connectors/"
	return name != dir+"all" && strings.HasPrefix(name, dir) && strings.HasPrefix(other, dir) && !slices.Contains(shared, other)
}

func ruleOf(name string) (rule, bool) {
	var best rule
	for _, r := range rules {
		if under([]string{r.prefix}, name) && len(r.prefix) > len(best.prefix) {
			best = r
		}
	}
	return best, best.prefix != ""
}

func rank(r rule) int {
	return slices.IndexFunc(rules, func(x rule) bool { return x.prefix == r.prefix })
}

func under(prefixes []string, name string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
}

func belongs(list []string, path string) bool {
	return slices.ContainsFunc(list, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") })
}

func local(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

func TestViolations(t *testing.T) {
	for _, c := range []struct {
		name string
		p    listed
		want string
	}{
		{"allowed", listed{ImportPath: "valence/internal/profile", Imports: []string{"fmt", "valence/internal/fault", "github.com/santhosh-tekuri/jsonschema/v6"}}, ""},
		{"leaf imports the language", listed{ImportPath: "valence/internal/fault", Imports: []string{"valence/processes"}}, "internal/fault: may not import processes"},
		{"connector imports a shared part", listed{ImportPath: "valence/connectors/ftp", Imports: []string{"valence/connectors/session"}}, ""},
		{"connector imports a connector", listed{ImportPath: "valence/connectors/http", Imports: []string{"valence/connectors/ftp"}}, "connectors/http: imports connectors/ftp, another connector"},
		{"module of another package", listed{ImportPath: "valence/atom", Imports: []string{"github.com/gorilla/mux"}}, "atom: may not import github.com/gorilla/mux, which belongs to atom/dataplane, atom/admin, cloud/operator"},
		{"unlisted module", listed{ImportPath: "valence/atom", Imports: []string{"example.com/x"}}, "atom: imports example.com/x, which modules does not list"},
		{"language imports the runtime", listed{ImportPath: "valence/processes", Imports: []string{"valence/atom"}}, "processes: may not import atom"},
		{"control plane imports the runtime", listed{ImportPath: "valence/cloud", Imports: []string{"valence/atom"}}, "cloud: may not import atom"},
		{"runtime imports the control plane", listed{ImportPath: "valence/atom/agent", Imports: []string{"valence/cloud"}}, "atom/agent: may not import cloud"},
		{"store imports the engine", listed{ImportPath: "valence/atom/store", Imports: []string{"valence/atom"}}, "atom/store: may not import atom"},
		{"fake outside a test", listed{ImportPath: "valence/internal/cli", Imports: []string{"valence/atom/store/storetest"}}, "internal/cli: imports atom/store/storetest outside a test"},
		{"fake in a test", listed{ImportPath: "valence/atom", XTestImports: []string{"valence/atom", "valence/atom/store/storetest"}}, ""},
		{"test module in a test", listed{ImportPath: "valence/atom", TestImports: []string{"pgregory.net/rapid"}}, ""},
		{"test module outside a test", listed{ImportPath: "valence/atom", Imports: []string{"pgregory.net/rapid"}}, "atom: imports pgregory.net/rapid outside a test"},
		{"testing outside a test", listed{ImportPath: "valence/atom", Imports: []string{"testing"}}, "atom: imports testing outside a test"},
		{"tooling", listed{ImportPath: "valence/internal/cli", Imports: []string{"valence/internal/test/bench"}}, "internal/cli: imports internal/test/bench, which is tooling"},
		{"package without a rule", listed{ImportPath: "valence/util"}, "util: no rule covers this package"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(violations(c.p), "\n"); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestBinary checks that no fake, no tooling and no test library reaches the
// binary.
func TestBinary(t *testing.T) {
	for _, path := range strings.Fields(string(goList(t, "-deps", "./cmd/valence"))) {
		if path == "testing" || belongs(testModules, path) {
			t.Errorf("the binary contains %s", path)
		}
		if name := local(path); name != path && (under(fakes, name) || under(tooling, name)) {
			t.Errorf("the binary contains %s", name)
		}
	}
}

// TestDocumented checks that docs/architecture.md lists the same groups with
// the same imports, in the same order.
func TestDocumented(t *testing.T) {
	b, err := os.ReadFile(root + "/docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)/?…?` \\| ([^|]*) \\| [^|]* \\|$").FindAllStringSubmatch(string(b), -1) {
		got = append(got, m[1]+": "+strings.TrimSpace(m[2]))
	}
	var want []string
	for _, r := range rules {
		text := "–"
		if len(r.imports) > 0 {
			text = "`" + strings.Join(r.imports, "` `") + "`"
		}
		want = append(want, r.prefix+": "+text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/architecture.md lists\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
