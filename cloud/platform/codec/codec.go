// Package codec reads and writes the bodies of the platform API in JSON and XML.
// Both formats are read into the same tree, so one place decides which fields
// clients may omit, add or write as strings.
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

// Format is the encoding of a body.
type Format int

// The formats of the API.
const (
	JSON Format = iota
	XML
	Plain // a token in the body of queryMore
)

// MediaType returns the Content-Type of the format.
func (f Format) MediaType() string {
	switch f {
	case XML:
		return "application/xml"
	case Plain:
		return "text/plain"
	}
	return "application/json"
}

// Of returns the format of a Content-Type. It reports false for formats that the
// API does not support. An empty Content-Type means XML, as in the public API.
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

// Sniff returns the format of a body by its first character, because some
// clients send JSON with the Content-Type of a form.
func Sniff(body []byte, declared Format) Format {
	switch s := strings.TrimLeft(string(body[:min(len(body), 64)]), "\ufeff \t\r\n"); {
	case strings.HasPrefix(s, "{"):
		return JSON
	case strings.HasPrefix(s, "<"):
		return XML
	}
	return declared
}

// Accept returns the format of the response: the supported format that the
// header prefers, otherwise the format of the request.
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

// Limits of request bodies.
const (
	MaxDepth = 64
	MaxNodes = 20_000
)

// ErrTooBig reports a body with too many or too deeply nested elements.
var ErrTooBig = errors.New("the body has too many elements or is nested too deep")

// Node is one element of a body: text, or elements by name. XML attributes are
// elements too, so JSON and XML yield the same tree.
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

// All returns the elements with a name. The receiver may be nil.
func (n *Node) All(name string) []*Node {
	if n == nil {
		return nil
	}
	return n.kids[name]
}

// Get returns the first element at a path of names, or nil.
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

// Has reports whether an element exists.
func (n *Node) Has(name string) bool { return len(n.All(name)) > 0 }

// String returns the text of an element, or "" if it is missing.
func (n *Node) String(name string) string {
	all := n.All(name)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Text // the last: a long is written ["Long", 5]
}

// Strings returns the texts of all elements with a name.
func (n *Node) Strings(name string) []string {
	var out []string
	for _, k := range n.All(name) {
		out = append(out, k.Text)
	}
	return out
}

// Bool returns a boolean, which may be written as a string.
func (n *Node) Bool(name string, or bool) (bool, error) {
	s := strings.TrimSpace(n.String(name))
	if s == "" {
		return or, nil
	}
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, fmt.Errorf("%s must be true or false, got %q", name, clip(s))
	}
	return b, nil
}

// Int returns a whole number, which may be written as a string.
func (n *Node) Int(name string, or int) (int, error) {
	s := strings.TrimSpace(n.String(name))
	if s == "" {
		return or, nil
	}
	i, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s must be a whole number, got %q", name, clip(s))
	}
	return i, nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// Object is an object to encode, with its fields in order.
type Object struct {
	Type   string // "@type" in JSON, the name of the root element in XML
	Fields []Field
}

// Field is one field of an object. Its Value is a string, bool, int, Long,
// time.Time, Millis, []string, *Object or []*Object. Zero times, nil objects,
// empty lists and, unless Keep is set, empty strings are omitted.
type Field struct {
	Name  string
	Value any
	Attr  bool // an attribute in XML
	Typed bool // XML adds xsi:type, because the element's name does not imply the type
	Keep  bool
}

// Long is a number that JSON writes as ["Long", n], as the public API does.
type Long int64

// Time formats: seconds, which scripts parse, and milliseconds in the fields in
// which the public API uses them.
const (
	secondLayout = "2006-01-02T15:04:05Z"
	milliLayout  = "2006-01-02T15:04:05.000Z"
)

// Millis is a time that is written with milliseconds.
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

// text formats a scalar for XML.
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

// Decode decodes a body. An empty body yields an empty node.
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

// Encode encodes an object.
func Encode(o *Object, f Format) []byte {
	if f == XML {
		return encodeXML(o)
	}
	return encodeJSON(o)
}

// Empty reports whether the element contains no elements except @type. The
// receiver may be nil.
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
