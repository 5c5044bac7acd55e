package kafka

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
)

// TestPositionOutsideTheLog checks that a position that the log no longer contains,
// or not yet again, is moved to the nearest offset, and that no record comes twice.
func TestPositionOutsideTheLog(t *testing.T) {
	for _, test := range []struct {
		about, cursor, from string
		deleted             int64
		warning, want       string
	}{
		{"after the end", "100", "earliest", 0, "ends at offset 10, before the position 100; continuing at 10", "10 11 12 13"},
		{"after the end, from latest", "100/0", "latest", 0, "ends at offset 10, before the position 100; continuing at 10", "10 11 12 13"},
		{"before the start", "2", "earliest", 5, "begins at offset 5, after the position 2; continuing at 5", "5 6 7 8 9 10 11 12 13"},
		{"before the start, from latest", "2/0", "latest", 5, "begins at offset 5, after the position 2; continuing at 5", "5 6 7 8 9 10 11 12 13"},
		{"within", "8/0", "earliest", 5, "", "8 9 10 11 12 13"},
	} {
		t.Run(test.about, func(t *testing.T) {
			const topic = "t"
			cluster, _ := newCluster(t, 1)
			sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
			admin := kadm.NewClient(sender)
			if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
			produce(t, sender, numbered(topic, 0, 0, 10)...)
			if test.deleted > 0 {
				upTo := kadm.Offsets{}
				upTo.AddOffset(topic, 0, test.deleted, -1)
				if _, err := admin.DeleteRecords(t.Context(), upTo); err != nil {
					t.Fatal(err)
				}
			}
			c, r := connect(t, settingsOf(cluster, nil)), connectortest.NewRuntime()
			seed(t, c, r, topic, test.cursor)
			with := connectortest.Settings{"topic": topic, "group": "g", "from": test.from}
			stop := listen(t, c, r, with)
			connectortest.Await(t, r, "the warning", func(s connectortest.State) bool { return s.Up && strings.HasSuffix(s.Warning, test.warning) })
			produce(t, sender, numbered(topic, 0, 10, 2)...)
			want := strings.Fields(test.want)
			connectortest.Await(t, r, "the records until 11", accepted(1+len(want)-2))
			stop()
			produce(t, sender, numbered(topic, 0, 12, 2)...)
			listen(t, c, r, with)
			s := connectortest.Await(t, r, "all", accepted(1+len(want)))
			if got := texts(s.Accepted, "0")[1:]; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// seed makes the runtime know a position.
func seed(t *testing.T, c *connection, r *connectortest.Runtime, topic, cursor string) {
	t.Helper()
	x, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	id, err := x.topic(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	host, stream := r.Host(), "g/"+id+"/0"
	if _, err := host.Cursor(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	if err := host.Deliver(t.Context(), &connectors.Message{Doc: document.FromText("seed"), Stream: stream, Cursor: []byte(cursor)}); err != nil {
		t.Fatal(err)
	}
}

// TestOutOfRangeWhileReceiving checks that a cluster that refuses an offset while
// records are received causes no repeats.
func TestOutOfRangeWhileReceiving(t *testing.T) {
	cluster, topic := newCluster(t, 1)
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	produce(t, sender, numbered(topic, 0, 0, 10)...)
	r := connectortest.NewRuntime()
	listen(t, connect(t, settingsOf(cluster, nil)), r, connectortest.Settings{"topic": topic, "group": "g"})
	connectortest.Await(t, r, "the first ones", accepted(10))
	var refusals atomic.Int32
	cluster.ControlKey(int16(kmsg.Fetch), func(k kmsg.Request) (kmsg.Response, error, bool) {
		request := k.(*kmsg.FetchRequest)
		if len(request.Topics) == 0 { // the topic that the session knows
			request.Topics = []kmsg.FetchRequestTopic{{TopicID: cluster.TopicInfo(topic).TopicID}}
		}
		answer := request.ResponseKind().(*kmsg.FetchResponse)
		answer.SessionID = request.SessionID
		of, part := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		of.Topic, of.TopicID = topic, request.Topics[0].TopicID
		part.ErrorCode, part.HighWatermark, part.LastStableOffset = kerr.OffsetOutOfRange.Code, 10, 10
		of.Partitions = append(of.Partitions, part)
		answer.Topics = append(answer.Topics, of)
		refusals.Add(1)
		return answer, nil, true
	})
	connectortest.Await(t, r, "down", down)
	produce(t, sender, numbered(topic, 0, 10, 3)...)
	s := connectortest.Await(t, r, "all", accepted(13))
	if got, want := fmt.Sprint(texts(s.Accepted, "0")), "[0 1 2 3 4 5 6 7 8 9 10 11 12]"; got != want || refusals.Load() != 1 {
		t.Errorf("got %s after %d refusals, want %s after 1", got, refusals.Load(), want)
	}
}

// TestTruncatedLog checks that records that replaced others at the same offsets are
// received, because the epoch of the leader shows the offset of the truncation.
func TestTruncatedLog(t *testing.T) {
	cluster, topic := newCluster(t, 1)
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	produce(t, sender, numbered(topic, 0, 0, 10)...)
	c, r := connect(t, settingsOf(cluster, nil)), connectortest.NewRuntime()
	with := connectortest.Settings{"topic": topic, "group": "g"}
	stop := listen(t, c, r, with)
	connectortest.Await(t, r, "the first ones", accepted(10))
	stop()
	var asked atomic.Bool
	cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(k kmsg.Request) (kmsg.Response, error, bool) {
		asked.Store(true)
		answer := k.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		of, part := kmsg.NewOffsetForLeaderEpochResponseTopic(), kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		of.Topic, part.LeaderEpoch, part.EndOffset = topic, 0, 7
		of.Partitions = append(of.Partitions, part)
		answer.Topics = append(answer.Topics, of)
		return answer, nil, true
	})
	listen(t, c, r, with)
	s := connectortest.Await(t, r, "those after the divergence", accepted(13))
	if got, want := fmt.Sprint(texts(s.Accepted, "0")[10:]), "[7 8 9]"; got != want || !asked.Load() {
		t.Errorf("got %s (asked: %v), want %s", got, asked.Load(), want)
	}
	if want := "was truncated at offset 7, before the position 10; continuing at 7"; !strings.HasSuffix(s.Warning, want) {
		t.Errorf("got the warning %q, want %q", s.Warning, want)
	}
}

func TestCursors(t *testing.T) {
	for text, want := range map[string]string{"5": "5@-1", "5/0": "5@0", "12/34": "12@34", "": "", "x": "", "5/": "", "5/x": ""} {
		at, ok := parseCursor(text)
		got := ""
		if ok {
			got = fmt.Sprintf("%d@%d", at.Offset, at.Epoch)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
