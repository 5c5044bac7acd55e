package wsdl

import (
	"encoding/xml"
	"strings"

	"valence/internal/convert"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/xsd"
)

// Read reads the WSDL with a name and everything that it imports.
func Read(name string, files xsd.Files) (*Definition, fault.Problems) {
	d := &Definition{}
	r := &reader{Reader: xsd.NewReader(files), d: d, loaded: map[string]bool{},
		messages: map[xml.Name]*part{}, portTypes: map[xml.Name]*part{}, bindings: map[xml.Name]*part{}}
	r.file(name)
	if len(d.Files) == 0 {
		return d, r.Problems()
	}
	d.Schemas, d.Imports = r.Build(), r.SchemaFiles()
	for _, s := range r.services {
		r.service(s)
	}
	if len(d.Ports) == 0 && len(r.Problems()) == 0 {
		r.Problem(d.Files[0], d.Files[0].Root, "the WSDL has no service with a port for SOAP over HTTP", "add a service with a port whose binding is for SOAP 1.1 or 1.2")
	}
	return d, r.Problems()
}

// part is an element of a file.
type part struct {
	file *xsd.File
	e    *convert.Element
}

type reader struct {
	*xsd.Reader
	d         *Definition
	loaded    map[string]bool
	messages  map[xml.Name]*part
	portTypes map[xml.Name]*part
	bindings  map[xml.Name]*part
	services  []*part
}

func wsdlName(local string) xml.Name { return xml.Name{Space: Namespace, Local: local} }

func (r *reader) file(name string) {
	if r.loaded[name] {
		return
	}
	r.loaded[name] = true
	f := r.Open(name)
	if f == nil {
		return
	}
	if f.Root.Name != wsdlName("definitions") {
		hint := "name a file with a root element <definitions> of WSDL 1.1"
		if f.Root.Name.Space == "http://www.w3.org/ns/wsdl" {
			hint = "WSDL 2.0 is not supported: ask the provider for WSDL 1.1"
		}
		r.Problem(f, f.Root, "this is no WSDL: its root element is <"+spec.Clip(f.Root.Name.Local)+">", hint)
		return
	}
	r.d.Files = append(r.d.Files, f)
	target := f.Root.Attr("targetNamespace")
	for _, e := range f.Root.Children {
		if e.Name.Space != Namespace {
			continue
		}
		name := xml.Name{Space: target, Local: e.Attr("name")}
		p := &part{f, e}
		switch e.Name.Local {
		case "import":
			r.imported(f, e)
		case "types":
			for _, s := range e.Children {
				if s.Name == (xml.Name{Space: xsd.Namespace, Local: "schema"}) {
					r.Add(f, s)
				}
			}
		case "message":
			r.messages[name] = p
		case "portType":
			r.portTypes[name] = p
		case "binding":
			r.bindings[name] = p
		case "service":
			r.services = append(r.services, p)
		}
	}
}

// imported reads a WSDL or a schema that a WSDL imports.
func (r *reader) imported(f *xsd.File, e *convert.Element) {
	full, ok := r.Locate(f, e, e.Attr("location"))
	if !ok {
		return
	}
	if strings.HasSuffix(strings.ToLower(full), ".xsd") {
		r.AddFile(full, "")
		return
	}
	r.file(full)
}

// find returns a component by the name in an attribute.
func (r *reader) find(p *part, attr string, in map[xml.Name]*part) *part {
	text := p.e.Attr(attr)
	name, ok := p.e.QName(text)
	if ok && in[name] != nil {
		return in[name]
	}
	var known []string
	for n := range in {
		known = append(known, n.Local)
	}
	hint := "declare it, or import the file that does"
	if near := spec.Nearest(name.Local, known); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	if attr == "type" {
		attr = "portType"
	}
	r.Problem(p.file, p.e, "the WSDL has no "+attr+" `"+spec.Clip(text)+"`", hint)
	return nil
}

// child returns the extension element of SOAP below an element, and its version.
func child(e *convert.Element, local string) (*convert.Element, Version) {
	for _, c := range e.Children {
		if c.Name.Local == local && c.Name.Space == soap11 {
			return c, SOAP11
		}
		if c.Name.Local == local && c.Name.Space == soap12 {
			return c, SOAP12
		}
	}
	return nil, ""
}

func (r *reader) service(s *part) {
	for _, e := range s.e.Children {
		if e.Name != wsdlName("port") {
			continue
		}
		address, version := child(e, "address")
		if address == nil {
			continue // of another protocol
		}
		p := &Port{Service: s.e.Attr("name"), Name: e.Attr("name"), Address: strings.TrimSpace(address.Attr("location")), Version: version}
		at := &part{s.file, e}
		if b := r.find(at, "binding", r.bindings); b != nil {
			r.binding(p, b)
			r.d.Ports = append(r.d.Ports, p)
		}
	}
}

// httpTransports are the transports that are HTTP.
var httpTransports = map[string]bool{"http://schemas.xmlsoap.org/soap/http": true, "http://www.w3.org/2003/05/soap/bindings/HTTP/": true, "": true}

func (r *reader) binding(p *Port, b *part) {
	soap, version := child(b.e, "binding")
	if soap == nil {
		r.Problem(b.file, b.e, "the binding has no soap:binding", "choose another port")
		return
	}
	p.Version = version
	if !httpTransports[soap.Attr("transport")] {
		r.Problem(b.file, soap, "the transport `"+spec.Clip(soap.Attr("transport"))+"` is not supported", "choose a port with SOAP over HTTP")
		return
	}
	portType := r.find(b, "type", r.portTypes)
	if portType == nil {
		return
	}
	for _, e := range b.e.Children {
		if e.Name != wsdlName("operation") {
			continue
		}
		if op := r.operation(p, &part{b.file, e}, portType, soap.Attr("style")); op != nil {
			p.Operations = append(p.Operations, op)
		}
	}
}

// operation reads an operation of a binding.
func (r *reader) operation(p *Port, b, portType *part, style string) *Operation {
	op := &Operation{Name: b.e.Attr("name"), Style: Document, Version: p.Version}
	if style == RPC {
		op.Style = RPC
	}
	if soap, _ := child(b.e, "operation"); soap != nil {
		op.Action = soap.Attr("soapAction")
		if s := soap.Attr("style"); s != "" {
			op.Style = s
		}
	}
	var abstract *convert.Element
	for _, e := range portType.e.Children {
		if e.Name == wsdlName("operation") && e.Attr("name") == op.Name {
			abstract = e
		}
	}
	if abstract == nil {
		r.Problem(b.file, b.e, "the portType has no operation `"+spec.Clip(op.Name)+"`", "add it to the portType, or remove it from the binding")
		return nil
	}
	if doc := abstract.First(wsdlName("documentation")); doc != nil {
		op.Doc = strings.Join(strings.Fields(doc.Text), " ")
	}
	for _, e := range abstract.Children {
		at := &part{portType.file, e}
		switch e.Name {
		case wsdlName("input"):
			op.Input = r.message(op, at, b, op.Name)
		case wsdlName("output"):
			op.Output = r.message(op, at, b, op.Name+"Response")
		case wsdlName("fault"):
			if m := r.find(at, "message", r.messages); m != nil {
				op.Faults = append(op.Faults, r.parts(m, nil, Document)...)
			}
		}
	}
	if op.Input == nil {
		if len(r.Problems()) == 0 {
			r.Problem(portType.file, abstract, "the operation `"+spec.Clip(op.Name)+"` has no input", "notifications are not supported: choose another port")
		}
		return nil
	}
	return op
}

// message reads the message of an input or output, with the parts of the body
// and of the headers as the binding says.
func (r *reader) message(op *Operation, abstract, binding *part, wrapper string) *Message {
	m := r.find(abstract, "message", r.messages)
	if m == nil {
		return nil
	}
	out, bound := &Message{}, binding.e.First(abstract.e.Name)
	headers := map[string]bool{} // parts of this message that are headers
	var body *convert.Element
	if bound != nil {
		body, _ = child(bound, "body")
		for _, h := range bound.Children {
			if h.Name.Local != "header" || h.Name.Space != soap11 && h.Name.Space != soap12 {
				continue
			}
			if of := r.find(&part{binding.file, h}, "message", r.messages); of != nil {
				out.Headers = append(out.Headers, r.parts(of, func(name string) bool { return name == h.Attr("part") }, Document)...)
				if of == m {
					headers[h.Attr("part")] = true
				}
			}
		}
	}
	space := ""
	if body != nil {
		space = body.Attr("namespace")
		if body.Attr("use") == "encoded" {
			r.Problem(binding.file, body, "the operation `"+spec.Clip(op.Name)+"` has use=\"encoded\", which is not supported", "ask the provider for a binding with use=\"literal\", and choose it with `port:`")
			return nil
		}
	}
	parts := r.parts(m, func(name string) bool { return !headers[name] && inBody(body, name) }, op.Style)
	switch {
	case op.Style == RPC:
		out.Body = &xsd.Element{Name: xml.Name{Space: space, Local: wrapper}, Type: xsd.Record(parts)}
	case len(parts) > 1:
		r.Problem(m.file, m.e, "the message has more than one part in the body, which document/literal does not allow", "select one with the attribute `parts` of soap:body")
		return nil
	case len(parts) == 1:
		out.Body = parts[0]
	}
	return out
}

// inBody reports whether soap:body lists a part, or lists none.
func inBody(body *convert.Element, name string) bool {
	if body == nil {
		return true
	}
	list, ok := body.Lookup(xml.Name{Local: "parts"})
	if !ok {
		return true
	}
	for _, p := range strings.Fields(list) {
		if p == name {
			return true
		}
	}
	return false
}

// parts returns the elements of the parts of a message. In the style rpc, parts
// with a type are elements without a namespace.
func (r *reader) parts(m *part, wanted func(name string) bool, style string) (all []*xsd.Element) {
	for _, e := range m.e.Children {
		name := e.Attr("name")
		if e.Name != wsdlName("part") || wanted != nil && !wanted(name) {
			continue
		}
		if e.Attr("element") != "" {
			el, _ := r.Resolve(m.file, e, "element")
			if el == nil {
				continue
			}
			if style == RPC {
				el = &xsd.Element{Name: xml.Name{Local: name}, Type: el.Type, Nillable: el.Nillable}
			}
			all = append(all, el)
			continue
		}
		if style != RPC {
			r.Problem(m.file, e, "the part `"+spec.Clip(name)+"` has a type, but document/literal needs an element", "write element=\"…\" in place of type=\"…\"")
			continue
		}
		_, typ := r.Resolve(m.file, e, "type")
		all = append(all, &xsd.Element{Name: xml.Name{Local: name}, Type: typ})
	}
	return all
}
