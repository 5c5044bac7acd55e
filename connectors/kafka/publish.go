package kafka

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

type publishWith struct {
	Topic, Key string
	Partition  int
	Headers    []spec.KV
	Delete     bool
}

var publishOperation = connectors.Define(connectors.Operation{
	Name: "publish", SendsBody: true,
	Doc: "Publishes the document, or the bytes of a file, as a record. It returns `{ partition, offset }` when the in-sync replicas have the record. The producer is idempotent, so that " +
		"the client's own repeats are stored once. A repeated attempt of a call is another record with the same header `message-id`.",
	With: []spec.Field{
		spec.String("topic", func(w *publishWith) *string { return &w.Topic }, "Topic. It must exist.").Eg("orders").Required(),
		spec.String("key", func(w *publishWith) *string { return &w.Key }, "Key. Records with the same key are in the same partition, in their order.").Eg("${doc.id}"),
		spec.Int("partition", func(w *publishWith) *int { return &w.Partition }, "Partition. By default it follows from the key.").Or(anyPartition).Min(anyPartition),
		spec.StringMap("headers", func(w *publishWith) *[]spec.KV { return &w.Headers }, "Headers. They replace headers of the connector with the same name."),
		spec.Bool("delete", func(w *publishWith) *bool { return &w.Delete }, "Publish no value: in a compacted topic, the key is deleted."),
	},
	Check: func(v any) []string {
		w := v.(*publishWith)
		wrong := checkTopic(w.Topic)
		if w.Delete && w.Key == "" {
			wrong = append(wrong, "delete: needs key")
		}
		return wrong
	},
	Sample: "- call: broker.publish\n  with: { topic: orders, key: \"${doc.id}\" }\n",
}, func(ctx context.Context, c *connection, w *publishWith, call *connectors.Call) (*connectors.Result, error) {
	r, err := w.record(call)
	if err != nil {
		return nil, err
	}
	err = c.calls.Do(ctx, func(x *client) error { return x.publish(ctx, r, w.Partition) })
	if err != nil {
		return nil, err
	}
	o := &document.Object{}
	o.Set("partition", document.Number(strconv.Itoa(int(r.Partition))))
	o.Set("offset", document.Number(strconv.FormatInt(r.Offset, 10)))
	return &connectors.Result{Doc: document.FromValue(o)}, nil
})

// record returns the record of a call.
func (w *publishWith) record(call *connectors.Call) (*kgo.Record, error) {
	if why := topicProblem(w.Topic); why != "" {
		return nil, fault.Failf(codeBadCall, "cannot publish to %q: %s", spec.Clip(w.Topic), why)
	}
	r := &kgo.Record{Topic: w.Topic}
	if w.Key != "" {
		r.Key = []byte(w.Key)
	}
	mediaType := ""
	if call.Body != nil && !w.Delete {
		body, of, err := call.Body.Content()
		if err != nil {
			return nil, fault.Failf(codeBadCall, "the document is not a valid file: %v", err)
		}
		if r.Value, mediaType = body, of; r.Value == nil {
			r.Value = []byte{}
		}
	}
	for _, h := range []spec.KV{{Name: headerType, Value: mediaType}, {Name: headerID, Value: call.IdempotencyKey}, {Name: headerCorrelation, Value: call.CorrelationID}, {Name: headerTrace, Value: call.Traceparent}} {
		if h.Value != "" && !named(w.Headers, h.Name) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
		}
	}
	for _, h := range w.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
	}
	return r, nil
}

func named(headers []spec.KV, name string) bool {
	for _, h := range headers {
		if strings.EqualFold(h.Name, name) {
			return true
		}
	}
	return false
}

// publish waits until a record is stored. The client may still send a record whose
// ctx has ended.
func (x *client) publish(ctx context.Context, r *kgo.Record, partition int) error {
	what := "publish to " + strconv.Quote(r.Topic)
	done, to := make(chan error, 1), &choice{partition: int32(partition)}
	x.Produce(context.WithValue(ctx, choiceKey{}, to), r, func(_ *kgo.Record, err error) { done <- err })
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		if f := connectors.Interrupted(ctx, what); f != nil {
			return f
		}
		if n := to.exist.Load(); n > 0 {
			return connectors.Failf(codeMissing, false, err, "%s: the topic has no partition %d, but %d partitions from 0", what, partition, n)
		}
		f := failed(what, err)
		if errors.Is(err, kerr.MessageTooLarge) {
			f.Message = what + ": the record is larger than max_message, or than the topic accepts (max.message.bytes)"
		}
		return f
	case <-x.lost:
		return connectors.Failf(fault.CodeAborted, true, x.cause(), "%s: no broker can be reached", what)
	case <-ctx.Done():
		if cause := x.cause(); cause != nil {
			what += ": not acknowledged: " + text(cause)
		}
		return connectors.Interrupted(ctx, what)
	}
}

// anyPartition lets the key choose the partition.
const anyPartition = -1

// choice is the wanted partition of a record, in the context of the record.
type choice struct {
	partition int32
	exist     atomic.Int32 // how many partitions there are, if the wanted one does not exist
}

type choiceKey struct{}

func choiceOf(r *kgo.Record) *choice {
	if r.Context != nil {
		if c, _ := r.Context.Value(choiceKey{}).(*choice); c != nil && c.partition != anyPartition {
			return c
		}
	}
	return nil
}

// partitioner partitions records as their context says, and otherwise by key.
type partitioner struct{ kgo.Partitioner }

// ForTopic implements kgo.Partitioner.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{p.Partitioner.ForTopic(topic)}
}

type topicPartitioner struct{ kgo.TopicPartitioner }

// RequiresConsistency implements kgo.TopicPartitioner.
func (t topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return choiceOf(r) != nil || t.TopicPartitioner.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (t topicPartitioner) Partition(r *kgo.Record, n int) int {
	if c := choiceOf(r); c != nil {
		if int(c.partition) >= n {
			c.exist.Store(int32(n))
		}
		return int(c.partition)
	}
	return t.TopicPartitioner.Partition(r, n)
}

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch.
func (t topicPartitioner) OnNewBatch() {
	if sticky, ok := t.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		sticky.OnNewBatch()
	}
}
