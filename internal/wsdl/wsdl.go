// Package wsdl reads WSDL 1.1 with bindings for SOAP 1.1 and 1.2: the services,
// ports and operations, and the schemas of their messages. It reads files of the
// project only.
package wsdl

import "valence/internal/xsd"

// The namespaces of WSDL.
const (
	Namespace = "http://schemas.xmlsoap.org/wsdl/"
	soap11    = "http://schemas.xmlsoap.org/wsdl/soap/"
	soap12    = "http://schemas.xmlsoap.org/wsdl/soap12/"
)

// Version is a version of SOAP.
type Version string

// The versions of SOAP.
const (
	SOAP11 Version = "1.1"
	SOAP12 Version = "1.2"
)

// The styles of operations.
const (
	Document = "document"
	RPC      = "rpc"
)

// Definition is a WSDL with the files that it imports.
type Definition struct {
	Files   []*xsd.File // the WSDL first
	Imports []*xsd.File // the schemas that they import or include
	Ports   []*Port     // with a SOAP binding, in the order of the file
	Schemas *xsd.Set
}

// Port is a port of a service.
type Port struct {
	Service    string
	Name       string
	Address    string
	Version    Version
	Operations []*Operation
}

// Operation returns the operation called name, or nil.
func (p *Port) Operation(name string) *Operation {
	for _, op := range p.Operations {
		if op.Name == name {
			return op
		}
	}
	return nil
}

// Operation is an operation of a port.
type Operation struct {
	Name    string
	Doc     string
	Action  string // SOAPAction
	Style   string
	Input   *Message
	Output  *Message // nil if the operation is one-way
	Faults  []*xsd.Element
	Version Version
}

// Message is the content of an envelope.
type Message struct {
	Body    *xsd.Element // nil if the body is empty
	Headers []*xsd.Element
}

// Port returns the port with a name, as `port` or `service.port`. The empty name
// is the first port.
func (d *Definition) Port(name string) *Port {
	for _, p := range d.Ports {
		if name == "" || p.Name == name || p.Service+"."+p.Name == name {
			return p
		}
	}
	return nil
}

// PortNames returns the names of the ports.
func (d *Definition) PortNames() []string {
	names := make([]string, len(d.Ports))
	for i, p := range d.Ports {
		names[i] = p.Name
	}
	return names
}
