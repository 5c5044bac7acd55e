// Package codec reads and writes the bodies of the platform API, each in JSON
// and in XML. Both forms are read into the same tree, so that what a client may
// leave out, add or write as a string is decided in one place.
package codec

import (
	"errors"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"time"
)

// Namespace is the XML namespace of every element.
const Namespace = "http://api.platform.boomi.com/"

// Format is how a body is written.
type Format int

// The formats of the API.
const (
	JSON Format = iota
	XML
	Plain // a token in the body of queryMore
)

// MediaType is what stands in Content-Type.
func (f Format) MediaType() string {
	switch f {
	case XML:
		return "application/xml"
	case Plain:
		return "text/plain"
	}
	return "application/json"
}

// Of gives the format that a Content-Type names, and false where the API does
// not speak it. An empty one is XML, as the public API has it.
func Of(contentType string) (Format, bool) {
	if contentType == "" {
		return XML, true
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, false
	}
	switch {
	case t == "application/json" || strings.HasSuffix(t, "+json"):
		return JSON, true
	case t == "application/xml" || t == "text/xml" || strings.HasSuffix(t, "+xml"):
		return XML, true
	case t == "text/plain" || t == "application/x-www-form-urlencoded":
		return Plain, true
	}
	return 0, false
}

// Sniff tells the format of a body by its first character: clients in the wild
// send JSON under the content type of a form.
func Sniff(body []byte, declared Format) Format {
	switch s := strings.TrimLeft(string(body[:min(len(body), 64)]), "\ufeff \t\r\n"); {
	case strings.HasPrefix(s, "{"):
		return JSON
	case strings.HasPrefix(s, "<"):
		return XML
	}
	return declared
}

// Accept gives the format to answer in: what Accept prefers of what the API
// speaks, otherwise the format of the request.
func Accept(header string, request Format) Format {
	best, quality := Format(-1), 0.0
	for part := range strings.SplitSeq(header, ",") {
		t, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		q := 1.0
		if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = v
		}
		f, ok := Of(t)
		if ok && f != Plain && q > quality {
			best, quality = f, q
		}
	}
	if best >= 0 {
		return best
	}
	if request == Plain {
		return XML
	}
	return request
}

// The bounds of what is read.
const (
	MaxDepth = 64
	MaxNodes = 20_000
)

// ErrTooBig is the cause where a body has more elements, or deeper ones, than are read.
var ErrTooBig = errors.New("the body has too many elements or is nested too deep")

// Node is one element of what was read: a text, or elements by name. An
// attribute of XML is an element; so JSON and XML read the same.
type Node struct {
	Name string
	Text string
	kids map[string][]*Node
}

// Add appends an element.
func (n *Node) Add(name string, kid *Node) {
	if n.kids == nil {
		n.kids = map[string][]*Node{}
	}
	kid.Name = name
	n.kids[name] = append(n.kids[name], kid)
}

// All gives the elements of a name. It may be called on nil.
func (n *Node) All(name string) []*Node {
	if n == nil {
		return nil
	}
	return n.kids[name]
}

// Get gives the first element that a path of names leads to, or nil.
func (n *Node) Get(path ...string) *Node {
	for _, name := range path {
		all := n.All(name)
		if len(all) == 0 {
			return nil
		}
		n = all[0]
	}
	return n
}

// Has reports whether an element is there.
func (n *Node) Has(name string) bool { return len(n.All(name)) > 0 }

// String gives the text of an element, "" where it is missing.
func (n *Node) String(name string) string {
	all := n.All(name)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Text // the last: a long is written ["Long", 5]
}

// Strings gives the texts of all elements of a name.
func (n *Node) Strings(name string) []string {
	var out []string
	for _, k := range n.All(name) {
		out = append(out, k.Text)
	}
	return out
}

// Bool reads a boolean, which may be a string.
func (n *Node) Bool(name string, or bool) (bool, error) {
	s := strings.TrimSpace(n.String(name))
	if s == "" {
		return or, nil
	}
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, fmt.Errorf("%s must be true or false, not %q", name, clip(s))
	}
	return b, nil
}

// Int reads a whole number, which may be a string.
func (n *Node) Int(name string, or int) (int, error) {
	s := strings.TrimSpace(n.String(name))
	if s == "" {
		return or, nil
	}
	i, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s must be a whole number, not %q", name, clip(s))
	}
	return i, nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// Object is what is written: fields in their order.
type Object struct {
	Type   string // "@type", and the name of the root element
	Fields []Field
}

// Field is one field of an object. Its Value is a string, bool, int, Long,
// time.Time, Millis, []string, *Object or []*Object; a zero time, a nil object, an
// empty list and, unless Keep is set, an empty string are left out.
type Field struct {
	Name  string
	Value any
	Attr  bool // an attribute in XML
	Typed bool // XML carries xsi:type: the element's name does not tell what it is
	Keep  bool
}

// Long is a number that JSON writes as ["Long", n], as the public API does.
type Long int64

// How times are written: by the second, which scripts parse, and, where the
// public API does, by the millisecond.
const (
	secondLayout = "2006-01-02T15:04:05Z"
	milliLayout  = "2006-01-02T15:04:05.000Z"
)

// Millis is a time that is written with its milliseconds.
type Millis time.Time

// omitted reports whether a field is left out.
func (f Field) omitted() bool {
	if f.Keep {
		return false
	}
	switch v := f.Value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case time.Time:
		return v.IsZero()
	case []string:
		return len(v) == 0
	case *Object:
		return v == nil
	case []*Object:
		return len(v) == 0
	}
	return false
}

// text is a scalar as it stands in XML.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case Long:
		return strconv.FormatInt(int64(v), 10)
	case time.Time:
		return v.UTC().Format(secondLayout)
	case Millis:
		return time.Time(v).UTC().Format(milliLayout)
	}
	return ""
}

// Decode reads a body. An empty one is an empty node.
func Decode(body []byte, f Format) (*Node, error) {
	switch {
	case len(strings.TrimSpace(string(body))) == 0:
		return &Node{}, nil
	case f == XML:
		return decodeXML(body)
	case f == Plain:
		return &Node{Text: strings.TrimSpace(string(body))}, nil
	}
	return decodeJSON(body)
}

// Encode writes an object.
func Encode(o *Object, f Format) []byte {
	if f == XML {
		return encodeXML(o)
	}
	return encodeJSON(o)
}

// Empty reports whether an element holds no element but @type. It may be called on nil.
func (n *Node) Empty() bool {
	if n == nil {
		return true
	}
	for name := range n.kids {
		if !strings.HasPrefix(name, "@") {
			return false
		}
	}
	return strings.TrimSpace(n.Text) == ""
}
