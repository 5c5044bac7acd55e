package loader

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/strictyaml"
	"valence/processes"
	"valence/processes/language"
)

// The limits of a project.
const (
	MaxFile  = 4 << 20 // bytes of one file
	MaxFiles = 20_000  // files of one project
	MaxTotal = 256 << 20
	MaxDepth = strictyaml.MaxDepth // levels of one YAML document
	MaxSteps = 5_000               // of one process
	// MaxProblems bounds the reported problems. A further problem counts the others.
	MaxProblems = 1_000
)

// component is one YAML document of a file.
type component struct {
	src  *strictyaml.File
	base string     // the folder of the project; see processes.File
	root *yaml.Node // nil if it is invalid, and for a process until it is compiled
	nth  int        // index among the documents of the file
	bad  bool       // not parsed completely
	kind string     // the first key
	key  *yaml.Node
	val  *yaml.Node // of the first key
}

// read splits a file into its components. The problems are in src.Problems.
func read(f processes.File) (*strictyaml.File, []*component) {
	if len(f.Content) > MaxFile {
		src := &strictyaml.File{Name: f.Name}
		src.Report(0, 0, processes.CodeTooLarge, fmt.Sprintf("the file has %s, the maximum is %s", spec.FormatSize(int64(len(f.Content))), spec.FormatSize(MaxFile)),
			"split it into several files")
		return src, nil
	}
	src, roots := strictyaml.Read(f.Name, f.Content)
	var out []*component
	for _, stub := range src.Stubs {
		if kind := stub.Key.Value; language.Kinds[kind] != nil && (spec.IsComponentName(stub.Value.Value) || spec.IsName(stub.Value.Value)) {
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
	for _, c := range out {
		c.base = f.Folder
	}
	if len(out) == 0 && len(src.Problems) == 0 {
		src.Problems = append(src.Problems, &fault.Problem{Pos: fault.Pos{File: src.Name}, Severity: fault.Warning, Code: processes.CodeEmptyFile,
			Msg: "the file declares no component", Hint: "declare one, such as `process: my-process`, or delete the file"})
	}
	return src, out
}

// componentOf checks the YAML of a document and returns its component, or nil if
// it has none.
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
				what = "an empty map"
			}
			src.Report(root.Line, root.Column, processes.CodeNotComponent, "a document must be a map whose first key selects its kind, not "+what,
				"start with one of: "+strings.Join(language.KindNames(), ", "))
		}
		return nil
	}
	c := &component{src: src, root: root, key: root.Content[0], val: root.Content[1], kind: root.Content[0].Value}
	if _, known := language.Kinds[c.kind]; known {
		if !sound {
			c.root = nil
		}
		return c
	}
	hint, near := "start with one of: "+strings.Join(language.KindNames(), ", "), spec.Suggest(c.kind, language.KindNames())
	if near != "" {
		hint = "did you mean `" + near + "`?"
	}
	for i := 2; i < len(root.Content); i += 2 {
		if _, known := language.Kinds[root.Content[i].Value]; known {
			hint, near = "put `"+root.Content[i].Value+":` first", ""
			break
		}
	}
	src.Report(c.key.Line, c.key.Column, processes.CodeUnknownKind, "`"+cut(c.kind)+"` is not a kind of component", hint).Correct(c.kind, near)
	return nil
}

func cut(s string) string { return spec.Clip(s) }

// incomplete reports whether some component could not be parsed, so that
// declarations that seem to be missing may exist.
func (l *loader) incomplete() bool {
	for _, c := range l.components {
		if c.bad {
			return true
		}
	}
	return false
}
