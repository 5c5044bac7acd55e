package amqp

import (
	"context"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"valence/connectors/content"
	"valence/internal/convert"
	"valence/internal/document"
)

// decode reads the body of a message by its content type. Without one it is JSON
// if it is valid, and otherwise bytes, as compressed content is.
func decode(ctx context.Context, d *amqp091.Delivery) (*document.Document, error) {
	as := ""
	switch encoding := strings.ToLower(d.ContentEncoding); {
	case encoding != "" && encoding != "identity" && encoding != "utf-8" && encoding != "utf8":
		as = convert.FormatBinary
	case d.ContentType == "" && convert.CheckJSON(d.Body) == nil:
		as = convert.FormatJSON
	}
	return content.Typed(ctx, d.Body, d.ContentType, as, "")
}

// propsOf returns the properties of a message that a process can read.
func propsOf(queue string, d *amqp091.Delivery) *document.Object {
	o := &document.Object{}
	o.Set("queue", queue)
	o.Set("exchange", d.Exchange)
	o.Set("routing_key", d.RoutingKey)
	o.Set("redelivered", d.Redelivered)
	for _, p := range []struct{ name, value string }{
		{"message_id", d.MessageId}, {"correlation_id", d.CorrelationId}, {"reply_to", d.ReplyTo}, {"content_type", d.ContentType},
		{"content_encoding", d.ContentEncoding}, {"type", d.Type}, {"app_id", d.AppId}, {"user_id", d.UserId}, {"expiration", d.Expiration},
	} {
		if p.value != "" {
			o.Set(p.name, valid(p.value))
		}
	}
	if d.Priority > 0 {
		o.Set("priority", document.Number(strconv.Itoa(int(d.Priority))))
	}
	if !d.Timestamp.IsZero() {
		o.Set("timestamp", d.Timestamp.UTC().Format(time.RFC3339))
	}
	o.Set("headers", objectOf(d.Headers))
	return o
}

func objectOf(t amqp091.Table) *document.Object {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	o := &document.Object{}
	for _, name := range names {
		o.Set(valid(name), valueOf(t[name]))
	}
	return o
}

// valueOf returns a field of the protocol as a value.
func valueOf(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case amqp091.Table:
		return objectOf(v)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = valueOf(e)
		}
		return list
	case []byte:
		if !utf8.Valid(v) {
			return base64.StdEncoding.EncodeToString(v)
		}
		return string(v)
	}
	text, _ := scalar(v)
	switch v := v.(type) {
	case string, time.Time:
		return valid(text)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return text
		}
	case float32:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return text
		}
	}
	return document.Number(text)
}

// scalar returns the text of a field that is a single value.
func scalar(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32), true
	case amqp091.Decimal:
		return decimal(v), true
	}
	n, ok := integer(v)
	return strconv.FormatInt(n, 10), ok
}

// integer returns a field of any of the protocol's types of integers.
func integer(v any) (n int64, ok bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	}
	return 0, false
}

// decimal returns a decimal number as text.
func decimal(d amqp091.Decimal) string {
	digits, sign := strconv.FormatInt(int64(d.Value), 10), ""
	if strings.HasPrefix(digits, "-") {
		digits, sign = digits[1:], "-"
	}
	scale := int(d.Scale)
	if scale == 0 {
		return sign + digits
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// valid returns text as UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
