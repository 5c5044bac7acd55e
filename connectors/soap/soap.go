// Package soap is the connector for SOAP 1.1 and 1.2. A WSDL of the project
// describes the operations of a connection.
package soap

import (
	"context"
	"fmt"
	"net"
	nethttp "net/http"
	"net/url"
	"time"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/wsdl"
)

type settings struct {
	WSDL, Port, URL string
	Headers         []spec.KV
	Security        security
	TLS             tlsconfig.Settings
	MaxResponse     int64
	CheckResponses  bool
	FaultCodes      []string
}

// security holds the settings of WS-Security.
type security struct {
	User, Password, Type string
	Timestamp            time.Duration
}

var settingsFields = []spec.Field{
	spec.String("wsdl", func(s *settings) *string { return &s.WSDL }, "WSDL 1.1 in the project, relative to this file. It may import files of the project.").Eg("erp.wsdl").Required(),
	spec.String("port", func(s *settings) *string { return &s.Port }, "Port of the WSDL, as `port` or `service.port`. Defaults to the first one with SOAP over HTTP."),
	spec.String("url", func(s *settings) *string { return &s.URL }, "URL of the service. Defaults to the address in the WSDL."),
	spec.StringMap("headers", func(s *settings) *[]spec.KV { return &s.Headers }, "HTTP headers to send with every call."),
	spec.Object("security", func(s *settings) *security { return &s.Security }, "WS-Security UsernameToken to send with every call.",
		spec.String("user", func(s *security) *string { return &s.User }, "User name.").Required(),
		spec.String("password", func(s *security) *string { return &s.Password }, "Password.").Secret().Required(),
		spec.Enum("type", func(s *security) *string { return &s.Type }, "Send the password as text, or as a digest with a nonce and the time.", "text", "digest").Or("text"),
		spec.Duration("timestamp", func(s *security) *time.Duration { return &s.Timestamp }, "Lifetime of a timestamp to send. By default none is sent.").Min(time.Second),
	),
	spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS }, "TLS settings. The minimum version is TLS 1.2.", tlsconfig.Fields...),
	spec.Size("max_response", func(s *settings) *int64 { return &s.MaxResponse }, "Maximum size of an uncompressed response. A larger response fails with `too_large`.").Or(10 << 20).Min(1),
	spec.Bool("check_responses", func(s *settings) *bool { return &s.CheckResponses }, "Whether a response that does not match the schema fails with `bad_answer`. Elements that the schema does not declare are always accepted.").Or(true),
	spec.Strings("fault_codes", func(s *settings) *[]string { return &s.FaultCodes }, "Codes of faults that only this service has, such as `Limit`, so that a `catch` may name them."),
}

// Connector declares the connector. The version appears in User-Agent.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name: "soap",
		Doc: "Calls SOAP 1.1 and 1.2 services. Each operation of the WSDL is an operation of the connection: `call: erp.CreateInvoice`. Its document is the content of the element in the body, by the types of the schema; " +
			"attributes are `@name`, text with attributes is `#text`, and `@type` selects a derived type. A document that does not match the schema fails with `bad_call` and is not sent; what is certain before it is evaluated is checked by `valence lint`. A response without a required element, or with a value of another type, fails with `bad_answer`; elements that the schema does not declare are part of the document. An attachment (MTOM) is Base64 text in the place of its element. A fault fails with its code, message and `error.detail`.",
		Settings:    settingsFields,
		NewSettings: func() any { return &settings{} },
		Check:       check,
		Describe:    describe,
		Open: func(s any, policy *access.Policy) (connectors.Connection, error) {
			return open(s.(*settings), version, policy)
		},
	}
}

func check(v any) []string {
	s := v.(*settings)
	wrong := s.TLS.Check()
	if spec.Literal(s.URL) {
		if _, err := address(s.URL); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	return wrong
}

func address(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("url must be http:// or https:// with a host and without a password")
	}
	return u, nil
}

// describe returns the operations of the WSDL.
func describe(v any, files connectors.Files) ([]connectors.Operation, fault.Problems) {
	s := v.(*settings)
	problem := func(msg, hint string) fault.Problems {
		return fault.Problems{{Code: "bad-file", Msg: msg, Hint: hint}}
	}
	if !spec.Literal(s.WSDL) || s.Port != "" && !spec.Literal(s.Port) {
		return nil, problem("`wsdl:` and `port:` cannot be expressions: they are needed when the project is loaded", "write the name of a file of the project")
	}
	if _, ok := files(s.WSDL); !ok {
		return nil, problem("the file `"+spec.Clip(s.WSDL)+"` does not exist in the project", "write the path of a .wsdl file, relative to the file of the connection")
	}
	d, problems := wsdl.Read(s.WSDL, func(name string) ([]byte, bool) { return files(name) })
	if len(problems) > 0 {
		return nil, problems
	}
	port := d.Port(s.Port)
	if port == nil {
		return nil, problem("the WSDL has no port `"+spec.Clip(s.Port)+"`", spec.Suggestion(s.Port, d.PortNames()))
	}
	var all []connectors.Operation
	for _, op := range port.Operations {
		all = append(all, define(d, port, op, codes(port, s.FaultCodes)))
	}
	return all, nil
}

// connection is an open connection.
type connection struct {
	settings
	agent     string
	transport *nethttp.Transport
}

func open(s *settings, version string, policy *access.Policy) (*connection, error) {
	if s.URL != "" {
		u, err := address(s.URL)
		if err == nil {
			err = policy.CheckURL(u)
		}
		if err != nil {
			return nil, err
		}
	}
	config, err := s.TLS.Config(policy)
	if err != nil {
		return nil, err
	}
	c := &connection{settings: *s, agent: "valence/" + version, transport: httpclient.Transport(time.Minute, config, nethttp.ProxyFromEnvironment)}
	policy.Guard(c.transport, net.Dialer{Timeout: httpclient.DialTimeout})
	return c, nil
}

// Close closes idle connections.
func (c *connection) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// callWith holds the settings of a call.
type callWith struct{ Headers any }

func define(d *wsdl.Definition, port *wsdl.Port, op *wsdl.Operation, codes []string) connectors.Operation {
	doc := op.Doc
	if doc == "" {
		doc = "Calls " + op.Name + "."
	}
	return connectors.Define(connectors.Operation{
		Name: op.Name, Doc: doc, SendsBody: true, Codes: codes,
		Body:      func(path []string) []connectors.BodyKey { return bodyKeys(op, path) },
		CheckBody: func(body *expression.Shape) fault.Problems { return checkBody(d, op, body) },
		Check:     func(with any) []string { return checkHeaders(op, with.(*callWith)) },
		With:      []spec.Field{spec.Any("headers", func(w *callWith) *any { return &w.Headers }, "Header blocks of the envelope, by the names of the elements that the WSDL declares.")},
	}, func(ctx context.Context, c *connection, w *callWith, call *connectors.Call) (*connectors.Result, error) {
		return c.call(ctx, &exchange{d, port, op}, w, call)
	})
}
