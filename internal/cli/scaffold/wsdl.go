package scaffold

import (
	"context"
	"errors"
	"path"
	"strings"

	"valence/internal/fault"
	"valence/internal/soap"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// WSDL returns the files of a project for the WSDL with a name: processes that
// call its operations, or a process that offers them. read returns the content
// of files in the folder of the WSDL. The error is of type fault.Problems if the
// WSDL has problems.
func WSDL(ctx context.Context, name, as string, read func(name string) ([]byte, bool)) (files []File, notes []string, err error) {
	d, problems := wsdl.Read(name, read)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	if len(d.Ports) == 0 {
		return nil, nil, errors.New("the file " + name + " cannot be read")
	}
	b := &wsdlBuilder{ctx: ctx, d: d, file: name, builder: builder{as: as, taken: map[string]bool{}}}
	for _, f := range append(append([]*xsd.File{}, d.Files...), d.Imports...) {
		content, _ := read(f.Name)
		files = append(files, File{f.Name, string(content)})
	}
	b.name = slug(strings.TrimSuffix(path.Base(name), path.Ext(name)), "service")
	if as == AsListener {
		err = b.listener()
	} else {
		b.connection()
	}
	if err != nil {
		return nil, nil, err
	}
	return append(files, b.files()...), b.notes, nil
}

// wsdlBuilder writes the components of a project for a WSDL.
type wsdlBuilder struct {
	builder
	ctx  context.Context
	d    *wsdl.Definition
	file string
}

// connection writes a connection, and a process for each operation that calls it.
func (b *wsdlBuilder) connection() {
	port := b.d.Ports[0]
	text := "connection: " + b.name + "\nconnector: soap\nwsdl: " + flow(b.file) + "\n"
	for _, other := range b.d.Ports[1:] {
		b.note("the port %s.%s: name it with `port:` in connections.yaml", other.Service, other.Name)
	}
	text += "url: ${env." + constant(b.name) + "_URL}"
	if port.Address != "" {
		text += "   # " + strings.Join(strings.Fields(port.Address), " ")
	}
	b.connections = []string{text + "\n# security: { user: me, password: \"${secret." + constant(b.name) + "_PASSWORD}\" }   # WS-Security\n"}
	for _, op := range port.Operations {
		b.call(op)
	}
}

func (b *wsdlBuilder) call(op *wsdl.Operation) {
	process, called := b.unique(slug(op.Name, "call")), b.name+"."+op.Name
	text := "process: " + process + "\n"
	if op.Doc != "" {
		text += "description: " + quoted(op.Doc) + "\n"
	}
	b.processes = append(b.processes, text+"steps:\n  - call: "+flow(called)+"\n")
	input, ok := b.sample(op.Input)
	reply, ok2 := b.sample(op.Output)
	if !ok || !ok2 {
		b.note("%s: no document was found that matches the schema, so the process has no test", op.Name)
		return
	}
	mock := "{}"
	if op.Output != nil {
		mock = "{ reply: " + reply + " }"
	}
	b.tests = append(b.tests, "test: "+process+" calls the service\ntarget: "+process+"\ninput: "+input+"\nmocks: { "+flow(called)+": "+mock+" }\nexpect:\n  calls: [ { "+flow(called)+": { body: "+input+" } } ]\n")
}

// sample returns a document for a message that matches its schema.
func (b *wsdlBuilder) sample(m *wsdl.Message) (string, bool) {
	if m == nil || m.Body == nil {
		return "{}", true
	}
	data, complete := b.d.Schemas.Sample(b.ctx, m.Body)
	return string(data), complete && !strings.Contains(string(data), "${")
}

// listener writes a process that offers the operations of a service.
func (b *wsdlBuilder) listener() error {
	service := b.d.Ports[0].Service
	s, err := soap.New(b.d, service, "")
	var wrong *soap.SelectError
	if errors.As(err, &wrong) {
		return fault.Problems{{Pos: fault.Pos{File: b.file}, Msg: wrong.Msg, Hint: wrong.Hint}}
	}
	selected := ""
	for _, p := range b.d.Ports {
		if p.Service != service {
			b.note("the service %s: write another process for it", p.Service)
			selected = ", service: " + flow(service)
		}
	}
	text := "process: " + b.name + "\nlisten:\n  path: /soap/" + b.name + "      # GET with ?wsdl returns the WSDL\n  input: soap\n  service: { wsdl: " + flow(b.file) + selected + " }\n" +
		"  auth: none               # no authentication; an `auth:` with `scheme: wss` reads a UsernameToken\nsteps:\n  - switch: ${request.operation}\n    cases:\n"
	for _, op := range s.Operations {
		text += "      " + flow(op.Name) + ":\n"
		out := b.operation(op.Name).Output
		reply, ok := b.sample(out)
		switch {
		case op.OneWay:
			text += "        - log: " + flow(op.Name+" was called") + "   # the caller gets 202\n"
		case ok:
			text += "        - reply: " + reply + "\n"
		default:
			text += "        - throw: " + flow(op.Name+" is not written yet") + "\n          code: not_written\n"
		}
		b.testOperation(op.Name, op.OneWay, ok, reply)
	}
	b.processes = []string{text}
	return nil
}

func (b *wsdlBuilder) operation(name string) *wsdl.Operation {
	for _, p := range b.d.Ports {
		if op := p.Operation(name); op != nil {
			return op
		}
	}
	return nil
}

func (b *wsdlBuilder) testOperation(name string, oneWay, answered bool, reply string) {
	input, ok := b.sample(b.operation(name).Input)
	if !ok {
		b.note("%s: no document was found that matches the schema, so the operation has no test", name)
		return
	}
	expect := "{ error: { code: not_written } }"
	switch {
	case oneWay:
		expect = "{ status: completed }"
	case answered:
		expect = "{ reply: " + reply + " }"
	}
	b.tests = append(b.tests, "test: "+flow("the operation "+name)+"\ntarget: "+b.name+"\nrequest: { operation: "+flow(name)+" }\ninput: "+input+"\nexpect: "+expect+"\n")
}
