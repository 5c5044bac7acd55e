package codec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const schemaInstance = "http://www.w3.org/2001/XMLSchema-instance"

// decodeXML decodes one XML element and ignores prefixes and namespaces, because
// clients vary. Document types, and with them entities, are rejected, so a body
// can neither expand nor refer to external resources.
func decodeXML(body []byte) (*Node, error) {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, fmt.Errorf("the encoding %s is not supported: send UTF-8", charset)
	}
	var (
		root  *Node
		stack []*Node
		texts [][]byte // of the elements in stack, grown because comments split text into pieces
		nodes int
	)
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the body is not XML: %w", err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return nil, errors.New("document types are not accepted")
		case xml.StartElement:
			n := &Node{Name: t.Name.Local}
			nodes += 1 + len(t.Attr)
			if nodes > MaxNodes || len(stack) >= MaxDepth {
				return nil, ErrTooBig
			}
			for _, a := range t.Attr {
				switch {
				case a.Name.Space == "xmlns" || a.Name.Local == "xmlns":
				case a.Name.Space == schemaInstance || a.Name.Space == "xsi":
					n.Add("@"+a.Name.Local, &Node{Text: a.Value})
				default:
					n.Add(a.Name.Local, &Node{Text: a.Value})
				}
			}
			switch {
			case len(stack) > 0:
				stack[len(stack)-1].Add(n.Name, n)
			case root != nil:
				return nil, errors.New("the body has more than one root element")
			default:
				root = n
			}
			stack, texts = append(stack, n), append(texts, nil)
		case xml.EndElement:
			top := len(stack) - 1
			n := stack[top]
			if n.Text = string(texts[top]); len(n.kids) > 0 {
				n.Text = strings.TrimSpace(n.Text)
			}
			stack, texts = stack[:top], texts[:top]
		case xml.CharData:
			if len(stack) > 0 {
				texts[len(texts)-1] = append(texts[len(texts)-1], t...)
			}
		}
	}
	if root == nil {
		return nil, errors.New("the body has no elements")
	}
	return root, nil
}

// encodeXML encodes an object with the prefix bns, as the public API does,
// because some clients search for that text.
func encodeXML(o *Object) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n")
	writeXML(&b, o.Type, o, ` xmlns:bns="`+Namespace+`" xmlns:xsi="`+schemaInstance+`"`)
	b.WriteByte('\n')
	return b.Bytes()
}

func writeXML(b *bytes.Buffer, name string, o *Object, extra string) {
	b.WriteString("<bns:" + name + extra)
	for _, f := range o.Fields {
		if f.Attr && !f.omitted() {
			b.WriteString(" " + f.Name + `="`)
			escape(b, text(f.Value))
			b.WriteByte('"')
		}
	}
	start := b.Len()
	b.WriteByte('>')
	for _, f := range o.Fields {
		if !f.Attr && !f.omitted() {
			writeXMLField(b, f)
		}
	}
	if b.Len() == start+1 {
		b.Truncate(start)
		b.WriteString("/>")
		return
	}
	b.WriteString("</bns:" + name + ">")
}

func writeXMLField(b *bytes.Buffer, f Field) {
	one := func(o *Object) {
		extra := ""
		if f.Typed && o.Type != "" {
			extra = ` xsi:type="bns:` + o.Type + `"`
		}
		writeXML(b, f.Name, o, extra)
	}
	plain := func(s string) {
		b.WriteString("<bns:" + f.Name + ">")
		escape(b, s)
		b.WriteString("</bns:" + f.Name + ">")
	}
	switch v := f.Value.(type) {
	case *Object:
		one(v)
	case []*Object:
		for _, o := range v {
			one(o)
		}
	case []string:
		for _, s := range v {
			plain(s)
		}
	default:
		plain(text(v))
	}
}

// escape writes text; characters that XML cannot contain become U+FFFD.
func escape(b *bytes.Buffer, s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	_ = xml.EscapeText(b, []byte(s)) // writing to a buffer cannot fail
}
