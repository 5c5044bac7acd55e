package kafka

import (
	"context"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"valence/connectors"
	"valence/internal/spec"
)

type listenWith struct {
	Topic, Group, From string
	Session            time.Duration
}

const fromLatest = "latest"

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Receives the records of a topic as a member of a consumer group. Atoms with the same group share the partitions. The order of each partition is kept: a record that cannot be accepted holds up " +
			"its partition only. The position is stored with the messages, so that records that come again after a crash are recognized. After that it is committed to the group: an atom that takes over " +
			"a partition from another one that died may receive the last records once more. If the cluster has lost or deleted records, a partition continues at the nearest offset that exists, and the subscription shows a warning. To read a topic again, use another group. A record that the process refuses, or whose value does not " +
			"match its content type, is kept as a failed execution. The value is read by the header `content-type`; without one it is JSON, text or bytes.",
		Sample:  "subscribe: { connection: broker, topic: orders, group: invoicing }\nsequence: { key: \"${props.key}\" }\n",
		NewWith: func() any { return &listenWith{} },
		With: []spec.Field{
			spec.String("topic", func(w *listenWith) *string { return &w.Topic }, "Topic. It must exist.").Eg("orders").Required(),
			spec.String("group", func(w *listenWith) *string { return &w.Group }, "Consumer group.").Eg("invoicing").Required(),
			spec.Enum("from", func(w *listenWith) *string { return &w.From }, "Where a group without a position begins.", "earliest", fromLatest).Or("earliest"),
			spec.Duration("session_timeout", func(w *listenWith) *time.Duration { return &w.Session },
				"How long the group waits for an atom that shows no sign of life, before others receive its partitions. The cluster has limits, by default 6s to 30m.").Or(10 * time.Second).Min(time.Second).Max(30 * time.Minute),
		},
		Check: func(v any) []string { return checkTopic(v.(*listenWith).Topic) },
		Props: "The process reads `topic`, `partition`, `offset`, `key` (nil without one), `deleted` (whether the record has no value), `timestamp` and `headers` as `props`. Keys and headers that are not text are in Base64.",
	}
}

var _ connectors.Listener = (*connection)(nil)

// Listen implements connectors.Listener.
func (c *connection) Listen(ctx context.Context, v any, host *connectors.Host) error {
	w := v.(*listenWith)
	return c.calls.Listen(ctx, host, func(ctx context.Context, x *client) error {
		what := "cannot receive from " + strconv.Quote(w.Topic)
		id, err := x.topic(ctx, w.Topic)
		if err == nil {
			err = c.receive(ctx, w, id, host)
		}
		if err == nil {
			return nil
		}
		if f := connectors.Interrupted(ctx, what); f != nil {
			return f
		}
		return failed(what, err)
	})
}

// topic returns the identity of a topic. A topic that was deleted and created
// again has another one.
func (x *client) topic(ctx context.Context, name string) (id string, err error) {
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	request.Topics = []kmsg.MetadataRequestTopic{topic}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := request.RequestWith(ctx, x.Client)
	if err != nil {
		if cause := x.cause(); cause != nil {
			return "", connectFailure(ctx, cause)
		}
		return "", err
	}
	if len(answer.Topics) != 1 {
		return "", kerr.UnknownTopicOrPartition
	}
	if err := kerr.ErrorForCode(answer.Topics[0].ErrorCode); err != nil {
		return "", err
	}
	if id := answer.Topics[0].TopicID; id != [16]byte{} {
		return hex.EncodeToString(id[:]), nil
	}
	return name, nil // an old cluster
}

// askTimeout bounds one question to the cluster.
const askTimeout = 10 * time.Second

// member returns a client that is a member of the group.
func (c *connection) member(w *listenWith, r *receiver) (*client, error) {
	start := kgo.NewOffset().AtStart()
	return c.client(kgo.ConsumerGroup(w.Group), kgo.ConsumeTopics(w.Topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(start), kgo.ConsumeResetOffset(kgo.NoResetOffset()), // see receiver.begin
		kgo.SessionTimeout(w.Session), kgo.HeartbeatInterval(max(w.Session/4, 100*time.Millisecond)), kgo.FetchMaxBytes(16<<20), kgo.FetchMaxWait(time.Second),
		kgo.BlockRebalanceOnPoll(), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(commitEvery), kgo.AdjustFetchOffsetsFn(r.begin),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { r.host.Up() }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, x *kgo.Client, parts map[string][]int32) {
			if err := x.CommitMarkedOffsets(ctx); err != nil {
				r.host.Log.Warn("cannot commit the position to the group; records may come again", "topic", w.Topic, "group", w.Group, "error", err)
			}
			r.drop(parts)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { r.drop(parts) }))
}

// commitEvery is how long a position may wait until it is committed to the group.
const commitEvery = 100 * time.Millisecond
