package kafka

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stream identifies a partition for the runtime.
func (r *receiver) stream(p int32) string {
	return r.Group + "/" + r.id + "/" + strconv.Itoa(int(p))
}

// cursorAfter returns the cursor of a record: the next offset and, if the cluster
// says it, the epoch of the leader. The epoch shows whether the log was truncated
// and written anew.
func cursorAfter(r *kgo.Record) []byte {
	b := strconv.AppendInt(nil, r.Offset+1, 10)
	if r.LeaderEpoch >= 0 {
		b = strconv.AppendInt(append(b, '/'), int64(r.LeaderEpoch), 10)
	}
	return b
}

// parseCursor returns the position of a cursor.
func parseCursor(text string) (kgo.EpochOffset, bool) {
	offset, epoch, found := strings.Cut(text, "/")
	at := kgo.EpochOffset{Epoch: -1}
	var err error
	if at.Offset, err = strconv.ParseInt(offset, 10, 64); err != nil {
		return at, false
	}
	if found {
		n, err := strconv.ParseInt(epoch, 10, 32)
		if at.Epoch = int32(n); err != nil {
			return at, false
		}
	}
	return at, true
}

// after reports whether a is after b. The offsets of a later leader follow those
// that the partition has kept of the earlier one.
func after(a, b kgo.EpochOffset) bool {
	if a.Epoch < 0 || b.Epoch < 0 {
		return a.Offset > b.Offset
	}
	return b.Less(a)
}

// cursor returns the position after the last record that the runtime has accepted.
func (r *receiver) cursor(ctx context.Context, p int32) (at kgo.EpochOffset, known bool, err error) {
	text, err := r.host.Cursor(ctx, r.stream(p))
	if err != nil || text == nil {
		return at, false, err
	}
	at, known = parseCursor(string(text))
	return at, known, nil
}

// begin returns the first offsets of the partitions that the group has assigned:
// after the last record that was accepted here or committed by any member, but
// within the log.
func (r *receiver) begin(ctx context.Context, assigned map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	parts := assigned[r.Topic]
	if len(parts) == 0 {
		return assigned, nil
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	starts, err := r.client.offsets(ctx, r.Topic, parts, logStart)
	if err != nil {
		return nil, err
	}
	ends, err := r.client.offsets(ctx, r.Topic, parts, logEnd)
	if err != nil {
		return nil, err
	}
	for p, o := range parts {
		at := o.EpochOffset() // a negative offset: none was committed
		cursor, known, err := r.cursor(ctx, p)
		switch {
		case err != nil:
			return nil, err
		case known && (at.Offset < 0 || after(cursor, at)):
			at = cursor
		case at.Offset < 0 && r.From == fromLatest:
			committed, err := r.client.offsets(ctx, r.Topic, map[int32]kgo.Offset{p: {}}, committedEnd)
			if err != nil {
				return nil, err
			}
			at = kgo.EpochOffset{Epoch: -1, Offset: committed[p]}
			r.note(func() { r.first[p] = at })
		}
		if at.Offset >= 0 {
			at = r.within(p, at, starts[p], ends[p])
			parts[p] = kgo.NewOffset().At(at.Offset).WithEpoch(at.Epoch)
		}
		r.note(func() { r.partitions[p] = &partition{next: at.Offset} })
	}
	return assigned, nil
}

// within returns the position in a log that is nearest to at, and warns if it is
// another one.
func (r *receiver) within(p int32, at kgo.EpochOffset, start, end int64) kgo.EpochOffset {
	before := at.Offset
	switch {
	case before < start:
		at = kgo.EpochOffset{Epoch: -1, Offset: start}
		r.host.Warn(fmt.Sprintf("records are missing: partition %d of %q begins at offset %d, after the position %d; continuing at %d", p, r.Topic, start, before, start))
	case before > end:
		at.Offset = end
		r.host.Warn(fmt.Sprintf("the cluster lost records: partition %d of %q ends at offset %d, before the position %d; continuing at %d", p, r.Topic, end, before, end))
	default:
		return at
	}
	r.note(func() { r.first[p] = at })
	return at
}

// rewound continues a partition at the offset at which its log was truncated, to
// which the client has returned.
func (r *receiver) rewound(loss *kgo.ErrDataLoss) {
	r.host.Warn(fmt.Sprintf("the cluster lost records: partition %d of %q was truncated at offset %d, before the position %d; continuing at %d", loss.Partition, loss.Topic, loss.ResetTo, loss.ConsumedTo, loss.ResetTo))
	r.note(func() {
		r.first[loss.Partition] = kgo.EpochOffset{Epoch: loss.ResetToEpoch, Offset: loss.ResetTo}
		if p := r.partitions[loss.Partition]; p != nil {
			p.next, p.attempts = loss.ResetTo, 0
		}
	})
}

// bound is an end of a log.
type bound struct {
	timestamp int64
	isolation int8
}

var (
	logStart     = bound{-2, 0}
	logEnd       = bound{-1, 0}
	committedEnd = bound{-1, 1} // of the records whose transactions have ended
)

// offsets returns the offsets of an end of partitions.
func (x *client) offsets(ctx context.Context, topic string, parts map[int32]kgo.Offset, of bound) (map[int32]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.IsolationLevel = of.isolation
	all := kmsg.NewListOffsetsRequestTopic()
	all.Topic = topic
	for p := range parts {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp, one.CurrentLeaderEpoch = p, of.timestamp, -1
		all.Partitions = append(all.Partitions, one)
	}
	request.Topics = append(request.Topics, all)
	answer, err := request.RequestWith(ctx, x.Client)
	if err != nil {
		return nil, err
	}
	found := map[int32]int64{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			found[p.Partition] = p.Offset
		}
	}
	if len(found) < len(parts) {
		return nil, kerr.UnknownTopicOrPartition
	}
	return found, nil
}
