// Package amqp is the connector for brokers of AMQP 0.9.1, such as RabbitMQ.
//
// A publish succeeds when the broker has confirmed the message, and a message
// that no queue accepts is an error. A message of a subscription is acknowledged
// after it is on disk. Calls and subscriptions use separate connections, because
// a broker that is short of memory stops reading from those that publish.
package amqp

import (
	"time"

	"valence/connectors"
	"valence/connectors/tlsconfig"
	"valence/internal/access"
	"valence/internal/spec"
)

// Failure codes besides those of package fault.
const (
	CodeAuth       = "auth"       // the broker refuses the user or the operation
	CodeBadCall    = "bad_call"   // the call or a declaration does not fit the broker
	CodeMissing    = "not_found"  // an exchange or a queue does not exist
	CodeUnroutable = "unroutable" // no queue accepts the message
	CodeRejected   = "rejected"   // the broker did not store the message
)

type settings struct {
	URL, User, Password string
	TLS                 tlsconfig.Settings
	Heartbeat           time.Duration
	Declare             topology
}

// topology are the exchanges, queues and bindings that must exist at the broker.
type topology struct {
	Exchanges []exchange
	Queues    []queue
	Bindings  []binding
}

type exchange struct {
	Name, Type string
	Durable    bool
}

type queue struct {
	Name      string
	Durable   bool
	Arguments any
}

type binding struct{ Exchange, Queue, RoutingKey string }

// Connector declares the connector.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name: "amqp",
		Doc: "Publishes messages to a broker of AMQP 0.9.1, such as RabbitMQ, sends requests and receives messages. The connection is opened on first use and " +
			"again after a loss.",
		Settings:     settingsFields,
		NewSettings:  func() any { return &settings{} },
		Operations:   []connectors.Operation{publishOperation, requestOperation},
		Subscription: subscription(),
		Check:        func(v any) []string { return v.(*settings).check() },
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			return open(v.(*settings), version, policy)
		},
	}
}

var settingsFields = []spec.Field{
	spec.String("url", func(s *settings) *string { return &s.URL },
		"`amqp://host:port/vhost`, or `amqps://…` for TLS. The port is 5672 or 5671, and the virtual host `/`, unless the URL names them.").Eg("amqps://rabbit.example").Required(),
	spec.String("user", func(s *settings) *string { return &s.User }, "User name.").Or("guest"),
	spec.String("password", func(s *settings) *string { return &s.Password }, "Password.").Or("guest").Secret(),
	spec.Object("tls", func(s *settings) *tlsconfig.Settings { return &s.TLS }, "TLS settings. The minimum version is TLS 1.2.", tlsconfig.Fields...),
	spec.Duration("heartbeat", func(s *settings) *time.Duration { return &s.Heartbeat },
		"How often the sides exchange a sign of life. A broker that is silent for three times as long counts as lost.").Or(10 * time.Second).Min(time.Second).Max(10 * time.Minute),
	spec.Object("declare", func(s *settings) *topology { return &s.Declare },
		"What is created when the connection is opened, if it is missing. If it exists with other properties, calls and subscriptions fail.", declareFields...),
}

var declareFields = []spec.Field{
	spec.Objects("exchanges", func(t *topology) *[]exchange { return &t.Exchanges }, "Exchanges.",
		spec.String("name", func(e *exchange) *string { return &e.Name }, "Name.").Eg("orders").Required(),
		spec.Enum("type", func(e *exchange) *string { return &e.Type }, "Type.", "direct", "fanout", "topic", "headers").Or("direct"),
		spec.Bool("durable", func(e *exchange) *bool { return &e.Durable }, "Whether it survives a restart of the broker.").Or(true)),
	spec.Objects("queues", func(t *topology) *[]queue { return &t.Queues }, "Queues.",
		spec.String("name", func(q *queue) *string { return &q.Name }, "Name.").Eg("new-orders").Required(),
		spec.Bool("durable", func(q *queue) *bool { return &q.Durable }, "Whether it survives a restart of the broker.").Or(true),
		spec.Any("arguments", func(q *queue) *any { return &q.Arguments }, "Arguments of the broker.").Type("map").Eg("{ x-queue-type: quorum }")),
	spec.Objects("bindings", func(t *topology) *[]binding { return &t.Bindings }, "Bindings of queues to exchanges.",
		spec.String("exchange", func(b *binding) *string { return &b.Exchange }, "Exchange.").Eg("orders").Required(),
		spec.String("queue", func(b *binding) *string { return &b.Queue }, "Queue.").Eg("new-orders").Required(),
		spec.String("routing_key", func(b *binding) *string { return &b.RoutingKey }, "Routing key, or a pattern for an exchange of type `topic`.").Eg("order.*")),
}
