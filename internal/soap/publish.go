package soap

import (
	"bytes"
	"encoding/xml"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"valence/internal/convert"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// published is a file that callers may read. Its links lead to the other files,
// and its addresses to the listener.
type published struct {
	query  string // such as xsd=1
	pieces []piece
}

// piece is text with a URL after it.
type piece struct {
	text  []byte
	query string // of the URL
	last  bool   // no URL follows
}

// publish sets the files of a service.
func (s *Service) publish(d *wsdl.Definition) {
	links := map[string]string{}
	for i, f := range d.Files {
		links[f.Name] = "wsdl=" + strconv.Itoa(i)
	}
	links[d.Files[0].Name] = "wsdl"
	for i, f := range d.Imports {
		if _, ok := links[f.Name]; !ok {
			links[f.Name] = "xsd=" + strconv.Itoa(i+1)
		}
	}
	for _, f := range slices.Concat(d.Files, d.Imports) {
		s.files = append(s.files, &published{links[f.Name], s.pieces(f, links)})
	}
}

// location is an attribute value of a file.
type location struct {
	start, end int
	query      string
}

// pieces splits a file at its links and addresses.
func (s *Service) pieces(f *xsd.File, links map[string]string) []piece {
	var found []location
	link := func(e *convert.Element, attr string) {
		if query, ok := links[path.Join(path.Dir(f.Name), e.Attr(attr))]; ok && e.Attr(attr) != "" {
			if start, end, ok := attribute(f.Content, e.Offset, attr); ok {
				found = append(found, location{start, end, query})
			}
		}
	}
	var visit func(e *convert.Element)
	visit = func(e *convert.Element) {
		switch e.Name {
		case xml.Name{Space: wsdl.Namespace, Local: "import"}:
			link(e, "location")
		case xml.Name{Space: xsd.Namespace, Local: "import"}, xml.Name{Space: xsd.Namespace, Local: "include"}:
			link(e, "schemaLocation")
		case xml.Name{Space: wsdl.Namespace, Local: "port"}:
			if a := s.address(e); a != nil {
				if start, end, ok := attribute(f.Content, a.Offset, "location"); ok {
					found = append(found, location{start, end, ""})
				}
			}
		}
		for _, c := range e.Children {
			visit(c)
		}
	}
	visit(f.Root)
	var all []piece
	at := 0
	for _, l := range found {
		all = append(all, piece{text: f.Content[at:l.start], query: l.query})
		at = l.end
	}
	return append(all, piece{text: f.Content[at:], last: true})
}

// address returns the address of a port that is served, or nil.
func (s *Service) address(port *convert.Element) *convert.Element {
	name, of := port.Attr("name"), port.Parent.Attr("name")
	if !slices.ContainsFunc(s.ports, func(p *wsdl.Port) bool { return p.Name == name && p.Service == of }) {
		return nil
	}
	for _, c := range port.Children {
		if c.Name.Local == "address" && c.Name.Space != wsdl.Namespace {
			return c
		}
	}
	return nil
}

// attribute returns the position of an attribute's value in the start tag at an
// offset. The text is well-formed.
func attribute(text []byte, offset int, name string) (start, end int, ok bool) {
	const space = " \t\r\n"
	i := offset
	for i < len(text) && !strings.ContainsRune(space+"/>", rune(text[i])) {
		i++
	}
	for i < len(text) && text[i] != '>' {
		if strings.ContainsRune(space+"/", rune(text[i])) {
			i++
			continue
		}
		equals := bytes.IndexByte(text[i:], '=')
		if equals < 0 {
			return 0, 0, false
		}
		key := strings.TrimRight(string(text[i:i+equals]), space)
		quote := i + equals + 1 + bytes.IndexAny(text[i+equals+1:], `"'`)
		if quote <= i+equals {
			return 0, 0, false
		}
		length := bytes.IndexByte(text[quote+1:], text[quote])
		if length < 0 {
			return 0, 0, false
		}
		if start, end = quote+1, quote+1+length; key == name {
			return start, end, true
		}
		i = end + 1
	}
	return 0, 0, false
}

// Described reports whether a query asks for the WSDL or for one of its schemas.
func Described(query url.Values) bool {
	_, asked := describedFile(query)
	return asked
}

// describedFile returns the file that a query asks for.
func describedFile(query url.Values) (string, bool) {
	for key, values := range query {
		switch kind := strings.ToLower(key); kind {
		case "wsdl", "xsd":
			if values[0] != "" {
				kind += "=" + values[0]
			}
			return kind, true
		}
	}
	return "", false
}

// Describe returns the file that a query asks for. base is the URL of the
// listener. It returns false if there is no such file.
func (s *Service) Describe(query url.Values, base string) ([]byte, bool) {
	name, _ := describedFile(query)
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(base)) // a buffer does not fail
	for _, f := range s.files {
		if f.query != name {
			continue
		}
		var b bytes.Buffer
		for _, p := range f.pieces {
			if b.Write(p.text); p.last {
				break
			}
			if b.Write(escaped.Bytes()); p.query != "" {
				b.WriteString("?" + p.query)
			}
		}
		return b.Bytes(), true
	}
	return nil, false
}
