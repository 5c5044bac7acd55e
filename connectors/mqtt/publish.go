package mqtt

import (
	"context"
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

type publishWith struct {
	Topic      string
	QoS        int
	Retain     bool
	Headers    []spec.KV
	Expiration time.Duration
}

// needsFive returns why version 3.1.1 cannot publish the message.
func (w *publishWith) needsFive() []string {
	return needsFive(map[string]bool{"headers": len(w.Headers) > 0, "expiration": w.Expiration > 0})
}

var publishOperation = connectors.Define(connectors.Operation{
	Name: "publish", SendsBody: true,
	Doc: "Publishes the document, or the bytes of a file. The call succeeds when the broker has acknowledged the message. Repeats have the same user property `message-id`. " +
		"With `qos: 0` the broker acknowledges nothing, and the message may be lost. A message of MQTT 3.1.1 carries no headers, content type, correlation id and `message-id`, and its broker does not report that it refused the message.",
	With: []spec.Field{
		spec.String("topic", func(w *publishWith) *string { return &w.Topic }, "Topic, without wildcards.").Eg("devices/7/commands").Required(),
		spec.Int("qos", func(w *publishWith) *int { return &w.QoS }, "Quality of service: 0 at most once, 1 at least once, 2 once between this client and the broker.").Or(1).Min(0).Max(2),
		spec.Bool("retain", func(w *publishWith) *bool { return &w.Retain }, "Whether the broker stores the message for later subscribers, in place of an earlier one."),
		spec.StringMap("headers", func(w *publishWith) *[]spec.KV { return &w.Headers }, "User properties."),
		spec.Duration("expiration", func(w *publishWith) *time.Duration { return &w.Expiration }, "How long the message may wait for a subscriber, in whole seconds. By default it does not expire.").Eg("10s").Min(time.Second),
	},
	Check:  func(v any) []string { return checkTopic("topic", v.(*publishWith).Topic) },
	Sample: "- call: broker.publish\n  with: { topic: \"devices/${doc.id}/commands\" }\n",
}, func(ctx context.Context, c *connection, w *publishWith, call *connectors.Call) (*connectors.Result, error) {
	if wrong := w.needsFive(); c.Version == version311 && len(wrong) > 0 {
		return nil, connectors.Failf(codeBadCall, false, nil, "%s", strings.Join(wrong, "; "))
	}
	m, err := outgoing(w.Topic, w.QoS, call, w.Headers)
	if err != nil {
		return nil, err
	}
	if m.Retain = w.Retain; w.Expiration > 0 {
		m.Properties.MessageExpiry = seconds(w.Expiration)
	}
	if call.IdempotencyKey != "" {
		m.Properties.User.Add(propertyID, identity(call.IdempotencyKey))
	}
	err = c.calls.Do(ctx, func(l *link) error {
		_, err := l.publish(ctx, m, "publish")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: document.Empty}, nil
})
