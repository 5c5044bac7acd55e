package mqtt

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// User properties with a meaning.
const (
	propertyID    = "message-id"
	propertyKey   = "idempotency-key" // of a request, whose message-id differs between attempts
	propertyTrace = "traceparent"
	propertyState = "status" // of a reply
)

// outgoing returns the message that sends a document.
func outgoing(topic string, qos int, call *connectors.Call, headers []spec.KV) (*paho.Publish, error) {
	if why := topicProblem(topic); why != "" {
		return nil, fault.Failf(codeBadCall, "cannot send to %q: %s", spec.Clip(topic), why)
	}
	m := &paho.Publish{Topic: topic, QoS: byte(qos), Properties: &paho.PublishProperties{}}
	p := m.Properties
	if call.Body != nil {
		body, mediaType, err := call.Body.Content()
		if err != nil {
			return nil, fault.Failf(codeBadCall, "the document is not a valid file: %v", err)
		}
		if m.Payload = body; len(body) > 0 && len(mediaType) <= maxText {
			p.ContentType = mediaType
		}
	}
	if call.CorrelationID != "" && len(call.CorrelationID) <= maxText {
		p.CorrelationData = []byte(call.CorrelationID)
	}
	if call.Traceparent != "" {
		p.User.Add(propertyTrace, call.Traceparent)
	}
	for _, h := range headers {
		for _, text := range []string{h.Name, h.Value} {
			if len(text) > maxText || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
				return nil, fault.Failf(codeBadCall, "headers: %s has more than 65535 bytes, or characters that MQTT does not allow", spec.Clip(h.Name))
			}
		}
		p.User.Add(h.Name, h.Value)
	}
	return m, nil
}

// identity returns an idempotency key as the identity of a message. A key that is
// too long for the store of a receiver is hashed.
func identity(key string) string {
	if len(key) <= 255 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// seconds returns a duration in the unit of the protocol.
func seconds(d time.Duration) *uint32 {
	return paho.Uint32(uint32(min(max(1, int64((d+time.Second-1)/time.Second)), 1<<32-1)))
}

// decode reads the payload of a message by its content type. Without one it is
// JSON, text or binary, whatever it is valid as.
func decode(ctx context.Context, m *paho.Publish) (*document.Document, error) {
	if m.Properties.ContentType != "" || len(m.Payload) == 0 {
		return content.Typed(ctx, m.Payload, m.Properties.ContentType, "", "")
	}
	as := convert.FormatBinary
	switch {
	case convert.CheckJSON(m.Payload) == nil:
		as = convert.FormatJSON
	case utf8.Valid(m.Payload):
		as = convert.FormatText
	}
	return content.Typed(ctx, m.Payload, "", as, "")
}

const rememberFor = 24 * time.Hour // how long a message that was not acknowledged may wait for this atom

// incoming returns a received message. Its error means that the message cannot be
// read now.
func (w *listenWith) incoming(ctx context.Context, m *paho.Publish, attempt int) (*connectors.Message, error) {
	out := &connectors.Message{Props: propsOf(m), CorrelationID: text(m.Properties.CorrelationData), Traceparent: m.Properties.User.Get(propertyTrace)}
	if topic := m.Properties.ResponseTopic; topicProblem(topic) == "" {
		out.ReplyTo = replyTo(topic, m.Properties.CorrelationData)
	}
	if id := m.Properties.User.Get(propertyID); id != "" && m.QoS > 0 {
		out.Origin, out.Remember = w.name()+": "+identity(id), rememberFor
	}
	if out.Delivery = attempt; m.Duplicate() {
		out.Delivery++
	}
	doc, err := decode(ctx, m)
	switch exhausted := budget.Failure(err); {
	case err == nil:
		out.Doc = doc
	case exhausted != nil:
		return nil, exhausted
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		out.Doc = document.New(m.Payload, m.Properties.ContentType, "")
		out.Invalid = connectors.Failf(fault.CodeAnswer, false, err, "cannot read the message as %s: %v", spec.Clip(m.Properties.ContentType), err)
	}
	return out, nil
}

// text returns correlation data as text.
func text(data []byte) string {
	if utf8.Valid(data) {
		return string(data)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// replyTo returns the address of a reply: the correlation data of the request,
// which may be any bytes, and the topic.
func replyTo(topic string, correlation []byte) string {
	return base64.RawURLEncoding.EncodeToString(correlation) + " " + topic
}

func parseReplyTo(s string) (topic string, correlation []byte, err error) {
	encoded, topic, _ := strings.Cut(s, " ")
	correlation, err = base64.RawURLEncoding.DecodeString(encoded)
	return topic, correlation, err
}

// propsOf returns the properties of a message that a process can read.
func propsOf(m *paho.Publish) *document.Object {
	o, p := &document.Object{}, m.Properties
	o.Set("topic", m.Topic)
	o.Set("qos", document.Number(strconv.Itoa(int(m.QoS))))
	o.Set("retain", m.Retain)
	o.Set("duplicate", m.Duplicate())
	for _, x := range []struct{ name, value string }{
		{"content_type", p.ContentType}, {"response_topic", p.ResponseTopic}, {"correlation_id", text(p.CorrelationData)}, {"message_id", p.User.Get(propertyID)},
	} {
		if x.value != "" {
			o.Set(x.name, strings.ToValidUTF8(x.value, "\uFFFD"))
		}
	}
	if p.MessageExpiry != nil {
		o.Set("expires_in", document.Number(strconv.FormatUint(uint64(*p.MessageExpiry), 10)))
	}
	headers := &document.Object{}
	for _, h := range p.User {
		name, value := strings.ToValidUTF8(h.Key, "\uFFFD"), any(strings.ToValidUTF8(h.Value, "\uFFFD"))
		switch earlier, _ := headers.Get(name); earlier := earlier.(type) {
		case string:
			value = []any{earlier, value}
		case []any:
			value = append(earlier, value)
		}
		headers.Set(name, value)
	}
	o.Set("headers", headers)
	return o
}

// httpHeaders returns the user properties of a reply.
func httpHeaders(m *paho.Publish) http.Header {
	h := http.Header{}
	for _, p := range m.Properties.User {
		h.Add(p.Key, p.Value)
	}
	return h
}
