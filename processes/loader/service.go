package loader

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"

	"gopkg.in/yaml.v3"

	"valence/internal/soap"
	"valence/internal/spec"
	"valence/internal/wsdl"
	"valence/processes"
	"valence/processes/language"
)

// service reads the WSDL of a listener with `input: soap`, and sets the output
// that it implies.
func (b *processBuilder) service(l *processes.Listen, decl *language.Service, n *yaml.Node, d *spec.Decoder) {
	at := valueAt(n, "service")
	if a := b.l.project.Auths[l.Auth]; a != nil && a.Scheme == "wss" && l.Input != "soap" {
		d.Problem(valueAt(n, "auth"), spec.CodeWrongValue, "the scheme wss reads the header of a SOAP envelope, and `input: "+l.Input+"` has none", "choose another scheme, or write `input: soap`")
	}
	if l.Input != "soap" {
		if at != nil {
			d.Problem(keyAt(n, "service"), processes.CodeNoEffect, "`service:` has no effect without `input: soap`", "add `input: soap`, or remove it")
		}
		return
	}
	for key, hint := range map[string]string{
		"output":         "remove it: the WSDL declares which operations have a reply",
		"charset":        "remove it: XML declares its charset",
		"ack":            "remove it: operations without an output are answered with 202 and no body",
		"reply_modes":    "remove it: SOAP callers wait for their replies",
		"callbacks":      "remove it: SOAP callers wait for their replies",
		"timeout_action": "remove it: after the timeout the caller receives a fault",
	} {
		if valueAt(n, key) != nil {
			d.Problem(keyAt(n, key), processes.CodeNoEffect, "`"+key+":` has no effect with `input: soap`", hint)
		}
	}
	if m := valueAt(n, "method"); m != nil && !slices.Equal(l.Methods, []string{"POST"}) {
		d.Problem(m, spec.CodeWrongValue, "SOAP uses the method POST only", "remove `method:`; GET with `?wsdl` is answered by itself")
	}
	l.Methods, l.Output, l.TimeoutAction = []string{"POST"}, "soap", "cancel"
	if at == nil {
		d.Problem(n, spec.CodeMissingKey, "`input: soap` needs `service:`", "add `service: { wsdl: orders.wsdl }`")
		return
	}
	if decl == nil || decl.WSDL == "" {
		return // decoding has reported it
	}
	s, digest := b.readService(at, decl, d)
	if s == nil {
		return
	}
	l.Service = s
	b.uses = append(b.uses, digest)
	if !s.Replies() {
		l.Output = ""
	}
}

// readService returns the service that `service:` selects, and a digest of its
// files; nil after a problem.
func (b *processBuilder) readService(at *yaml.Node, decl *language.Service, d *spec.Decoder) (*soap.Service, string) {
	file := valueAt(at, "wsdl")
	if _, ok := b.l.namedFile(d, b.comp, file, decl.WSDL); !ok {
		return nil, ""
	}
	read := sha256.New()
	definition, problems := wsdl.Read(decl.WSDL, func(name string) ([]byte, bool) {
		full, ok := inside(b.comp.src.Name, name)
		content, known := b.l.files[full]
		if ok && known {
			read.Write(appendText(appendText(nil, 'f', name), 'c', string(content)))
		}
		return content, ok && known
	})
	for _, p := range problems {
		if p.File == "" {
			p.Pos = b.comp.pos(file)
		} else {
			p.File = path.Join(path.Dir(b.comp.src.Name), p.File)
		}
	}
	if b.problems = append(b.problems, problems...); len(problems) > 0 {
		return nil, ""
	}
	s, err := soap.New(definition, decl.Name, decl.Port)
	var wrong *soap.SelectError
	if errors.As(err, &wrong) {
		where := valueAt(at, wrong.Key)
		if where == nil {
			where = at
		}
		d.Problem(where, spec.CodeWrongValue, wrong.Msg, wrong.Hint)
		return nil, ""
	}
	return s, fmt.Sprintf("service %x", read.Sum(nil))
}
