package convert

import (
	"bytes"
	"encoding/xml"
	"strings"
	"unicode"
	"unicode/utf8"
)

// JSONToXML writes a data view as an XML document, the other way of XMLToJSON:
// "@name" members become attributes, "#text" the element's text, lists repeat
// the element, null and "" become an empty element. With root "", data must be
// an object whose one key is the root element; otherwise data is the content
// of an element of that name.
//
// What XML cannot hold is an error with the pointer to the value: names that
// are none in XML, prefixes nobody declares, control characters, a list inside
// a list.
func JSONToXML(data string, root string) ([]byte, error) {
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	w := &xmlWriter{}
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
	return w.out.Bytes(), nil
}

type xmlWriter struct {
	out      bytes.Buffer
	path     []string // of keys, to the value being written
	prefixes []string // declared on the open elements
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

// element writes one element; content is no list.
func (w *xmlWriter) element(name string, content value) error {
	if content.kind() != jsonObject {
		if err := w.qname(name); err != nil {
			return err
		}
		text := content.text()
		if text == "" {
			w.write("<", name, "/>")
			return nil
		}
		w.write("<", name, ">")
		if err := w.text(text); err != nil {
			return err
		}
		w.write("</", name, ">")
		return nil
	}
	declared := len(w.prefixes)
	defer func() { w.prefixes = w.prefixes[:declared] }()
	if err := w.declare(content); err != nil {
		return err
	}
	if err := w.qname(name); err != nil {
		return err
	}
	w.write("<", name)
	empty := true
	err := content.each(func(key string, v value) error {
		attr, ok := strings.CutPrefix(key, "@")
		if !ok {
			empty = empty && v.kind() == jsonArray && v.empty()
			return nil
		}
		return w.under(key, func() error { return w.attribute(attr, v) })
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
			return w.fail("XML has no list inside a list: put an object between them")
		}
		return w.element(key, e)
	})
}

func (w *xmlWriter) attribute(name string, v value) error {
	if k := v.kind(); k == jsonObject || k == jsonArray {
		return w.fail("an attribute must be text, not a list or an object")
	}
	if err := w.qname(name); err != nil {
		return err
	}
	w.write(" ", name, `="`)
	if err := w.text(v.text()); err != nil {
		return err
	}
	w.write(`"`)
	return nil
}

// declare notes the prefixes that the element's "@xmlns:…" members declare.
func (w *xmlWriter) declare(content value) error {
	return content.each(func(key string, v value) error {
		if prefix, ok := strings.CutPrefix(key, "@xmlns:"); ok {
			if v.kind() != jsonText || v == `""` || prefix == "xmlns" {
				return w.under(key, func() error { return w.fail("a prefix must be declared as the text of a namespace") })
			}
			w.prefixes = append(w.prefixes, prefix)
		}
		return nil
	})
}

// under runs f one key further down the path.
func (w *xmlWriter) under(key string, f func() error) error {
	w.path = append(w.path, key)
	err := f()
	if err == nil {
		w.path = w.path[:len(w.path)-1]
	}
	return err
}

// qname checks a name: Namespaces in XML 1.0, production 7.
func (w *xmlWriter) qname(name string) error {
	prefix, local, prefixed := strings.Cut(name, ":")
	if !prefixed {
		prefix, local = "", name
	}
	if !ncName(local) || prefixed && !ncName(prefix) {
		return w.fail("%q is not a name in XML: a name starts with a letter or _ and has letters, digits, - . _", clip(name))
	}
	if !prefixed || prefix == "xml" || prefix == "xmlns" {
		return nil
	}
	for _, p := range w.prefixes {
		if p == prefix {
			return nil
		}
	}
	return w.fail(`the prefix %q is not declared: add a member "@xmlns:%s" with its namespace`, prefix, prefix)
}

func ncName(s string) bool {
	for i, r := range s {
		letter := r == '_' || unicode.IsLetter(r)
		if !letter && (i == 0 || r != '-' && r != '.' && r != '·' && !unicode.IsDigit(r) && !unicode.Is(unicode.M, r)) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// text writes character data that reads back as the same text, in elements
// and in attributes.
func (w *xmlWriter) text(s string) error {
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
				return w.fail("XML cannot hold the character %U", r)
			}
			continue
		}
		w.out.WriteString(s[start:i])
		w.out.WriteString(escape)
		start = i + 1
	}
	w.out.WriteString(s[start:])
	return nil
}

func (w *xmlWriter) write(parts ...string) {
	for _, p := range parts {
		w.out.WriteString(p)
	}
}

// empty reports whether an array or object has no members.
func (v value) empty() bool { return v[skipSpace(v, 1)] == ']' || v[skipSpace(v, 1)] == '}' }
