package convert

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Shape tells how the data view of an XML document looks where XML itself
// cannot: what is a list even when it holds one element, what is a number or a
// boolean, and which namespaces keep a prefix. Fields are by member name as it
// stands in the data view ("@id", "#text", "line"); the outermost Shape's one
// field is the root element.
type Shape struct {
	List       bool              // a list even of one element
	Type       string            // of text: "", string, number, integer, boolean
	Fields     map[string]*Shape // members of an object
	Item       *Shape            // elements of a list; nil: this Shape without List
	Namespaces map[string]string // namespace to prefix; read on the outermost Shape
}

func (s *Shape) field(name string) *Shape {
	if s == nil {
		return nil
	}
	return s.Fields[name]
}

func (s *Shape) item() *Shape {
	if s == nil || s.Item == nil {
		return s
	}
	return s.Item
}

// XMLToJSON gives the data view of an XML document: an object whose one key is
// the root element. Attributes become "@name" members, child elements members
// by name, repeated ones a list at the place of the first; an element with
// nothing but text becomes that text, an empty one "". Where there is more than
// text, the text becomes "#text": its pieces joined, those of nothing but
// space left out. Namespace prefixes are dropped, unless s maps them, and so
// are their declarations. s may be nil.
//
// A document type declaration is refused, and with it every entity but the
// five of XML itself. The charset must be UTF-8, or declared as ISO-8859-1.
func XMLToJSON(b []byte, s *Shape) ([]byte, error) {
	r := &xmlReader{src: b, d: xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))}
	r.d.CharsetReader = latin1
	if s != nil {
		r.prefixes = s.Namespaces
	}
	root, err := r.document()
	if err != nil {
		return nil, err
	}
	out := appendText(append(make([]byte, 0, len(b)), '{'), root.name)
	out = root.appendMember(append(out, ':'), []*element{root}, s.field(root.name))
	return append(out, '}'), nil
}

// element is one element while its end is still to come.
type element struct {
	name     string
	attrs    []xml.Attr // the names are the members' names
	text     []byte
	pieces   int // of text that are not only space
	children []*element
}

type xmlReader struct {
	src      []byte
	d        *xml.Decoder
	prefixes map[string]string
	open     []*element
	count    int
}

// document reads to the end and gives the root element.
func (r *xmlReader) document() (*element, error) {
	var root *element
	for started := false; ; started = true {
		at := int(r.d.InputOffset())
		tok, err := r.d.Token()
		if errors.Is(err, io.EOF) && len(r.open) == 0 {
			if root == nil {
				return nil, r.fail(at, "there is no XML element")
			}
			return root, nil
		}
		if err != nil {
			return nil, r.broken(at, err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if len(r.open) == 0 && root != nil {
				return nil, r.fail(at, "a second root element <%s>", clip(t.Name.Local))
			}
			e, err := r.start(at, t)
			if err != nil {
				return nil, err
			}
			if root == nil {
				root = e
			}
		case xml.EndElement:
			r.end()
		case xml.CharData:
			if err := r.text(at, t); err != nil {
				return nil, err
			}
		case xml.Directive:
			return nil, r.fail(at, "a document type declaration (<!DOCTYPE) is not accepted")
		case xml.ProcInst:
			if t.Target == "xml" && started {
				return nil, r.fail(at, "the XML declaration must stand at the very beginning")
			}
		}
	}
}

func (r *xmlReader) start(at int, t xml.StartElement) (*element, error) {
	if len(r.open) == MaxDepth {
		return nil, r.fail(at, "the XML is nested deeper than %d levels", MaxDepth)
	}
	if r.count += 1 + len(t.Attr); r.count > MaxElements {
		return nil, r.fail(at, "the XML has more than %d elements and attributes", MaxElements)
	}
	e := &element{name: r.name(t.Name)}
	for i, a := range t.Attr {
		for _, b := range t.Attr[:i] {
			if a.Name == b.Name {
				return nil, r.fail(at, "<%s> has the attribute %q twice", clip(t.Name.Local), clip(a.Name.Local))
			}
		}
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		name := "@" + r.name(a.Name)
		if slices.ContainsFunc(e.attrs, func(b xml.Attr) bool { return b.Name.Local == name }) {
			return nil, r.fail(at, "<%s> has two attributes %q of different namespaces: map the namespaces to prefixes in the profile", clip(t.Name.Local), clip(a.Name.Local))
		}
		e.attrs = append(e.attrs, xml.Attr{Name: xml.Name{Local: name}, Value: a.Value})
	}
	if n := len(r.open); n > 0 {
		parent := r.open[n-1]
		parent.children = append(parent.children, e)
	}
	r.open = append(r.open, e)
	return e, nil
}

func (r *xmlReader) end() { r.open = r.open[:len(r.open)-1] }

func (r *xmlReader) text(at int, t xml.CharData) error {
	blank := len(bytes.Trim(t, " \t\r\n")) == 0
	if len(r.open) == 0 {
		if !blank {
			return r.fail(at, "text outside the root element")
		}
		return nil
	}
	e := r.open[len(r.open)-1]
	if !blank {
		e.pieces++
	}
	if len(e.children) > 0 && blank {
		return nil
	}
	e.text = append(e.text, t...)
	return nil
}

func (r *xmlReader) name(n xml.Name) string {
	if p := r.prefixes[n.Space]; p != "" && n.Space != "" {
		return p + ":" + n.Local
	}
	return n.Local
}

func (r *xmlReader) fail(at int, format string, args ...any) *SyntaxError {
	path := make([]string, len(r.open))
	for i, e := range r.open {
		path[i] = e.name
	}
	if len(r.src) >= 3 && string(r.src[:3]) == "\xef\xbb\xbf" {
		at += 3
	}
	return errorAt(r.src, at, pointer(path), format, args...)
}

// broken gives the decoder's error with a place.
func (r *xmlReader) broken(at int, err error) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return r.fail(max(at, int(r.d.InputOffset())), "%s", clip(syntax.Msg))
	}
	var charset *SyntaxError
	if errors.As(err, &charset) {
		return r.fail(at, "%s", charset.Msg)
	}
	if errors.Is(err, io.EOF) && len(r.open) > 0 {
		return r.fail(at, "the XML ends inside <%s>", clip(r.open[len(r.open)-1].name))
	}
	return r.fail(at, "%s", strings.TrimPrefix(err.Error(), "xml: "))
}

// appendMember writes the elements of one name in one parent: a value, or a list.
func (e *element) appendMember(dst []byte, same []*element, s *Shape) []byte {
	if len(same) == 1 && (s == nil || !s.List) {
		return e.append(dst, s)
	}
	dst = append(dst, '[')
	for i, e := range same {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.append(dst, s.item())
	}
	return append(dst, ']')
}

func (e *element) append(dst []byte, s *Shape) []byte {
	if len(e.attrs) == 0 && len(e.children) == 0 && (s == nil || len(s.Fields) == 0) {
		return appendTyped(dst, string(e.text), s)
	}
	if len(e.attrs) == 0 && len(e.children) == 0 && len(e.text) == 0 {
		return append(dst, '{', '}') // the shape says object
	}
	dst = append(dst, '{')
	comma := func(name string) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(appendText(dst, name), ':')
	}
	for _, a := range e.attrs {
		comma(a.Name.Local)
		dst = appendTyped(dst, a.Value, s.field(a.Name.Local))
	}
	if e.pieces > 0 || len(e.children) == 0 && len(e.text) > 0 {
		comma("#text")
		dst = appendTyped(dst, string(e.text), s.field("#text"))
	}
	names, byName := e.group()
	for _, name := range names {
		comma(name)
		same := byName[name]
		dst = same[0].appendMember(dst, same, s.field(name))
	}
	return append(dst, '}')
}

// group gives the children by name, and the names in order.
func (e *element) group() (names []string, byName map[string][]*element) {
	byName = make(map[string][]*element, len(e.children))
	for _, c := range e.children {
		if _, ok := byName[c.name]; !ok {
			names = append(names, c.name)
		}
		byName[c.name] = append(byName[c.name], c)
	}
	return names, byName
}

// appendTyped writes text as the shape's type if it is one, otherwise as text,
// so that a profile can say what is wrong with it.
func appendTyped(dst []byte, text string, s *Shape) []byte {
	if s != nil {
		trimmed := strings.Trim(text, " \t\r\n")
		switch s.Type {
		case "boolean":
			switch trimmed {
			case "true", "1":
				return append(dst, "true"...)
			case "false", "0":
				return append(dst, "false"...)
			}
		case "number", "integer":
			if n, ok := number(trimmed); ok {
				return append(dst, n...)
			}
		}
	}
	return appendText(dst, text)
}

// number gives the decimal or double of XML Schema as a JSON number: the same
// digits, without what JSON does not have (+5, 007, .5, 5.).
func number(s string) (string, bool) {
	rest := strings.TrimPrefix(s, "+")
	rest, negative := strings.CutPrefix(rest, "-")
	if negative && s[0] == '+' {
		return "", false
	}
	mantissa, exponent, scientific := rest, "", false
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		mantissa, exponent, scientific = rest[:i], rest[i:], true
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole == "" && fraction == "" {
		return "", false
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	out := whole
	if negative {
		out = "-" + whole
	}
	if fraction != "" {
		out += "." + fraction
	}
	if scientific {
		out += exponent
	}
	c := checker{b: []byte(out)}
	return out, c.number(0) == len(out)
}

// latin1 is the xml.Decoder's CharsetReader.
func latin1(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf-8", "us-ascii":
		return in, nil
	case "iso-8859-1", "latin1", "iso_8859-1":
		b, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		out := make([]byte, 0, len(b)+len(b)/8)
		for _, ch := range b {
			out = utf8.AppendRune(out, rune(ch))
		}
		return bytes.NewReader(out), nil
	}
	return nil, &SyntaxError{Msg: "the charset " + clip(charset) + " is not accepted: send UTF-8"}
}
