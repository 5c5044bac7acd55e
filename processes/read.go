package processes

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
)

// Bounds of what is read.
const (
	MaxFile  = 4 << 20 // bytes of one file
	MaxFiles = 20_000  // files of one project
	MaxTotal = 256 << 20
	MaxDepth = strictyaml.MaxDepth // levels of one YAML document
	MaxSteps = 5_000               // of one process
	// MaxProblems is how many are reported; a further one tells how many there are.
	MaxProblems = 1_000
)

// component is one YAML document of a file.
type component struct {
	src  *strictyaml.File
	root *yaml.Node // nil if it is broken, and for a process until it is compiled
	nth  int        // of the file's documents
	bad  bool       // broken
	kind string     // the first key
	key  *yaml.Node
	val  *yaml.Node // of the first key
}

// read takes a file apart into its components. What is wrong is in src.Problems.
func read(f File) (*strictyaml.File, []*component) {
	if len(f.Content) > MaxFile {
		src := &strictyaml.File{Name: f.Name}
		src.Report(0, 0, CodeTooLarge, fmt.Sprintf("the file has %s, the most is %s", spec.FormatSize(int64(len(f.Content))), spec.FormatSize(MaxFile)),
			"split it: every file of the project is read, and a file may hold several components")
		return src, nil
	}
	src, roots := strictyaml.Read(f.Name, f.Content)
	var out []*component
	for _, stub := range src.Stubs {
		if kind := stub.Key.Value; kinds[kind] != nil && spec.IsComponentName(stub.Value.Value) {
			out = append(out, &component{src: src, nth: -1, bad: true, kind: kind, key: stub.Key, val: stub.Value})
		}
	}
	for i, root := range roots {
		if c := componentOf(src, root); c != nil {
			c.nth, c.bad = i, c.root == nil
			if c.kind == "process" {
				c.root = nil
			}
			out = append(out, c)
		}
	}
	if len(out) == 0 && len(src.Problems) == 0 {
		src.Problems = append(src.Problems, &fault.Problem{Pos: fault.Pos{File: src.Name}, Severity: fault.Warning, Code: CodeEmptyFile,
			Msg: "this file declares nothing", Hint: "declare a component, such as `process: my-process`, or delete the file"})
	}
	return src, out
}

// componentOf checks a document by the rules of the language, and finds its kind.
func componentOf(src *strictyaml.File, root *yaml.Node) *component {
	if root.Kind == yaml.ScalarNode && spec.ShapeOf(root) == spec.NullShape && root.Value == "" {
		return nil // only comments
	}
	before := len(src.Problems)
	sound := src.Check(root)
	if root.Kind != yaml.MappingNode || len(root.Content) == 0 {
		if len(src.Problems) == before {
			what := spec.DescribeNode(root)
			if root.Kind == yaml.MappingNode {
				what = "an empty one"
			}
			src.Report(root.Line, root.Column, CodeNotComponent, "a document must be a mapping whose first key says what it declares, not "+what,
				"begin with one of: "+strings.Join(kindNames(), ", "))
		}
		return nil
	}
	c := &component{src: src, root: root, key: root.Content[0], val: root.Content[1], kind: root.Content[0].Value}
	if _, known := kinds[c.kind]; known {
		if !sound {
			c.root = nil
		}
		return c
	}
	hint := "begin with one of: " + strings.Join(kindNames(), ", ")
	if near := spec.Suggest(c.kind, kindNames()); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	for i := 2; i < len(root.Content); i += 2 {
		if _, known := kinds[root.Content[i].Value]; known {
			hint = "put `" + root.Content[i].Value + ":` first"
			break
		}
	}
	src.Report(c.key.Line, c.key.Column, CodeUnknownKind, "`"+cut(c.kind)+"` is no kind of component", hint)
	return nil
}

func cut(s string) string { return spec.Clip(s) }

// halfKnown reports whether there are components of which only the name is
// known: then what seems to be missing may be there.
func (l *loader) halfKnown() bool {
	for _, c := range l.components {
		if c.bad {
			return true
		}
	}
	return false
}
