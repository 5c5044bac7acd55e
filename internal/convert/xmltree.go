package convert

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"strings"

	"valence/internal/budget"
)

// Element is an element of an XML document with its namespaces.
type Element struct {
	Name     xml.Name
	Attrs    []xml.Attr // without declarations of namespaces
	Text     string     // pieces joined; without white space among elements
	Children []*Element
	Parent   *Element
	Offset   int // of the start tag in the document
	prefixes []xml.Attr
}

// XMLTree reads a document as XMLToJSON does, with the same limits, and returns
// its root element. The tree does not count in the budget of the request.
func XMLTree(ctx context.Context, b []byte) (*Element, error) {
	root, reserved, err := ReserveXMLTree(ctx, b)
	budget.From(ctx).Return(reserved)
	return root, err
}

// ReserveXMLTree is like XMLTree, but the memory of the tree stays reserved in the
// budget of the request. The caller returns it when the tree is not used any more.
func ReserveXMLTree(ctx context.Context, b []byte) (root *Element, reserved int, err error) {
	r, err := newXMLReader(ctx, b)
	if err != nil {
		return nil, 0, err
	}
	r.tree = true
	top, err := r.document()
	if err != nil {
		r.meter.finish()
		return nil, 0, err
	}
	return top.node, r.meter.held, nil
}

// Approximate memory of an element and of an attribute of a tree, besides those of
// the reader.
const (
	nodeBytes          = 192
	nodeAttributeBytes = 96
)

func newXMLReader(ctx context.Context, b []byte) (*xmlReader, error) {
	text, crowded := normalizeAttributes(b)
	if crowded >= 0 {
		return nil, syntaxError(b, crowded, "", "an element has more than %d attributes", MaxAttributes)
	}
	r := &xmlReader{src: b, d: xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))), meter: newMeter(ctx, len(b))}
	r.d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	return r, nil
}

// node returns the public form of an element that has been opened.
func (r *xmlReader) node(at int, t xml.StartElement) *Element {
	n := &Element{Name: t.Name, Offset: at}
	if bytes.HasPrefix(r.src, []byte("\xef\xbb\xbf")) {
		n.Offset += 3
	}
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "xmlns":
			n.prefixes = append(n.prefixes, xml.Attr{Name: xml.Name{Local: a.Name.Local}, Value: a.Value})
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			n.prefixes = append(n.prefixes, xml.Attr{Value: a.Value})
		default:
			n.Attrs = append(n.Attrs, a)
		}
	}
	if len(r.open) > 0 {
		n.Parent = r.open[len(r.open)-1].node
		n.Parent.Children = append(n.Parent.Children, n)
	}
	return n
}

// Attr returns the value of an attribute without a namespace, or "".
func (e *Element) Attr(name string) string {
	v, _ := e.Lookup(xml.Name{Local: name})
	return v
}

// Lookup returns the value of an attribute.
func (e *Element) Lookup(name xml.Name) (string, bool) {
	for _, a := range e.Attrs {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// QName resolves a name with an optional prefix, as in the values of attributes,
// by the namespaces that are declared at the element. ok is false if the prefix
// is not declared.
func (e *Element) QName(text string) (name xml.Name, ok bool) {
	text = strings.Trim(text, " \t\r\n")
	prefix, local, found := strings.Cut(text, ":")
	if !found {
		prefix, local = "", text
	}
	if prefix == "xml" {
		return xml.Name{Space: "http://www.w3.org/XML/1998/namespace", Local: local}, true
	}
	for at := e; at != nil; at = at.Parent {
		for _, p := range at.prefixes {
			if p.Name.Local == prefix {
				return xml.Name{Space: p.Value, Local: local}, true
			}
		}
	}
	return xml.Name{Local: local}, prefix == ""
}

// First returns the first child element with a name, or nil.
func (e *Element) First(name xml.Name) *Element {
	for _, c := range e.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Position returns the line and the column of an offset in a document, both
// counted from 1.
func Position(b []byte, offset int) (line, col int) {
	at := syntaxError(b, offset, "", "")
	return at.Line, at.Col
}
