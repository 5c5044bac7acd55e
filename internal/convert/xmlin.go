package convert

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

// Shape describes the parts of an XML document's data view that XML leaves
// open: lists that may have a single element, numbers and booleans, and
// namespaces that keep a prefix. Fields are keyed by member name in the data
// view ("@id", "#text", "line"). The only field of the outermost Shape is the
// root element.
type Shape struct {
	List       bool              // a list even with a single element
	Null       bool              // null is allowed: an empty number, or any element with xsi:nil
	Type       string            // of text: "", string, number, integer, boolean
	Fields     map[string]*Shape // members of an object
	Item       *Shape            // elements of a list; if nil, this Shape without List
	Namespaces map[string]string // namespace to prefix; only used on the outermost Shape
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

// XMLToJSON returns the data view of an XML document: an object whose only key
// is the root element. Attributes become "@name" members. Child elements become
// members by name; repeated ones become a list in the place of the first. An
// element that contains only text becomes that text, an empty one "". If it
// contains more than text, its text becomes "#text": the pieces joined, without
// those that are only white space. Namespace prefixes are dropped unless s maps
// them, and so are their declarations. s may be nil.
//
// A document type declaration is rejected, and with it every entity except the
// five of XML itself. b is UTF-8, whatever its declaration says; see Text.
func XMLToJSON(ctx context.Context, b []byte, s *Shape) ([]byte, error) {
	r, err := newXMLReader(ctx, b)
	if err != nil {
		return nil, err
	}
	if s != nil {
		r.prefixes = s.Namespaces
	}
	defer r.meter.finish()
	root, err := r.document()
	if err != nil {
		return nil, err
	}
	if err := r.meter.use(len(b)); err != nil {
		return nil, err
	}
	out := appendText(append(make([]byte, 0, len(b)), '{'), root.name)
	out = root.appendMember(append(out, ':'), []*element{root}, s.field(root.name))
	return append(out, '}'), nil
}

// normalizeAttributes returns b with each line break and tab in the attribute
// values replaced by a space (XML 1.0, section 3.3.3), which the decoder does not
// do. The length stays the same, so that offsets do: a CR LF leaves a space after
// the value. Its second result is the offset of the first start tag with more
// than MaxAttributes attributes, or -1: the decoder collects all attributes
// before it returns the tag.
func normalizeAttributes(b []byte) (_ []byte, crowded int) {
	shared := true
	for at := 0; ; {
		i := bytes.IndexByte(b[at:], '<')
		if i < 0 {
			return b, -1
		}
		at += i
		switch rest := b[at:]; {
		case bytes.HasPrefix(rest, []byte("<!--")):
			at = after(b, at+4, "-->")
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			at = after(b, at+9, "]]>")
		case bytes.HasPrefix(rest, []byte("<?")):
			at = after(b, at+2, "?>")
		default:
			tag, n := at, 0
			for at++; at < len(b) && b[at] != '>'; at++ {
				switch c := b[at]; c {
				case '=':
					if n++; n > MaxAttributes {
						return b, tag
					}
				case '"', '\'':
					start := at + 1
					at = after(b, start, string(c)) - 1
					if value := b[start:max(start, at)]; bytes.ContainsAny(value, "\t\r\n") {
						if shared {
							b, shared = bytes.Clone(b), false
						}
						normalizeValue(b[start:at+1], c)
					}
				}
			}
		}
	}
}

// normalizeValue replaces the line breaks and tabs of an attribute value and its
// closing quote.
func normalizeValue(value []byte, quote byte) {
	end := 0
	for i := 0; i < len(value)-1; i++ {
		c := value[i]
		switch {
		case c == '\r' && value[i+1] == '\n':
			continue
		case c == '\r', c == '\n', c == '\t':
			c = ' '
		}
		value[end] = c
		end++
	}
	value[end] = quote
	for i := end + 1; i < len(value); i++ {
		value[i] = ' '
	}
}

// after returns the offset after the next occurrence of end, or len(b).
func after(b []byte, at int, end string) int {
	if i := bytes.Index(b[at:], []byte(end)); i >= 0 {
		return at + i + len(end)
	}
	return len(b)
}

// schemaInstance is the namespace of xsi:nil (XML Schema, part 1, section 2.6).
const schemaInstance = "http://www.w3.org/2001/XMLSchema-instance"

// element is an element whose end has not been read yet.
type element struct {
	name     string
	attrs    []xml.Attr // the names are the members' names
	text     []byte
	null     bool // xsi:nil="true"
	pieces   int  // pieces of text that are not only white space
	children []*element
	node     *Element // only in a reader with tree
}

type xmlReader struct {
	src      []byte
	d        *xml.Decoder
	prefixes map[string]string
	tree     bool // the elements have nodes
	open     []*element
	count    int
	meter    *meter
}

// Approximate memory of an element and of an attribute, besides their text.
const (
	elementBytes   = 160
	attributeBytes = 96
)

// document reads to the end and returns the root element.
func (r *xmlReader) document() (*element, error) {
	var root *element
	for started := false; ; started = true {
		at := int(r.d.InputOffset())
		tok, err := r.d.Token()
		if errors.Is(err, io.EOF) && len(r.open) == 0 {
			if root == nil {
				return nil, r.fail(at, "the XML has no element")
			}
			return root, nil
		}
		if err != nil {
			return nil, r.broken(at, err)
		}
		if err := r.meter.use(int(r.d.InputOffset()) - at); err != nil {
			return nil, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if len(r.open) == 0 && root != nil {
				return nil, r.fail(at, "second root element <%s>", clip(t.Name.Local))
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
			return nil, r.fail(at, "document type declarations (<!DOCTYPE) are not allowed")
		case xml.ProcInst:
			if t.Target == "xml" && started {
				return nil, r.fail(at, "the XML declaration must be at the very beginning")
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
	size := elementBytes + len(t.Attr)*attributeBytes
	if r.tree {
		size += nodeBytes + len(t.Attr)*nodeAttributeBytes
	}
	if err := r.meter.use(size); err != nil {
		return nil, err
	}
	e := &element{name: r.name(t.Name)}
	var names, members nameSet
	for _, a := range t.Attr {
		if !names.add(a.Name) {
			return nil, r.fail(at, "<%s> has a duplicate attribute %q", clip(t.Name.Local), clip(a.Name.Local))
		}
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		if r.tree {
			continue
		}
		member := xml.Name{Local: "@" + r.name(a.Name)}
		if !members.add(member) {
			return nil, r.fail(at, "<%s> has two attributes %q in different namespaces: map the namespaces to prefixes in the profile", clip(t.Name.Local), clip(a.Name.Local))
		}
		if a.Name.Space == schemaInstance && a.Name.Local == "nil" && (a.Value == "true" || a.Value == "1") {
			e.null = true
		}
		e.attrs = append(e.attrs, xml.Attr{Name: member, Value: a.Value})
	}
	if r.tree {
		e.node = r.node(at, t)
	}
	if n := len(r.open); n > 0 {
		parent := r.open[n-1]
		parent.children = append(parent.children, e)
	}
	r.open = append(r.open, e)
	return e, nil
}

// nameSet is a set of attribute names: a list while there are few of them.
type nameSet struct {
	few  []xml.Name
	many map[xml.Name]struct{}
}

// add reports whether the name is new in the set.
func (s *nameSet) add(name xml.Name) bool {
	if s.many != nil {
		_, known := s.many[name]
		s.many[name] = struct{}{}
		return !known
	}
	if slices.Contains(s.few, name) {
		return false
	}
	if s.few = append(s.few, name); len(s.few) > linearKeys {
		s.many = make(map[xml.Name]struct{}, 4*linearKeys)
		for _, known := range s.few {
			s.many[known] = struct{}{}
		}
	}
	return true
}

func (r *xmlReader) end() {
	e := r.open[len(r.open)-1]
	if e.node != nil {
		e.node.Text = string(e.text)
	}
	r.open = r.open[:len(r.open)-1]
}

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
	return syntaxError(r.src, at, pointer(path), format, args...)
}

// broken converts an error of the decoder to one with a position.
func (r *xmlReader) broken(at int, err error) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return r.fail(max(at, int(r.d.InputOffset())), "%s", clip(syntax.Msg))
	}
	if errors.Is(err, io.EOF) && len(r.open) > 0 {
		return r.fail(at, "unexpected end of XML inside <%s>", clip(r.open[len(r.open)-1].name))
	}
	return r.fail(at, "%s", strings.TrimPrefix(err.Error(), "xml: "))
}

// appendMember appends the elements of one name within one parent: a value or a
// list.
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
	if s != nil && s.Null && len(e.children) == 0 {
		scalar := s.Type == "number" || s.Type == "integer" || s.Type == "boolean"
		if e.null || scalar && len(e.attrs) == 0 && e.pieces == 0 {
			return append(dst, "null"...)
		}
	}
	if len(e.attrs) == 0 && len(e.children) == 0 && (s == nil || len(s.Fields) == 0) {
		return appendTyped(dst, string(e.text), s)
	}
	if len(e.attrs) == 0 && len(e.children) == 0 && e.pieces == 0 {
		return append(dst, '{', '}') // the shape requires an object
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

// group returns the children by name, and the names in order.
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

// appendTyped appends text as the shape's type. Text of another type stays
// text, so that the profile can report it.
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
			if n, ok := XMLNumber(trimmed); ok {
				return append(dst, n...)
			}
		}
	}
	return appendText(dst, text)
}

// XMLNumber converts a decimal or double of XML Schema to a JSON number. It
// preserves the digits but normalizes forms that JSON lacks (+5, 007, .5, 5.).
func XMLNumber(s string) (string, bool) {
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
