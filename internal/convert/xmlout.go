package convert

import (
	"bytes"
	"context"
	"encoding/xml"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// JSONToXML converts a data view to an XML document, the inverse of XMLToJSON.
// "@name" members become attributes, "#text" the text of the element; lists
// repeat the element, and null and "" become an empty element. If root is
// empty, data must be an object whose only key is the root element. Otherwise
// data is the content of an element called root.
//
// A prefix that no member declares is declared on the root element if ns has
// it. Values that XML cannot represent are errors with a pointer: invalid names,
// other undeclared prefixes, control characters, and a list within a list.
func JSONToXML(ctx context.Context, data string, root string, ns Namespaces) ([]byte, error) {
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	w := &xmlWriter{prefixes: map[string]int{}, known: ns, meter: newMeter(ctx, len(data))}
	defer w.meter.finish()
	w.out.Grow(len(data) + 64)
	w.out.WriteString(xml.Header)
	if root != "" {
		if v.kind() == jsonArray {
			return nil, pathError(nil, "a list cannot be the content of <%s>: name its elements, such as { line: [...] }", root)
		}
		err = w.element(root, v)
	} else {
		err = w.root(v)
	}
	if err != nil {
		return nil, err
	}
	w.out.WriteByte('\n')
	return w.declareUsed()
}

// Namespaces maps prefixes to namespaces.
type Namespaces map[string]string

type xmlWriter struct {
	out      bytes.Buffer
	path     []string       // keys that lead to the current value
	prefixes map[string]int // how many open elements declare a prefix
	known    Namespaces     // declared on the root element if they are used
	used     []string       // prefixes of known, in the order of their first use
	rootEnd  int            // offset in out of the end of the root element's name; 0 before it is written
	meter    *meter
}

// declareUsed returns the document with the namespaces that it uses declared on
// its root element.
func (w *xmlWriter) declareUsed() ([]byte, error) {
	if len(w.used) == 0 {
		return w.out.Bytes(), nil
	}
	rest := bytes.Clone(w.out.Bytes()[w.rootEnd:])
	w.out.Truncate(w.rootEnd)
	for _, prefix := range w.used {
		w.path = w.path[:0]
		if err := w.attribute("xmlns:"+prefix, w.known[prefix]); err != nil {
			return nil, err
		}
	}
	w.out.Write(rest)
	return w.out.Bytes(), nil
}

func (w *xmlWriter) fail(format string, args ...any) error {
	return pathError(w.path, format, args...)
}

func (w *xmlWriter) root(v value) error {
	const want = "XML needs one root element: an object with one key, or a name for the root"
	if v.kind() != jsonObject {
		return w.fail(want)
	}
	n := 0
	if err := v.each(func(string, value) error { n++; return nil }); err != nil || n != 1 {
		return w.fail(want)
	}
	return v.each(func(name string, content value) error {
		w.path = append(w.path, name)
		if content.kind() == jsonArray {
			return w.fail("a list cannot be the root element of XML")
		}
		return w.element(name, content)
	})
}

// element writes one element. content is not a list.
func (w *xmlWriter) element(name string, content value) error {
	if err := w.meter.wrote(w.out.Len() + 2*len(name)); err != nil {
		return err
	}
	if content.kind() != jsonObject {
		if err := w.qname(name); err != nil {
			return err
		}
		text := content.text()
		w.write("<", name)
		w.named()
		if text == "" {
			w.write("/>")
			return nil
		}
		w.write(">")
		if err := w.text(text); err != nil {
			return err
		}
		w.write("</", name, ">")
		return nil
	}
	declared, err := w.declare(content)
	if err != nil {
		return err
	}
	defer func() {
		for _, prefix := range declared {
			w.prefixes[prefix]--
		}
	}()
	if err := w.qname(name); err != nil {
		return err
	}
	w.write("<", name)
	w.named()
	empty := true
	err = content.each(func(key string, v value) error {
		attr, ok := strings.CutPrefix(key, "@")
		if !ok {
			empty = empty && v.kind() == jsonArray && v.empty()
			return nil
		}
		return w.under(key, func() error {
			if k := v.kind(); k == jsonObject || k == jsonArray {
				return w.fail("an attribute must be text, not a list or an object")
			}
			return w.attribute(attr, v.text())
		})
	})
	if err != nil {
		return err
	}
	if empty {
		w.write("/>")
		return nil
	}
	w.write(">")
	err = content.each(func(key string, v value) error {
		if strings.HasPrefix(key, "@") {
			return nil
		}
		return w.under(key, func() error { return w.member(key, v) })
	})
	w.write("</", name, ">")
	return err
}

// named records the end of the root element's name.
func (w *xmlWriter) named() {
	if w.rootEnd == 0 {
		w.rootEnd = w.out.Len()
	}
}

func (w *xmlWriter) member(key string, v value) error {
	if key == "#text" {
		if k := v.kind(); k == jsonObject || k == jsonArray {
			return w.fail("#text must be text, not a list or an object")
		}
		return w.text(v.text())
	}
	if v.kind() != jsonArray {
		return w.element(key, v)
	}
	return v.each(func(_ string, e value) error {
		if e.kind() == jsonArray {
			return w.fail("XML cannot represent a list within a list: put an object between them")
		}
		return w.element(key, e)
	})
}

func (w *xmlWriter) attribute(name, text string) error {
	if err := w.qname(name); err != nil {
		return err
	}
	w.write(" ", name, `="`)
	if err := w.text(text); err != nil {
		return err
	}
	w.write(`"`)
	return nil
}

// declare records and returns the prefixes declared by the element's
// "@xmlns:…" members.
func (w *xmlWriter) declare(content value) (declared []string, err error) {
	err = content.each(func(key string, v value) error {
		if prefix, ok := strings.CutPrefix(key, "@xmlns:"); ok {
			if v.kind() != jsonText || v.text() == "" || prefix == "xmlns" {
				return w.under(key, func() error { return w.fail("the declaration of a prefix must be the text of a namespace") })
			}
			declared = append(declared, prefix)
			w.prefixes[prefix]++
		}
		return nil
	})
	return declared, err
}

// under calls f with key appended to the path.
func (w *xmlWriter) under(key string, f func() error) error {
	w.path = append(w.path, key)
	err := f()
	if err == nil {
		w.path = w.path[:len(w.path)-1]
	}
	return err
}

// qname checks a name (Namespaces in XML 1.0, production 7).
func (w *xmlWriter) qname(name string) error {
	prefix, local, prefixed := strings.Cut(name, ":")
	if !prefixed {
		prefix, local = "", name
	}
	if !IsXMLName(local) || prefixed && !IsXMLName(prefix) {
		return w.fail("%q is not a valid XML name: a name starts with a letter or _ and contains letters, digits, - . _", clip(name))
	}
	if !prefixed || prefix == "xml" || prefix == "xmlns" {
		return nil
	}
	if w.prefixes[prefix] > 0 || slices.Contains(w.used, prefix) {
		return nil
	}
	if w.known[prefix] != "" {
		w.used = append(w.used, prefix)
		return nil
	}
	return w.fail(`the prefix %q is not declared: add a member "@xmlns:%s" with its namespace, or a profile whose `+"`namespaces:`"+` have it`, prefix, prefix)
}

// IsXMLName reports whether s is a name without a prefix (Namespaces in XML 1.0,
// production 4).
func IsXMLName(s string) bool {
	for i, r := range s {
		letter := r == '_' || unicode.IsLetter(r)
		if !letter && (i == 0 || r != '-' && r != '.' && r != '·' && !unicode.IsDigit(r) && !unicode.Is(unicode.M, r)) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// text writes character data that reads back as the same text, in elements and
// in attributes.
func (w *xmlWriter) text(s string) error {
	b, bad := AppendXML(w.out.AvailableBuffer(), s)
	if bad >= 0 {
		return w.fail("XML cannot contain the character %U", bad)
	}
	w.out.Write(b)
	return nil
}

// AppendXML appends character data that reads back as the same text, in elements
// and in attributes. Its second result is the first character that XML cannot
// contain, or -1.
func AppendXML(dst []byte, s string) ([]byte, rune) {
	start := 0
	for i, r := range s {
		var escape string
		switch r {
		case '&':
			escape = "&amp;"
		case '<':
			escape = "&lt;"
		case '>':
			escape = "&gt;"
		case '"':
			escape = "&quot;"
		case '\r':
			escape = "&#13;"
		case '\n':
			escape = "&#10;"
		case '\t':
			escape = "&#9;"
		default:
			if r < 0x20 || r == 0xFFFE || r == 0xFFFF {
				return dst, r
			}
			continue
		}
		dst = append(append(dst, s[start:i]...), escape...)
		start = i + 1
	}
	return append(dst, s[start:]...), -1
}

func (w *xmlWriter) write(parts ...string) {
	for _, p := range parts {
		w.out.WriteString(p)
	}
}
