package kafka

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"valence/connectors"
	"valence/internal/fault"
)

const (
	maxBatch      = 500 // records of one commit
	tick          = 250 * time.Millisecond
	checkEvery    = 10 * time.Second // the topic
	leaveTimeout  = 2 * time.Second
	maxRetryDelay = 30 * time.Second
)

// receiver delivers the records of the partitions that the group assigns to this
// member.
type receiver struct {
	*listenWith
	id     string // of the topic
	host   *connectors.Host
	client *client

	mu         sync.Mutex
	partitions map[int32]*partition // that this member has
	first      map[int32]kgo.EpochOffset
}

// partition is the position in a partition.
type partition struct {
	next, end int64 // offsets of the next record and of the end, as far as known
	attempts  int   // deliveries of the next record that failed
}

// stream identifies a partition for the runtime.
func (r *receiver) stream(p int32) string {
	return r.Group + "/" + r.id + "/" + strconv.Itoa(int(p))
}

// cursor returns the offset after the last record that the runtime has accepted.
func (r *receiver) cursor(ctx context.Context, p int32) (next int64, known bool, err error) {
	text, err := r.host.Cursor(ctx, r.stream(p))
	if err != nil || text == nil {
		return 0, false, err
	}
	next, err = strconv.ParseInt(string(text), 10, 64)
	return next, err == nil, err
}

// receive delivers records until ctx ends or the group cannot be used.
func (c *connection) receive(ctx context.Context, w *listenWith, id string, host *connectors.Host) error {
	r := &receiver{listenWith: w, id: id, host: host, partitions: map[int32]*partition{}, first: map[int32]kgo.EpochOffset{}}
	x, err := c.member(w, r)
	if err != nil {
		return err
	}
	r.client = x
	defer r.leave()
	checked := time.Now()
	for ctx.Err() == nil {
		if err := r.poll(ctx); err != nil {
			return err
		}
		if time.Since(checked) > checkEvery {
			checked = time.Now()
			now, err := x.topic(ctx, w.Topic)
			if err != nil {
				return err
			}
			if now != id {
				return connectors.Retry(codeMissing, "the topic was deleted and created again", 0, nil)
			}
		}
		select {
		case <-x.lost:
			return x.cause()
		default:
		}
	}
	return nil
}

// leave commits the position and leaves the group.
func (r *receiver) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := r.client.CommitMarkedOffsets(ctx)
	r.client.AllowRebalance()
	if err = errors.Join(err, r.client.LeaveGroupContext(ctx)); err != nil {
		r.host.Log.Warn("cannot leave the group properly; records may come again", "topic", r.Topic, "group", r.Group, "error", err)
	}
	r.client.close()
}

// begin returns the first offsets of the partitions that the group has assigned: after
// the last record that was accepted here or committed by any member.
func (r *receiver) begin(ctx context.Context, assigned map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var ends map[int32]int64
	for p, o := range assigned[r.Topic] {
		next := o.EpochOffset().Offset
		cursor, known, err := r.cursor(ctx, p)
		if err != nil {
			return nil, err
		}
		switch {
		case known:
			next = max(next, cursor)
		case next >= 0 || r.From != fromLatest: // committed by another member, or from the start
		default:
			if ends == nil {
				if ends, err = r.client.ends(ctx, r.Topic, assigned[r.Topic]); err != nil {
					return nil, err
				}
			}
			next = ends[p]
			r.note(func() { r.first[p] = kgo.EpochOffset{Epoch: -1, Offset: next} })
		}
		if next >= 0 {
			assigned[r.Topic][p] = kgo.NewOffset().At(next)
		}
		r.note(func() { r.partitions[p] = &partition{next: next} })
	}
	return assigned, nil
}

func (r *receiver) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// drop forgets partitions that this member no longer has.
func (r *receiver) drop(parts map[string][]int32) {
	r.note(func() {
		for _, p := range parts[r.Topic] {
			delete(r.partitions, p)
			delete(r.first, p)
		}
	})
}

// ends returns the offsets of the ends of partitions.
func (x *client) ends(ctx context.Context, topic string, parts map[int32]kgo.Offset) (map[int32]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.IsolationLevel = 1 // of committed records
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = topic
	for p := range parts {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp, one.CurrentLeaderEpoch = p, -1, -1
		of.Partitions = append(of.Partitions, one)
	}
	request.Topics = append(request.Topics, of)
	answer, err := request.RequestWith(ctx, x.Client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.Offset
		}
	}
	if len(ends) < len(parts) {
		return nil, kerr.UnknownTopicOrPartition
	}
	return ends, nil
}

// poll delivers the records that have arrived, and reports the lag.
func (r *receiver) poll(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, tick)
	fetched := r.client.PollRecords(waiting, maxBatch)
	cancel()
	defer r.client.AllowRebalance()
	for _, f := range fetched.Errors() {
		if !errors.Is(f.Err, context.DeadlineExceeded) && !errors.Is(f.Err, context.Canceled) {
			return f.Err
		}
	}
	if err := r.commitFirst(ctx); err != nil {
		return err
	}
	r.deliver(ctx, fetched)
	r.reportLag()
	return nil
}

// commitFirst commits the positions at which a new group begins with later
// records, so that it does not begin with still later ones after a restart.
func (r *receiver) commitFirst(ctx context.Context) error {
	var first map[int32]kgo.EpochOffset
	r.note(func() { first, r.first = r.first, map[int32]kgo.EpochOffset{} })
	if len(first) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var failure error
	r.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{r.Topic: first}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		failure = err
	})
	return failure
}

// deliver delivers records in one commit. A partition with a record that must be
// redelivered is continued later, from that record.
func (r *receiver) deliver(ctx context.Context, fetched kgo.Fetches) {
	var records []*kgo.Record
	fetched.EachPartition(func(t kgo.FetchTopicPartition) {
		r.note(func() {
			if p := r.partitions[t.Partition]; p != nil {
				p.end = max(p.end, t.HighWatermark)
			}
		})
		records = append(records, t.Records...)
	})
	var messages []*connectors.Message
	stopped := map[int32]error{}
	var delivered []*kgo.Record
	for _, record := range records {
		if stopped[record.Partition] != nil {
			continue
		}
		m, err := incoming(ctx, record, r.stream(record.Partition), r.delivery(record))
		if err != nil {
			stopped[record.Partition] = err
			r.later(ctx, record, err)
			continue
		}
		messages, delivered = append(messages, m), append(delivered, record)
	}
	if len(messages) == 0 || ctx.Err() != nil {
		return
	}
	failed := map[int32]bool{}
	for i, err := range r.host.DeliverBatch(ctx, messages) {
		record := delivered[i]
		switch {
		case failed[record.Partition]:
		case err == nil || connectors.Refused(err):
			r.client.MarkCommitRecords(record)
			r.note(func() {
				if p := r.partitions[record.Partition]; p != nil {
					p.next, p.attempts = record.Offset+1, 0
				}
			})
		default:
			failed[record.Partition] = true
			r.later(ctx, record, err)
		}
	}
}

// delivery counts the deliveries of a record.
func (r *receiver) delivery(record *kgo.Record) (n int) {
	n = 1
	r.note(func() {
		if p := r.partitions[record.Partition]; p != nil && p.attempts > 0 && p.next == record.Offset {
			n += p.attempts
		}
	})
	return n
}

// later pauses a partition and continues it with a record that was not accepted,
// unless the runtime has accepted it all the same.
func (r *receiver) later(ctx context.Context, record *kgo.Record, why error) {
	next := record.Offset
	cursor, known, err := r.cursor(ctx, record.Partition)
	if known {
		next = max(next, cursor)
	}
	delay := maxRetryDelay // of a store that cannot be read
	if err == nil {
		attempts := 0
		r.note(func() {
			if p := r.partitions[record.Partition]; p != nil {
				if p.next != next {
					p.attempts = 0
				}
				p.next = next
				p.attempts++
				attempts = p.attempts
			}
		})
		delay = retryDelay(why, attempts)
	}
	parts := map[string][]int32{r.Topic: {record.Partition}}
	r.client.PauseFetchPartitions(parts)
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{r.Topic: {record.Partition: {Epoch: -1, Offset: next}}})
	time.AfterFunc(delay, func() { r.client.ResumeFetchPartitions(parts) })
}

// retryDelay returns the pause before a record is delivered again.
func retryDelay(err error, attempt int) time.Duration {
	delay := min(100*time.Millisecond<<min(max(attempt-1, 0), 10), maxRetryDelay)
	if f := fault.AsFailure(err); f != nil {
		delay = max(delay, f.RetryAfter)
	}
	return delay
}

// reportLag reports how many records of its partitions this member has not
// delivered.
func (r *receiver) reportLag() {
	lag := int64(0)
	r.note(func() {
		for _, p := range r.partitions {
			if p.next >= 0 && p.end > p.next {
				lag += p.end - p.next
			}
		}
	})
	r.host.Lag(lag)
}
