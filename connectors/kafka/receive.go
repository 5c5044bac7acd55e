package kafka

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"valence/connectors"
	"valence/connectors/session"
)

const (
	// One commit accepts at most maxBatch records, of maxBatchBytes unless one is
	// larger.
	maxBatch      = 10_000
	maxBatchBytes = 8 << 20
	tick          = 250 * time.Millisecond
	checkEvery    = 10 * time.Second // the topic
	leaveTimeout  = 2 * time.Second
)

// receiver delivers the records of the partitions that the group assigns to this
// member.
type receiver struct {
	*listenWith
	id     string // of the topic
	host   *connectors.Host
	client *client
	ready  chan struct{} // closed when client is set

	mu         sync.Mutex
	partitions map[int32]*partition // that this member has
	first      map[int32]kgo.EpochOffset
}

// partition is the position in a partition.
type partition struct {
	next, end int64 // offsets of the next record and of the end, as far as known
	attempts  int   // deliveries of the next record that failed
}

// receive delivers records until ctx ends or the group cannot be used.
func (c *connection) receive(ctx context.Context, w *listenWith, id string, host *connectors.Host) error {
	r := &receiver{listenWith: w, id: id, host: host, partitions: map[int32]*partition{}, first: map[int32]kgo.EpochOffset{}, ready: make(chan struct{})}
	x, err := c.member(w, r)
	if err != nil {
		return err
	}
	r.client = x
	close(r.ready)
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

// poll delivers the records that have arrived, and reports the lag.
func (r *receiver) poll(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, tick)
	fetched := r.client.PollRecords(waiting, maxBatch)
	cancel()
	defer r.client.AllowRebalance()
	for _, f := range fetched.Errors() {
		var loss *kgo.ErrDataLoss
		switch {
		case errors.As(f.Err, &loss):
			r.rewound(loss)
		case !errors.Is(f.Err, context.DeadlineExceeded) && !errors.Is(f.Err, context.Canceled):
			return f.Err // after OFFSET_OUT_OF_RANGE the next member begins within the log
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
// records, or which were moved into the log, so that a restart begins there too.
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

// deliver delivers records in as few commits as their size allows. A partition with
// a record that must be redelivered is continued later, from that record.
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
	stopped := map[int32]error{}
	for len(records) > 0 && ctx.Err() == nil {
		n, size := 0, 0
		for n < len(records) && (n == 0 || size+len(records[n].Value) <= maxBatchBytes) {
			size += len(records[n].Value)
			n++
		}
		r.deliverBatch(ctx, records[:n], stopped)
		records = records[n:]
	}
}

// deliverBatch delivers records in one commit, except those of partitions that are
// stopped, and adds the partitions that are to be continued later.
func (r *receiver) deliverBatch(ctx context.Context, records []*kgo.Record, stopped map[int32]error) {
	var messages []*connectors.Message
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
	failed := map[int32]error{}
	for i, err := range r.host.DeliverBatch(ctx, messages) {
		record := delivered[i]
		switch {
		case failed[record.Partition] != nil:
		case err == nil:
			r.client.MarkCommitRecords(record)
			r.note(func() {
				if p := r.partitions[record.Partition]; p != nil {
					p.next, p.attempts = record.Offset+1, 0
				}
			})
		default:
			failed[record.Partition] = err
			r.later(ctx, record, err)
		}
	}
	maps.Copy(stopped, failed)
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
	at := kgo.EpochOffset{Epoch: record.LeaderEpoch, Offset: record.Offset}
	cursor, known, err := r.cursor(ctx, record.Partition)
	if known && after(cursor, at) {
		at = cursor
	}
	next := at.Offset
	delay := session.MaxRetryDelay // of a store that cannot be read
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
		delay = session.RetryDelay(why, attempts)
	}
	parts := map[string][]int32{r.Topic: {record.Partition}}
	r.client.PauseFetchPartitions(parts)
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{r.Topic: {record.Partition: {Epoch: -1, Offset: next}}})
	time.AfterFunc(delay, func() { r.client.ResumeFetchPartitions(parts) })
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
