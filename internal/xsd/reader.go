package xsd

import (
	"context"
	"encoding/xml"
	"errors"
	"path"
	"slices"
	"strings"

	"valence/internal/convert"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Files returns the content of files of the project by their path.
type Files func(name string) ([]byte, bool)

// File is an XML file that has been read.
type File struct {
	Name    string
	Content []byte
	Root    *convert.Element
}

// Pos returns the position of an element.
func (f *File) Pos(e *convert.Element) fault.Pos {
	line, col := convert.Position(f.Content, e.Offset)
	return fault.Pos{File: f.Name, Line: line, Col: col}
}

// Reader reads schemas and the files that they include and import.
type Reader struct {
	files    Files
	loaded   map[string]bool // by file and target namespace
	schemas  []*schema
	tops     map[string]map[xml.Name]*component // by kind
	order    []*component
	set      *Set
	all      []*Type
	problems fault.Problems
	read     []*File // schemas, each once

	derivations map[*Type]*derivation
	derived     []*Type // keys of derivations, in order
}

// schema is one xs:schema element.
type schema struct {
	file            *File
	target          string
	elements, attrs bool // their local declarations are qualified
	blank           bool // a chameleon: names without prefix are of the target
}

// component is a global component of a schema.
type component struct {
	e      *convert.Element
	schema *schema
	built  any
	busy   bool
}

// NewReader returns a reader without schemas.
func NewReader(files Files) *Reader {
	return &Reader{files: files, loaded: map[string]bool{}, tops: map[string]map[xml.Name]*component{}, derivations: map[*Type]*derivation{}}
}

// maxProblems bounds the problems of one reader.
const maxProblems = 50

// Problem reports a problem at an element.
func (r *Reader) Problem(f *File, e *convert.Element, msg, hint string) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, &fault.Problem{Pos: f.Pos(e), Code: Code, Msg: msg, Hint: hint})
	}
}

// SchemaFiles returns the files of schemas that have been read.
func (r *Reader) SchemaFiles() []*File { return r.read }

// Problems returns the problems so far.
func (r *Reader) Problems() fault.Problems { return r.problems }

// Open reads a file. It returns nil after a problem, and the same problem once.
func (r *Reader) Open(name string) *File {
	content, ok := r.files(name)
	if !ok {
		return nil
	}
	if text, err := convert.Text(context.Background(), content, convert.Label{XML: true}); err == nil {
		content = text
	}
	root, err := convert.XMLTree(context.Background(), content)
	if err != nil {
		p := &fault.Problem{Pos: fault.Pos{File: name}, Code: Code, Msg: err.Error(), Hint: "correct the XML"}
		var syntax *convert.SyntaxError
		if errors.As(err, &syntax) {
			p.Line, p.Col, p.Msg = syntax.Line, syntax.Col, syntax.Msg
		}
		r.problems = append(r.problems, p)
		return nil
	}
	return &File{Name: name, Content: content, Root: root}
}

// Locate returns the path of a file that an element refers to. It reports
// locations outside of the project.
func (r *Reader) Locate(f *File, e *convert.Element, location string) (string, bool) {
	if scheme, _, ok := strings.Cut(location, ":"); ok && !strings.ContainsAny(scheme, "/\\") {
		r.Problem(f, e, "`"+spec.Clip(location)+"` is on the network, and imports are read from the project only", "save the file next to "+path.Base(f.Name)+", and write its name here")
		return "", false
	}
	full := path.Join(path.Dir(f.Name), location)
	if location == "" || path.IsAbs(location) || strings.ContainsAny(location, "\\\x00") || full == ".." || strings.HasPrefix(full, "../") && !strings.HasPrefix(f.Name, "../") {
		r.Problem(f, e, "`"+spec.Clip(location)+"` is outside of the project", "move the file into the folder of the project, and write its path relative to this file")
		return "", false
	}
	if _, ok := r.files(full); !ok {
		r.Problem(f, e, "the file `"+spec.Clip(location)+"` does not exist", "add the file to the project; the full path is "+full)
		return "", false
	}
	return full, true
}

// AddFile reads the schema of a file.
func (r *Reader) AddFile(name, target string) {
	key := name + "\x00" + target
	if r.loaded[key] {
		return
	}
	r.loaded[key] = true
	f := r.Open(name)
	if f == nil {
		return
	}
	if f.Root.Name != (xml.Name{Space: Namespace, Local: "schema"}) {
		r.Problem(f, f.Root, "this is no XML Schema: its root element is <"+spec.Clip(f.Root.Name.Local)+">", "name a file with a root element <schema>")
		return
	}
	if !slices.ContainsFunc(r.read, func(other *File) bool { return other.Name == name }) {
		r.read = append(r.read, f)
	}
	r.add(f, f.Root, target)
}

// Add reads a schema element, such as one within a WSDL.
func (r *Reader) Add(f *File, e *convert.Element) { r.add(f, e, "") }

// add reads a schema. target is that of the schema which includes it, if any.
func (r *Reader) add(f *File, e *convert.Element, target string) {
	s := &schema{file: f, target: e.Attr("targetNamespace"), elements: e.Attr("elementFormDefault") == "qualified", attrs: e.Attr("attributeFormDefault") == "qualified"}
	if s.target == "" && target != "" {
		s.target, s.blank = target, true
	}
	r.schemas = append(r.schemas, s)
	for _, c := range e.Children {
		if c.Name.Space != Namespace {
			continue
		}
		location, named := c.Lookup(xml.Name{Local: "schemaLocation"})
		switch c.Name.Local {
		case "annotation", "notation":
		case "include":
			if full, ok := r.Locate(f, c, location); ok {
				r.AddFile(full, s.target)
			}
		case "import":
			if !named || c.Attr("namespace") == XML {
				continue
			}
			if full, ok := r.Locate(f, c, location); ok {
				r.AddFile(full, "")
			}
		case "redefine":
			r.Problem(f, c, "`redefine` is not supported", "change the schema that it redefines")
		case "element", "complexType", "simpleType", "group", "attributeGroup", "attribute":
			r.top(s, c)
		default:
			r.Problem(f, c, "<"+spec.Clip(c.Name.Local)+"> is not allowed in a schema", "remove it")
		}
	}
}

// top registers a global component.
func (r *Reader) top(s *schema, e *convert.Element) {
	kind := e.Name.Local
	if kind == "simpleType" || kind == "complexType" {
		kind = "type"
	}
	name := xml.Name{Space: s.target, Local: e.Attr("name")}
	if name.Local == "" {
		r.Problem(s.file, e, "this "+e.Name.Local+" has no name", "add the attribute `name`")
		return
	}
	if r.tops[kind] == nil {
		r.tops[kind] = map[xml.Name]*component{}
	}
	if r.tops[kind][name] != nil {
		return // files that are included twice declare the same
	}
	c := &component{e: e, schema: s}
	r.tops[kind][name] = c
	r.order = append(r.order, c)
}

// name resolves a name in the value of an attribute.
func (r *Reader) name(s *schema, e *convert.Element, attr string) xml.Name {
	text := e.Attr(attr)
	n, ok := e.QName(text)
	if !ok {
		r.Problem(s.file, e, "the prefix of `"+spec.Clip(text)+"` is not declared", "declare it: xmlns:"+spec.Clip(strings.SplitN(text, ":", 2)[0])+"=\"…\"")
	}
	if s.blank && n.Space == "" && !strings.Contains(text, ":") {
		n.Space = s.target
	}
	return n
}

// lookup returns a global component.
func (r *Reader) lookup(s *schema, e *convert.Element, kind string, name xml.Name) *component {
	if c := r.tops[kind][name]; c != nil {
		return c
	}
	var known []string
	for n := range r.tops[kind] {
		if n.Space == name.Space {
			known = append(known, n.Local)
		}
	}
	hint := "import the schema of the namespace " + spec.Clip(name.Space)
	if near := spec.Nearest(name.Local, known); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	r.Problem(s.file, e, "no schema declares the "+kind+" `"+spec.Clip(name.Local)+"`", hint)
	return nil
}
