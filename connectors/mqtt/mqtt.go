// Package mqtt is the connector for brokers of MQTT 5 and 3.1.1.
//
// A publish is done when the broker has acknowledged the message. A subscription
// has a session of its own at the broker, which stores messages while the atom is
// away, and acknowledges each message after its commit. The protocol has no
// identity of messages: publishes carry one as a user property, by which
// subscriptions recognize a message that comes again.
package mqtt

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	codeAuth     = "auth"      // the broker refuses the login or the topic
	codeBadCall  = "bad_call"  // a topic or a setting that the broker does not allow
	codeRejected = "rejected"  // the broker did not store the message
	codeMissing  = "not_found" // nobody subscribes to the topic of a request
)

type settings struct {
	URL, User, Password     string
	ClientID, ResponseTopic string
	Version                 string
	Will                    *will
	TLS                     tlsconfig.Settings
}

// will is the message that the broker publishes when a connection is lost.
type will struct {
	Topic, Payload string
	QoS            int
	Retain         bool
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "mqtt",
		Doc: "Publishes messages to a broker of MQTT 5 or 3.1.1, sends requests (MQTT 5 only) and receives messages. User properties carry the context: " +
			"`message-id` the idempotency key, by which a subscription recognizes a repeat, and `traceparent`. The correlation data are the correlation id, and the content type is that of the document.",
		Settings:     settingsFields,
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{publishOperation, requestOperation},
		Describe:     describe,
		Subscription: subscription(),
		Check:        func(v any) []string { return v.(*settings).check() },
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), policy)
		},
	}
}

var settingsFields = []spec.Field{
	spec.String("url", func(s *settings) *string { return &s.URL },
		"`mqtt://host:port`, or `mqtts://…` for TLS. The port is 1883 or 8883 unless the URL names it.").Eg("mqtts://broker.example").Required(),
	spec.String("user", func(s *settings) *string { return &s.User }, "User name."),
	spec.String("password", func(s *settings) *string { return &s.Password }, "Password.").Secret(),
	spec.String("client_id", func(s *settings) *string { return &s.ClientID },
		"Name of this client at the broker. Each atom needs another one, because the broker disconnects a client when another one uses its name. Subscriptions append a suffix that depends on their topic.").Eg("orders-${env.HOST}").Required(),
	spec.Enum("version", func(s *settings) *string { return &s.Version }, "Version of MQTT.", version5, version311).Or(version5),
	spec.String("response_topic", func(s *settings) *string { return &s.ResponseTopic },
		"Topic on which `request` receives replies. By default it is `replies/` and the `client_id`."),
	spec.Optional("will", func(s *settings) **will { return &s.Will }, "Message that the broker publishes when it loses a connection of this client.",
		spec.String("topic", func(w *will) *string { return &w.Topic }, "Topic.").Eg("atoms/berlin").Required(),
		spec.String("payload", func(w *will) *string { return &w.Payload }, "Content."),
		spec.Int("qos", func(w *will) *int { return &w.QoS }, "Quality of service.").Or(1).Min(0).Max(2),
		spec.Bool("retain", func(w *will) *bool { return &w.Retain }, "Whether later subscribers receive it too.")),
	spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS }, "TLS settings. The minimum version is TLS 1.2.", tlsconfig.Fields...),
}

// check returns the problems that no single field can find. Values may still be
// expressions.
func (s *settings) check() []string {
	wrong := s.TLS.Check()
	if spec.Literal(s.URL) {
		t, err := parseURL(s.URL)
		switch {
		case err != nil:
			wrong = append(wrong, err.Error())
		case !t.secure && s.TLS != (tlsconfig.Settings{}):
			wrong = append(wrong, "tls: applies only to an mqtts:// url")
		}
	}
	wrong = append(wrong, checkTopic("response_topic", s.ResponseTopic)...)
	if s.Will != nil {
		wrong = append(wrong, checkTopic("will: topic", s.Will.Topic)...)
	}
	return wrong
}

// target is the broker of a URL.
type target struct {
	host, port string
	secure     bool
}

func (t target) address() string { return net.JoinHostPort(t.host, t.port) }

func parseURL(s string) (target, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Hostname() == "" {
		return target{}, errors.New("url must be the URL of a broker, such as mqtts://broker.example:8883")
	}
	if u.User != nil {
		return target{}, errors.New("url must not contain the user: write user and password as settings of their own")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return target{}, errors.New("url contains more than a host and a port")
	}
	t := target{host: u.Hostname(), port: u.Port(), secure: u.Scheme == "mqtts"}
	switch {
	case t.port != "":
	case t.secure:
		t.port = "8883"
	default:
		t.port = "1883"
	}
	return t, nil
}

const maxText = 65535 // bytes of a text in the protocol

// topicProblem returns why no message can be published to a topic, or "".
func topicProblem(topic string) string {
	switch {
	case topic == "":
		return "the topic is empty"
	case strings.ContainsAny(topic, "+#"):
		return "the topic contains a wildcard (+ or #)"
	}
	return textProblem(topic)
}

func textProblem(s string) string {
	switch {
	case len(s) > maxText:
		return "the topic has more than 65535 bytes"
	case strings.ContainsRune(s, 0) || strings.ToValidUTF8(s, "") != s:
		return "the topic contains characters that MQTT does not allow"
	}
	return ""
}

// filterProblem returns why nothing can be subscribed to a topic, which may
// contain wildcards, or "".
func filterProblem(filter string) string {
	if strings.HasPrefix(filter, "$share/") {
		return "the topic begins with $share/; write the group as `share:`"
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.Contains(level, "+") && level != "+" {
			return "+ stands for a whole level, as in devices/+/state"
		}
		if strings.Contains(level, "#") && (level != "#" || i < len(levels)-1) {
			return "# stands for all further levels and is the last one, as in devices/#"
		}
	}
	return textProblem(filter)
}

func checkTopic(key, topic string) []string {
	if spec.Literal(topic) {
		if why := topicProblem(topic); why != "" {
			return []string{key + ": " + why}
		}
	}
	return nil
}
