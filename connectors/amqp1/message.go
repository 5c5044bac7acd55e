package amqp1

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Azure/go-amqp"

	"valence/connectors/content"
	"valence/internal/convert"
	"valence/internal/document"
)

// decode reads the content of a message: bytes or text by the content type, and
// otherwise the value. Without a content type, content is JSON if it is valid JSON,
// text, or bytes.
func decode(ctx context.Context, m *amqp.Message) (*document.Document, error) {
	var body []byte
	switch v := m.Value.(type) {
	case nil:
		if len(m.Sequence) > 0 {
			return document.FromValue(valueOf(slices.Concat(m.Sequence...))), nil
		}
		body = bytes.Join(m.Data, nil)
	case string:
		body = []byte(v)
	case []byte:
		body = v
	default:
		return document.FromValue(valueOf(v)), nil
	}
	mediaType, as := contentType(m), ""
	if mediaType == "" && len(body) > 0 {
		switch {
		case convert.CheckJSON(body) == nil:
			as = convert.FormatJSON
		case utf8.Valid(body):
			as = convert.FormatText
		default:
			as = convert.FormatBinary
		}
	}
	return content.Typed(ctx, body, mediaType, as, "")
}

func contentType(m *amqp.Message) string {
	if m.Properties != nil && m.Properties.ContentType != nil {
		return *m.Properties.ContentType
	}
	return ""
}

// propsOf returns the properties of a message that a process can read.
func propsOf(from place, m *amqp.Message) *document.Object {
	o := &document.Object{}
	o.Set("address", from.Address)
	set := func(name, value string) {
		if value != "" {
			o.Set(name, valid(value))
		}
	}
	if p := m.Properties; p != nil {
		set("message_id", idText(p.MessageID))
		set("correlation_id", idText(p.CorrelationID))
		for _, x := range []struct {
			name  string
			value *string
		}{{"to", p.To}, {"reply_to", p.ReplyTo}, {"subject", p.Subject}, {"content_type", p.ContentType}, {"content_encoding", p.ContentEncoding}, {"group", p.GroupID}} {
			if x.value != nil {
				set(x.name, *x.value)
			}
		}
		if p.CreationTime != nil {
			set("created", p.CreationTime.UTC().Format(time.RFC3339Nano))
		}
	}
	if h := m.Header; h != nil {
		o.Set("priority", document.Number(strconv.Itoa(int(h.Priority))))
		o.Set("durable", h.Durable)
		o.Set("deliveries", document.Number(strconv.FormatInt(int64(h.DeliveryCount)+1, 10)))
	}
	o.Set("headers", objectOf(m.ApplicationProperties))
	return o
}

// idText returns a message id or a correlation id as text.
func idText(id any) string {
	switch v := id.(type) {
	case string:
		return v
	case uint64:
		return strconv.FormatUint(v, 10)
	case amqp.UUID:
		return v.String()
	case []byte:
		return hex.EncodeToString(v)
	}
	return ""
}

// encodeID and decodeID write the identity of a request with its type, so that the
// reply has the same one.
func encodeID(id any) string {
	switch v := id.(type) {
	case string:
		return "s" + base64.RawURLEncoding.EncodeToString([]byte(v))
	case uint64:
		return "u" + strconv.FormatUint(v, 10)
	case amqp.UUID:
		return "g" + hex.EncodeToString(v[:])
	case []byte:
		return "b" + hex.EncodeToString(v)
	}
	return "n"
}

func decodeID(s string) (any, error) {
	if s == "" {
		return nil, fmt.Errorf("no identity")
	}
	kind, rest := s[0], s[1:]
	switch kind {
	case 's':
		b, err := base64.RawURLEncoding.DecodeString(rest)
		return string(b), err
	case 'u':
		return strconv.ParseUint(rest, 10, 64)
	case 'g', 'b':
		b, err := hex.DecodeString(rest)
		if kind == 'g' && err == nil && len(b) == len(amqp.UUID{}) {
			return amqp.UUID(b), nil
		}
		return b, err
	}
	return nil, nil
}

func objectOf(m map[string]any) *document.Object {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	o := &document.Object{}
	for _, name := range names {
		o.Set(valid(name), valueOf(m[name]))
	}
	return o
}

// valueOf returns a value of the protocol's types. Bytes that are not text are in
// Base64.
func valueOf(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case string:
		return valid(v)
	case []byte:
		if !utf8.Valid(v) {
			return base64.StdEncoding.EncodeToString(v)
		}
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case amqp.UUID:
		return v.String()
	case map[string]any:
		return objectOf(v)
	case map[any]any:
		named := map[string]any{}
		for k, e := range v {
			named[fmt.Sprint(k)] = e
		}
		return objectOf(named)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = valueOf(e)
		}
		return list
	case float32:
		return number(float64(v), 32)
	case float64:
		return number(v, 64)
	case int8, int16, int32, int64, int, uint8, uint16, uint32, uint64, uint:
		return document.Number(fmt.Sprint(v))
	}
	return valid(fmt.Sprint(v))
}

func number(f float64, bits int) any {
	text := strconv.FormatFloat(f, 'f', -1, bits)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return text
	}
	return document.Number(text)
}

// scalar returns the text of a value that is a single one.
func scalar(v any) (text string, ok bool) {
	switch v := valueOf(v).(type) {
	case string:
		return v, true
	case document.Number:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// valid returns text as UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
