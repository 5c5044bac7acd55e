package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/test/testcert"
)

func TestConforms(t *testing.T) {
	cluster, topic := newCluster(t, 1, kfake.SeedTopics(1, "out"))
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  settingsOf(cluster, nil),
		Away:      connectortest.Settings{"brokers": connectortest.AwayAddress(t)},
		Silent:    connectortest.Settings{"brokers": connectortest.SilentAddress(t)},
		Calls:     []connectortest.Call{{Operation: "publish", With: connectortest.Settings{"topic": "out"}, Body: `{"n":1}`}},
		Source: &connectortest.Source{
			With:    connectortest.Settings{"topic": topic, "group": "g"},
			Ordered: true,
			Send:    func(t *testing.T, doc string) { produce(t, sender, &kgo.Record{Topic: topic, Value: []byte(doc)}) },
		},
	})
}

func TestPublish(t *testing.T) {
	cluster, topic := newCluster(t, 4)
	c := connect(t, settingsOf(cluster, nil))
	with := connectortest.Settings{"topic": topic, "key": "k7", "headers": map[string]any{"region": "PT"}}
	var first string
	for i := range 3 {
		r, err := publish(t.Context(), t, c, `{"id":7}`, with)
		if err != nil {
			t.Fatal(err)
		}
		partition, _, _ := strings.Cut(r.Doc.Text(), ",")
		if i == 0 {
			first = partition
		}
		if want := fmt.Sprintf(`%s,"offset":%d}`, first, i); r.Doc.Text() != want {
			t.Errorf("got %s, want %s", r.Doc.Text(), want)
		}
	}
	r, err := publish(t.Context(), t, c, "1", connectortest.Settings{"topic": topic, "key": "k7", "partition": 3, "delete": true})
	if err != nil || !strings.HasPrefix(r.Doc.Text(), `{"partition":3,`) {
		t.Errorf("got %v, %v, want partition 3", r, err)
	}
	x := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	var records []*kgo.Record
	for len(records) < 4 {
		fetched := x.PollFetches(t.Context())
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetched.Records()...)
	}
	for _, r := range records {
		got := string(r.Key) + " " + string(r.Value)
		for _, h := range r.Headers {
			got += " " + h.Key + "=" + string(h.Value)
		}
		want := `k7 {"id":7} content-type=application/json message-id=key-{"id":7} correlation-id=corr-1 traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 region=PT`
		if r.Value == nil {
			want = "k7  message-id=key-1 correlation-id=corr-1 traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		}
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRefusedRecords(t *testing.T) {
	cluster, topic := newCluster(t, 2)
	c := connect(t, settingsOf(cluster, connectortest.Settings{"max_message": "2KiB"}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := publish(ctx, t, c, `"`+strings.Repeat("x", 9000)+`"`, connectortest.Settings{"topic": topic})
	wantFailure(t, "a large record", err, fault.CodeTooLarge, false, "larger than max_message")
	_, err = publish(ctx, t, c, "1", connectortest.Settings{"topic": "missing"})
	wantFailure(t, "a topic that does not exist", err, codeMissing, true, "UNKNOWN_TOPIC_OR_PARTITION")
	_, err = publish(ctx, t, c, "1", connectortest.Settings{"topic": topic, "partition": 2})
	wantFailure(t, "a partition that does not exist", err, codeMissing, false, "the topic has no partition 2, but 2 partitions from 0")
	if _, err = publish(ctx, t, c, "1", connectortest.Settings{"topic": topic}); err != nil {
		t.Errorf("afterwards: got %v, want nil", err)
	}
}

func TestMessages(t *testing.T) {
	cluster, topic := newCluster(t, 1)
	at := time.Date(2026, 5, 11, 9, 30, 0, 0, time.UTC)
	header := func(list ...string) (all []kgo.RecordHeader) {
		for i := 0; i < len(list); i += 2 {
			all = append(all, kgo.RecordHeader{Key: list[i], Value: []byte(list[i+1])})
		}
		return all
	}
	tests := []struct {
		record  kgo.Record
		doc     string // its data view
		props   string // the rest of them
		invalid bool
	}{
		{kgo.Record{Value: []byte(`{"a":1}`), Key: []byte("k")}, `{"a":1}`, `"key":"k","deleted":false,"timestamp":"2026-05-11T09:30:00Z","headers":{}`, false},
		{kgo.Record{Value: []byte("text")}, `"text"`, `"key":null,"deleted":false,"timestamp":"2026-05-11T09:30:00Z","headers":{}`, false},
		{kgo.Record{Value: []byte("\xff\x00"), Key: []byte{0xff}}, "", `"key":"/w==","deleted":false,"timestamp":"2026-05-11T09:30:00Z","headers":{}`, false},
		{kgo.Record{Key: []byte("k")}, "null", `"key":"k","deleted":true,"timestamp":"2026-05-11T09:30:00Z","headers":{}`, false},
		{kgo.Record{Value: []byte("<a>1</a>"), Headers: header(headerType, "text/xml", "tag", "a", "tag", "b", "b", "\xff")}, `{"a":"1"}`,
			`"key":null,"deleted":false,"timestamp":"2026-05-11T09:30:00Z","headers":{"content-type":"text/xml","tag":["a","b"],"b":"/w=="}`, false},
		{kgo.Record{Value: []byte("{"), Headers: header(headerType, "application/json", headerCorrelation, "c1", headerTrace, "t1")}, "",
			`"key":null,"deleted":false,"timestamp":"2026-05-11T09:30:00Z","headers":{"content-type":"application/json","correlation-id":"c1","traceparent":"t1"}`, true},
	}
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	for i := range tests {
		tests[i].record.Topic, tests[i].record.Timestamp = topic, at
		produce(t, sender, &tests[i].record)
	}
	r := connectortest.NewRuntime()
	listen(t, connect(t, settingsOf(cluster, nil)), r, connectortest.Settings{"topic": topic, "group": "g"})
	s := connectortest.Await(t, r, "all", func(s connectortest.State) bool { return len(s.Accepted)+len(s.Refused) == len(tests) })
	got := append(s.Accepted, s.Refused...)
	for i, test := range tests {
		m, want := got[i], fmt.Sprintf(`{"topic":%q,"partition":0,"offset":%d,%s}`, topic, i, test.props)
		if props := string(document.AppendJSON(nil, m.Props)); m.Doc.Data() != test.doc || props != want || (m.Invalid != nil) != test.invalid || string(m.Cursor) != fmt.Sprintf("%d/0", i+1) || !m.Time.Equal(at) {
			t.Errorf("record %d: got %s %s (%v), want %s %s", i, m.Doc.Data(), props, m.Invalid, test.doc, want)
		}
	}
	if m := got[5]; m.CorrelationID != "c1" || m.Traceparent != "t1" {
		t.Errorf("got %q and %q, want the context", m.CorrelationID, m.Traceparent)
	}
}

// TestPartitionsAreIndependent checks that a record that cannot be accepted holds
// up its own partition only, in its order, and counts its deliveries.
func TestPartitionsAreIndependent(t *testing.T) {
	cluster, topic := newCluster(t, 2)
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	r := connectortest.NewRuntime()
	var mended atomic.Bool
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() == "3" && (!mended.Load() || m.Delivery < 3) {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	listen(t, connect(t, settingsOf(cluster, nil)), r, connectortest.Settings{"topic": topic, "group": "g"})
	produce(t, sender, append(numbered(topic, 0, 0, 10), numbered(topic, 1, 100, 10)...)...)
	connectortest.Await(t, r, "the other partition, and the lag", func(s connectortest.State) bool { return len(texts(s.Accepted, "1")) == 10 && s.Lag == 7 })
	produce(t, sender, numbered(topic, 1, 110, 1)...)
	s := connectortest.Await(t, r, "one more", func(s connectortest.State) bool { return len(texts(s.Accepted, "1")) == 11 })
	if got := texts(s.Accepted, "0"); !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("got %v, want the records before the one that failed", got)
	}
	mended.Store(true)
	s = connectortest.Await(t, r, "all", accepted(21))
	if got := texts(s.Accepted, "0"); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}) {
		t.Errorf("got %v, want all in order", got)
	}
	connectortest.Await(t, r, "no lag", func(s connectortest.State) bool { return s.Lag == 0 })
}

// TestLatest checks that a group that begins with later records misses none from
// then on, and continues after the last record.
func TestLatest(t *testing.T) {
	cluster, topic := newCluster(t, 1)
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	produce(t, sender, numbered(topic, 0, 0, 5)...)
	with := connectortest.Settings{"topic": topic, "group": "g", "from": "latest"}
	c, r := connect(t, settingsOf(cluster, nil)), connectortest.NewRuntime()
	stop := listen(t, c, r, with)
	admin := kadm.NewClient(sender)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // another client's view
		offsets, err := admin.FetchOffsets(t.Context(), "g")
		if o, ok := offsets.Lookup(topic, 0); err == nil && ok && o.At == 5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v (%v), want the position 5", offsets, err)
		}
	}
	stop()
	produce(t, sender, numbered(topic, 0, 5, 2)...)
	listen(t, c, r, with)
	s := connectortest.Await(t, r, "the later ones", accepted(2))
	if got := texts(s.Accepted, "0"); !slices.Equal(got, []string{"5", "6"}) {
		t.Errorf("got %v, want 5 and 6", got)
	}
}

// TestRebalance checks that members of a group share the partitions, and take over
// those of a member that leaves, without repeats.
func TestRebalance(t *testing.T) {
	cluster, topic := newCluster(t, 4)
	sender := newPlain(t, strings.Join(cluster.ListenAddrs(), ", "))
	with := connectortest.Settings{"topic": topic, "group": "g"}
	var runtimes []*connectortest.Runtime
	var stops []func()
	for range 2 {
		r := connectortest.NewRuntime()
		stops = append(stops, listen(t, connect(t, settingsOf(cluster, nil)), r, with))
		runtimes = append(runtimes, r)
		connectortest.Await(t, r, "up", up)
	}
	total := func() (all []string) {
		for _, r := range runtimes {
			for _, m := range r.State().Accepted {
				all = append(all, m.Doc.Text())
			}
		}
		return all
	}
	sent := 0
	send := func() {
		t.Helper()
		var records []*kgo.Record
		for p := range int32(4) {
			records = append(records, numbered(topic, p, sent, 5)...)
			sent += 5
		}
		produce(t, sender, records...)
		for deadline := time.Now().Add(time.Minute); len(total()) < sent; time.Sleep(10 * time.Millisecond) { // several runtimes
			if time.Now().After(deadline) {
				t.Fatalf("got %d of %d records", len(total()), sent)
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); len(runtimes[0].State().Accepted) == 0 || len(runtimes[1].State().Accepted) == 0; {
		if send(); time.Now().After(deadline) {
			t.Fatal("got all records in one member, want them shared")
		}
	}
	stops[0]()
	send()
	all := total()
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != sent || len(all) != sent {
		t.Errorf("got %d records, %d of them different, want %d", len(all), n, sent)
	}
}

// TestTopicIsReplaced checks a topic that is missing, created, deleted and created
// again: the second one has no record in common with the first.
func TestTopicIsReplaced(t *testing.T) {
	cluster, _ := newCluster(t, 1)
	admin := kadm.NewClient(newPlain(t, strings.Join(cluster.ListenAddrs(), ", ")))
	create := func() {
		t.Helper()
		if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "later"); err != nil {
			t.Fatal(err)
		}
	}
	r := connectortest.NewRuntime()
	c := connect(t, settingsOf(cluster, nil))
	with := connectortest.Settings{"topic": "later", "group": "g"}
	stop := listen(t, c, r, with)
	wantFailure(t, "Listen", connectortest.Await(t, r, "down", down).Down, codeMissing, true, `cannot receive from "later": UNKNOWN_TOPIC_OR_PARTITION`)
	for i := range 2 {
		create()
		produce(t, newPlain(t, strings.Join(cluster.ListenAddrs(), ", ")), numbered("later", 0, 10*i, 3)...)
		connectortest.Await(t, r, "the records", accepted(3*(i+1)))
		stop()
		if _, err := admin.DeleteTopic(t.Context(), "later"); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.DeleteGroup(t.Context(), "g"); err != nil {
			t.Fatal(err)
		}
		stop = listen(t, c, r, with)
	}
}

func TestLogin(t *testing.T) {
	cluster, topic := newCluster(t, 1, kfake.EnableSASL(), kfake.Superuser(mechanism256, "valence", "s3cret-word"), kfake.Superuser(mechanismPlain, "valence", "s3cret-word"))
	login := func(mechanism, password string) connectortest.Settings {
		return connectortest.Settings{"sasl": map[string]any{"mechanism": mechanism, "user": "valence", "password": password}}
	}
	for _, mechanism := range []string{mechanism256, mechanismPlain} {
		if _, err := publish(t.Context(), t, connect(t, settingsOf(cluster, login(mechanism, "s3cret-word"))), "1", connectortest.Settings{"topic": topic}); err != nil {
			t.Errorf("%s: got %v, want nil", mechanism, err)
		}
		_, err := publish(t.Context(), t, connect(t, settingsOf(cluster, login(mechanism, "wrong-word"))), "1", connectortest.Settings{"topic": topic})
		wantFailure(t, mechanism, err, fault.CodeConnect, true, "check user and password") // this cluster closes the connection
		if strings.Contains(err.Error(), "wrong-word") {
			t.Errorf("%s: the failure contains the password", mechanism)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := publish(ctx, t, connect(t, settingsOf(cluster, nil)), "1", connectortest.Settings{"topic": topic})
	if f := fault.AsFailure(err); f == nil || !f.Retryable || !f.Unavailable() {
		t.Errorf("without a login: got %v, want a retryable failure", err)
	}
}

func TestTLS(t *testing.T) {
	cert, key := testcert.New(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure, topic := newCluster(t, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	for _, test := range []struct {
		about   string
		cluster *kfake.Cluster
		tls     map[string]any
		want    string
	}{
		{"with the authority", secure, map[string]any{"ca": cert}, ""},
		{"without the authority", secure, map[string]any{}, "certificate"},
		{"without TLS where it is required", secure, nil, "cannot connect"},
	} {
		s := connectortest.Settings{}
		if test.tls != nil {
			s["tls"] = test.tls
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := publish(ctx, t, connect(t, settingsOf(test.cluster, s)), "1", connectortest.Settings{"topic": topic})
		cancel()
		switch {
		case test.want != "":
			wantFailure(t, test.about, err, fault.CodeConnect, true, test.want)
		case err != nil:
			t.Errorf("%s: got %v, want nil", test.about, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cluster, topic := newCluster(t, 1)
	address := cluster.ListenAddrs()[0]
	if _, err := open(&settings{Brokers: []string{address}, Acks: acksAll, MaxMessage: 1e6}, "1", policy.Signed("shop", []string{"kafka.example"})); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("another host: got %v, want a refusal", err)
	}
	s := &settings{Brokers: []string{strings.Replace(address, "127.0.0.1", "localhost", 1)}, Acks: acksAll, MaxMessage: 1e6}
	c, err := open(s, "1", policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, err = publish(t.Context(), t, c, "1", connectortest.Settings{"topic": topic})
	wantFailure(t, "an address that is not allowed", err, codeBadCall, false, "does not allow")
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]string{
		"kafka.example":                         "[kafka.example:9092] []",
		"a.example:9093, b.example , b.example": "[a.example:9093 b.example:9092] []",
		"${env.BROKERS}":                        "[${env.BROKERS}] []",
		"kafka://a.example:9092":                "[kafka://a.example:9092] [brokers: kafka://a.example:9092 is not an address such as kafka.example:9092]",
		"u:p@a.example:9092":                    "[u:p@a.example:9092] [brokers: a broker with a user is not an address such as kafka.example:9092]",
	} {
		s := settings{Brokers: []string{text}}
		if got := fmt.Sprint(addresses(s.Brokers), s.check()); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	if got := fmt.Sprint(publishOperation.Check(&publishWith{Topic: "a b", Delete: true})); got != "[topic: the name of a topic contains only letters, digits and the characters . _ - delete: needs key]" {
		t.Errorf("got %s", got)
	}
}
