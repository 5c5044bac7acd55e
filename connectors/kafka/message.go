package kafka

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Headers with a meaning.
const (
	headerID          = "message-id"
	headerCorrelation = "correlation-id"
	headerTrace       = "traceparent"
	headerType        = "content-type"
)

// header returns the value of a header, or "".
func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// incoming returns a received record. Its error means that the record cannot be
// read now.
func incoming(ctx context.Context, r *kgo.Record, stream string, delivery int) (*connectors.Message, error) {
	m := &connectors.Message{
		Props: propsOf(r), Stream: stream, Cursor: cursorAfter(r), CorrelationID: header(r, headerCorrelation),
		Traceparent: header(r, headerTrace), Time: r.Timestamp, Delivery: delivery,
	}
	if !utf8.ValidString(m.CorrelationID) {
		m.CorrelationID = ""
	}
	doc, err := decode(ctx, r)
	switch exhausted := budget.Failure(err); {
	case err == nil:
		m.Doc = doc
	case exhausted != nil:
		return nil, exhausted
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		mediaType := header(r, headerType)
		m.Doc = document.New(r.Value, mediaType, "")
		m.Invalid = connectors.Failf(fault.CodeAnswer, false, err, "cannot read the record as %s: %v", spec.Clip(mediaType), err)
	}
	return m, nil
}

// decode reads the value of a record by its content type. Without one it is JSON,
// text or binary, whatever it is valid as.
func decode(ctx context.Context, r *kgo.Record) (*document.Document, error) {
	mediaType, as := header(r, headerType), ""
	switch {
	case mediaType != "" || len(r.Value) == 0:
	case convert.CheckJSON(r.Value) == nil:
		as = convert.FormatJSON
	case utf8.Valid(r.Value):
		as = convert.FormatText
	default:
		as = convert.FormatBinary
	}
	return content.Typed(ctx, r.Value, mediaType, as, "")
}

// propsOf returns the attributes of a record that a process can read.
func propsOf(r *kgo.Record) *document.Object {
	o := &document.Object{}
	o.Set("topic", r.Topic)
	o.Set("partition", document.Number(strconv.Itoa(int(r.Partition))))
	o.Set("offset", document.Number(strconv.FormatInt(r.Offset, 10)))
	o.Set("key", nil)
	if r.Key != nil {
		o.Set("key", bytesText(r.Key))
	}
	o.Set("deleted", r.Value == nil)
	o.Set("timestamp", r.Timestamp.UTC().Format(time.RFC3339Nano))
	headers := &document.Object{}
	for _, h := range r.Headers {
		name, value := strings.ToValidUTF8(h.Key, "\uFFFD"), any(bytesText(h.Value))
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

// bytesText returns bytes as text, or in Base64 if they are none.
func bytesText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return base64.StdEncoding.EncodeToString(b)
}
