// Package nats is the connector for NATS.
//
// A publish is done when a JetStream stream has stored the message, and a
// repeated attempt carries the same Nats-Msg-Id, so that the stream drops it
// within its duplicate window. A subscription reads a durable consumer and
// acknowledges each message after its commit. With `core: true` both use plain
// NATS, which delivers at most once.
package nats

import (
	"strings"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	codeAuth    = "auth"      // credentials or permissions
	codeBadCall = "bad_call"  // a subject or header that NATS does not allow
	codeMissing = "not_found" // a stream that does not exist
)

type settings struct {
	URL   string
	Creds string
	TLS   tlsconfig.Settings
}

// Connector declares the connector. The version appears in the name of the
// client.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name: "nats",
		Doc: "Publishes messages to NATS, sends requests, and reads streams of JetStream. The header `Nats-Msg-Id` carries the idempotency key, `Correlation-Id` and " +
			"`traceparent` the context of the execution, and `Content-Type` the media type of the document.",
		Settings: []spec.Field{
			spec.String("url", func(s *settings) *string { return &s.URL },
				"URL of the server, or several URLs of one cluster with commas between them. The scheme is `nats` or, if the server must use TLS, `tls`; the default port is 4222. A user and a password or a token may precede the host.").
				Eg("nats://broker.example:4222").Required(),
			spec.String("creds", func(s *settings) *string { return &s.Creds },
				"Credentials of a user: the content of a `.creds` file with a JWT and a seed, or the path of the file, relative to the folder of the project.").Local(),
			spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS },
				"TLS settings. With any of them the server must use TLS, whatever the scheme. The minimum version is TLS 1.2.", tlsconfig.Fields...),
		},
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{publishOperation, requestOperation},
		Subscription: subscription(),
		Check:        check,
		Open: func(s any, policy *access.Policy) (connectors.Connection, error) {
			return open(s.(*settings), version, policy)
		},
	}
}

// check returns the problems that no single field can find. Values may still be
// expressions.
func check(v any) []string {
	s := v.(*settings)
	var wrong []string
	if spec.Literal(s.URL) {
		servers, err := parseURLs(s.URL)
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		if s.Creds != "" && withUser(servers) {
			wrong = append(wrong, "url contains a user, which is not allowed with creds")
		}
	}
	return append(wrong, s.TLS.Check()...)
}

// subjectProblem returns why no message can be published to a subject, or "".
func subjectProblem(subject string) string {
	if subject == "" {
		return "the subject is empty"
	}
	if strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "the subject contains white space or control characters"
	}
	for token := range strings.SplitSeq(subject, ".") {
		switch token {
		case "":
			return "the subject has an empty part"
		case "*", ">":
			return "the subject contains a wildcard"
		}
	}
	return ""
}

// filterProblem returns why nothing can be subscribed to a subject, which may
// contain wildcards, or "".
func filterProblem(subject string) string {
	plain := strings.TrimSuffix(subject, ".>")
	if subject == ">" {
		plain = "x"
	}
	tokens := strings.Split(plain, ".")
	for i, t := range tokens {
		if t == "*" {
			tokens[i] = "x"
		}
	}
	return subjectProblem(strings.Join(tokens, "."))
}

// nameProblem returns why a stream or a consumer cannot have this name, or "".
func nameProblem(name string) string {
	if strings.ContainsAny(name, ".*>/\\") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "a name contains no white space and none of the characters . * > / \\"
	}
	return ""
}
