// Package kafka is the connector for Apache Kafka.
//
// A publish is done when all in-sync replicas have the record. A subscription is
// a member of a consumer group. The position in each partition is committed with
// the messages, so that a message that comes again is recognized without a row
// for each message, and to the group after that.
package kafka

import (
	"net"
	"slices"
	"strings"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	codeAuth     = "auth"      // the cluster refuses the login, the topic or the group
	codeBadCall  = "bad_call"  // a setting that the cluster does not allow
	codeMissing  = "not_found" // a topic or a partition that does not exist
	codeRejected = "rejected"  // the cluster did not store the record
)

type settings struct {
	Brokers    []string
	SASL       *login
	TLS        *tlsconfig.Settings
	Acks       string
	MaxMessage int64
}

type login struct{ Mechanism, User, Password string }

const (
	mechanismPlain = "PLAIN"
	mechanism256   = "SCRAM-SHA-256"
	mechanism512   = "SCRAM-SHA-512"
	acksAll        = "all"
)

// Connector declares the connector.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name: "kafka",
		Doc: "Publishes records to Apache Kafka and receives them as a member of a consumer group. The headers `message-id` (the idempotency key), `correlation-id`, " +
			"`traceparent` and `content-type` carry the context.",
		Settings:     settingsFields,
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{publishOperation},
		Subscription: subscription(),
		Check:        func(v any) []string { return v.(*settings).check() },
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), version, policy)
		},
	}
}

var settingsFields = []spec.Field{
	spec.Strings("brokers", func(s *settings) *[]string { return &s.Brokers },
		"Brokers with which to begin: a list, or text with commas between them. The port is 9092 unless it is named.").Eg("kafka-1.example:9092, kafka-2.example:9092").Required(),
	spec.Optional("sasl", func(s *settings) **login { return &s.SASL }, "Login.",
		spec.Enum("mechanism", func(l *login) *string { return &l.Mechanism }, "Mechanism. `PLAIN` sends the password, so use it only with TLS.", mechanism512, mechanism256, mechanismPlain).Or(mechanism512),
		spec.String("user", func(l *login) *string { return &l.User }, "User name.").Required(),
		spec.String("password", func(l *login) *string { return &l.Password }, "Password.").Required().Secret()),
	spec.Optional("tls", func(s *settings) **tlsconfig.Settings { return &s.TLS }, "Use TLS, of version 1.2 or newer, with these settings. `tls: {}` uses it with the system's authorities.", tlsconfig.Fields...),
	spec.Enum("acks", func(s *settings) *string { return &s.Acks },
		"Which replicas must have a record before a publish succeeds. With `leader` a record is lost if its broker fails early, and a broker may store a record twice.", acksAll, "leader").Or(acksAll),
	spec.Size("max_message", func(s *settings) *int64 { return &s.MaxMessage }, "Maximum size of a record. Topics have a limit too, `max.message.bytes`.").Or(1_000_000).Min(1024).Max(64 << 20),
}

// check returns the problems that no single field can find. Values may still be
// expressions.
func (s *settings) check() (wrong []string) {
	for _, b := range addresses(s.Brokers) {
		if spec.Literal(b) && addressProblem(b) {
			if strings.Contains(b, "@") {
				b = "a broker with a user"
			}
			wrong = append(wrong, "brokers: "+spec.Clip(b)+" is not an address such as kafka.example:9092")
		}
	}
	if s.TLS != nil {
		wrong = append(wrong, s.TLS.Check()...)
	}
	return wrong
}

// addresses returns the brokers, with a port each.
func addresses(list []string) (all []string) {
	for _, part := range list {
		for b := range strings.SplitSeq(part, ",") {
			b = strings.TrimSpace(b)
			if spec.Literal(b) && !strings.Contains(b, ":") {
				b = net.JoinHostPort(b, "9092")
			}
			all = append(all, b)
		}
	}
	return slices.Compact(all)
}

func addressProblem(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err != nil || host == "" || port == "" || strings.ContainsAny(host, "/@ ")
}

// topicProblem returns why a topic cannot have this name, or "".
func topicProblem(topic string) string {
	valid := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	switch {
	case topic == "" || topic == "." || topic == ".." || len(topic) > 249:
		return "a topic has 1 to 249 characters"
	case strings.ContainsFunc(topic, func(r rune) bool { return !valid(r) }):
		return "the name of a topic contains only letters, digits and the characters . _ -"
	}
	return ""
}

func checkTopic(topic string) []string {
	if spec.Literal(topic) {
		if why := topicProblem(topic); why != "" {
			return []string{"topic: " + why}
		}
	}
	return nil
}
