package kafka

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/program"
)

// binary is the program.
var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(suite{m}, &binary)) }

// newCluster starts a cluster in this process with a topic of n partitions, named
// as the test.
func newCluster(t *testing.T, n int32, options ...kfake.Opt) (cluster *kfake.Cluster, topic string) {
	t.Helper()
	topic = strings.ReplaceAll(t.Name(), "/", ".")
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(n, topic), kfake.GroupMinSessionTimeout(time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, topic
}

// settingsOf returns the settings of a connection to a cluster.
func settingsOf(c *kfake.Cluster, with connectortest.Settings) connectortest.Settings {
	s := connectortest.Settings{"brokers": strings.Join(c.ListenAddrs(), ", ")}
	for k, v := range with {
		s[k] = v
	}
	return s
}

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

// connect opens a connection until the test ends.
func connect(t *testing.T, s connectortest.Settings) *connection {
	t.Helper()
	into := &settings{}
	bind(t, settingsFields, into, s)
	c, err := open(into, "1.2.3", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// publish makes one attempt of a call.
func publish(ctx context.Context, t *testing.T, c *connection, body string, with connectortest.Settings) (*connectors.Result, error) {
	t.Helper()
	w := publishOperation.NewWith()
	bind(t, publishOperation.With, w, with)
	return publishOperation.Run(ctx, c, w, &connectors.Call{Body: document.FromJSON([]byte(body)), IdempotencyKey: "key-" + body, CorrelationID: "corr-1",
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
}

// listen runs a subscription until the test ends or stop is called.
func listen(t *testing.T, c *connection, r *connectortest.Runtime, with connectortest.Settings) (stop func()) {
	t.Helper()
	w := &listenWith{}
	bind(t, subscription().With, w, with)
	return connectortest.Listen(t, c, w, r)
}

func up(s connectortest.State) bool { return s.Up }

func down(s connectortest.State) bool { return s.Down != nil }

func accepted(n int) func(connectortest.State) bool {
	return func(s connectortest.State) bool { return len(s.Accepted) >= n }
}

// newPlain returns a client that is not ours.
func newPlain(t *testing.T, addresses string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	x, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(addresses, ", ")...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.CloseAllowingRebalance)
	return x
}

// produce publishes records to partitions.
func produce(t *testing.T, x *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := x.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// numbered returns records with the numbers of a range.
func numbered(topic string, partition int32, from, n int) (records []*kgo.Record) {
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Append(nil, from+i)})
	}
	return records
}

// texts returns the documents of the messages of a partition.
func texts(ms []*connectors.Message, partition string) (all []string) {
	for _, m := range ms {
		if strings.HasSuffix(m.Stream, "/"+partition) {
			all = append(all, m.Doc.Text())
		}
	}
	return all
}

// wantFailure checks the code and the text of a failure.
func wantFailure(t *testing.T, what string, err error, code string, retryable bool, text string) {
	t.Helper()
	f := fault.AsFailure(err)
	if f == nil || f.Code != code || f.Retryable != retryable || !strings.Contains(f.Message, text) {
		t.Errorf("%s: got %v, want %s (retryable: %v) with %q", what, err, code, retryable, text)
	}
}
