package nats

import (
	"context"

	"valence/connectors"
	"valence/internal/spec"
)

type listen struct {
	Stream      string
	Consumer    string
	Subject     string
	MaxInFlight int
	Core        bool
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Reads a stream of JetStream through a durable consumer, and acknowledges each message when it is on disk. Atoms with the same consumer share its messages. " +
			"A message that is delivered again within a day of its acceptance is recognized and not run again. Redeliveries come out of order; with " +
			"`max_in_flight: 1` the order of the stream is kept. A message that the process refuses, or whose content does not match its `Content-Type`, is kept as a failed execution. " +
			"A `reply` goes to the subject in the header `Reply-To` or, with `core: true`, to the reply subject of the request.",
		Sample:  "subscribe:\n  connection: broker\n  stream: ORDERS\n  consumer: invoicing\n  subject: orders.created\n",
		NewWith: func() any { return &listen{} },
		With: []spec.Field{
			spec.String("stream", func(l *listen) *string { return &l.Stream }, "Stream to read. It must exist.").Eg("ORDERS"),
			spec.String("consumer", func(l *listen) *string { return &l.Consumer }, "Durable consumer of the stream. It is created if it is missing, and then starts with the oldest message. With `core: true`, the queue group in which subscribers share the messages."),
			spec.String("subject", func(l *listen) *string { return &l.Subject }, "Subject to receive, which may contain the wildcards `*` and `>`. By default all subjects of the stream."),
			spec.Int("max_in_flight", func(l *listen) *int { return &l.MaxInFlight }, "Maximum number of messages that are delivered and not acknowledged yet, in all atoms with the consumer. With `core: true`, the number of messages that wait in memory; more are lost.").Or(1000).Min(1).Max(100_000),
			spec.Bool("core", func(l *listen) *bool { return &l.Core }, "Subscribe without JetStream, at most once: messages that arrive while the atom does not run, or faster than it accepts them, are lost."),
		},
		Check:      func(v any) []string { return v.(*listen).check() },
		AtMostOnce: func(v any) bool { return v.(*listen).Core },
		Exclusive:  func(v any) bool { w := v.(*listen); return w.Core && w.Consumer == "" },
		Props:      "The process reads the `subject` and the `headers` of the message as `props`, with `core: false` also its `stream` and `sequence`. Names of headers are written as in `Content-Type`.",
		Replies:    true,
	}
}

// check returns the problems of the settings. Values may be expressions.
func (w *listen) check() []string {
	var wrong []string
	add := func(bad bool, why string) {
		if bad {
			wrong = append(wrong, why)
		}
	}
	if w.Core {
		add(w.Subject == "", "`core: true` needs `subject:`")
		add(w.Stream != "", "`stream:` is not allowed with `core: true`")
	} else {
		add(w.Stream == "", "`stream:` is missing; a subscription without JetStream needs `core: true`")
		add(w.Consumer == "", "`consumer:` is missing")
	}
	if spec.Literal(w.Subject) {
		why := filterProblem(w.Subject)
		add(why != "", "`subject:` "+why)
	}
	for key, name := range map[string]string{"stream": w.Stream, "consumer": w.Consumer} {
		if spec.Literal(name) {
			why := nameProblem(name)
			add(why != "", "`"+key+":` "+why)
		}
	}
	return wrong
}

// Listen implements connectors.Listener.
func (c *connection) Listen(ctx context.Context, v any, host *connectors.Host) error {
	w := v.(*listen)
	return c.Session.Listen(ctx, host, func(ctx context.Context, l *link) error {
		if w.Core {
			return w.receiveCore(ctx, l, host)
		}
		return w.receive(ctx, l, host)
	})
}
