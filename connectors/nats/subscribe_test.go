package nats

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/test/servers"
)

func TestMessageDescribesItself(t *testing.T) {
	name, _ := stream(t, broker.URL, nil)
	send(t, broker.URL, name+".a.b", "<o><id>1</id></o>", "Content-Type", "application/xml", "correlation-id", "C", "Traceparent", "00-a-b-01", "Reply-To", "answers.1", "x-tenant", "7")
	r := connectortest.NewRuntime()
	listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "d"}, r)
	m := connectortest.Await(t, r, "the message", func(s connectortest.State) bool { return len(s.Accepted) == 1 }).Accepted[0]
	if got, want := m.Doc.Data(), `{"o":{"id":"1"}}`; got != want {
		t.Errorf("document: got %s, want %s", got, want)
	}
	want := fmt.Sprintf(`{"subject":"%[1]s.a.b","headers":{"Content-Type":"application/xml","Reply-To":"answers.1","Traceparent":"00-a-b-01","Correlation-Id":"C","X-Tenant":"7"},"stream":"%[1]s","sequence":1}`, name)
	if got := string(document.AppendJSON(nil, m.Props)); got != want {
		t.Errorf("props: got %s, want %s", got, want)
	}
	if m.CorrelationID != "C" || m.Traceparent != "00-a-b-01" || m.ReplyTo != "answers.1" || m.Delivery != 1 || time.Since(m.Time) > time.Minute {
		t.Errorf("got %+v, want the correlation id, trace context, reply address, delivery and time", m)
	}
}

func TestContentDecidesTheFormat(t *testing.T) {
	name, _ := stream(t, broker.URL, nil)
	for _, test := range []struct{ body, contentType, mediaType string }{
		{`{"n":1}`, "", "application/json"}, {"hello {", "", "text/plain"}, {"\xff\xfe\x00", "", "application/octet-stream"},
		{"a", "text/plain; charset=iso-8859-1", "text/plain"}, {"", "", ""},
	} {
		var headers []string
		if test.contentType != "" {
			headers = []string{"Content-Type", test.contentType}
		}
		send(t, broker.URL, name+".a", test.body, headers...)
		r := connectortest.NewRuntime()
		stop := listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "formats"}, r)
		m := connectortest.Await(t, r, "the message", func(s connectortest.State) bool { return len(s.Accepted) == 1 }).Accepted[0]
		stop()
		if got := m.Doc.MediaType(); !strings.HasPrefix(got, test.mediaType) {
			t.Errorf("%q as %q: got %s, want %s", test.body, test.contentType, got, test.mediaType)
		}
	}
}

func TestInvalidMessageIsRefusedOnce(t *testing.T) {
	name, s := stream(t, broker.URL, nil)
	send(t, broker.URL, name+".a", `{"n":`, "Content-Type", "application/json")
	send(t, broker.URL, name+".a", `{"n":2}`)
	r := connectortest.NewRuntime()
	listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "invalid"}, r)
	got := connectortest.Await(t, r, "both messages", func(s connectortest.State) bool { return len(s.Accepted) == 1 && len(s.Refused) == 1 })
	if body := string(got.Refused[0].Doc.Body()); body != `{"n":` {
		t.Errorf("refused: got %q, want the content as it was received", body)
	}
	acknowledged(t, s, "invalid", 2)
}

// acknowledged waits until the consumer has acknowledged all messages up to a sequence.
func acknowledged(t *testing.T, s jetstream.Stream, consumer string, sequence uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := s.Consumer(t.Context(), consumer)
		if err != nil {
			t.Fatal(err)
		}
		info := c.CachedInfo()
		if info.AckFloor.Stream == sequence && info.NumAckPending == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("acknowledged: got up to %d with %d pending, want %d", info.AckFloor.Stream, info.NumAckPending, sequence)
		}
	}
}

func TestPoisonMessageHoldsUpNoOther(t *testing.T) {
	name, s := stream(t, broker.URL, nil)
	for i := range 20 {
		send(t, broker.URL, name+".a", fmt.Sprint(i))
	}
	r := connectortest.NewRuntime()
	var deliveries []int
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() != "3" {
			return nil
		}
		if deliveries = append(deliveries, m.Delivery); m.Delivery < 8 {
			return connectors.Retry(fault.CodeUnavailable, "not now", 0, nil)
		}
		return nil
	}
	listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "poison"}, r)
	got := connectortest.Await(t, r, "all messages", func(s connectortest.State) bool { return len(s.Accepted) == 20 })
	if last := got.Accepted[19].Doc.Text(); last != "3" {
		t.Errorf("last: got %s, want 3, after the messages that it must not hold up", last)
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(deliveries, want) {
		t.Errorf("deliveries: got %v, want %v", deliveries, want)
	}
	acknowledged(t, s, "poison", 20)
}

func TestOneInFlightKeepsTheOrder(t *testing.T) {
	name, _ := stream(t, broker.URL, nil)
	for i := range 10 {
		send(t, broker.URL, name+".a", fmt.Sprint(i))
	}
	r := connectortest.NewRuntime()
	failed := map[string]bool{}
	r.Answer = func(m *connectors.Message) error {
		if failed[m.Doc.Text()] {
			return nil
		}
		failed[m.Doc.Text()] = true
		return connectors.Retry(fault.CodeUnavailable, "not now", 0, nil)
	}
	listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "order", MaxInFlight: 1}, r)
	got := connectortest.Await(t, r, "all messages", func(s connectortest.State) bool { return len(s.Accepted) == 10 })
	for i, m := range got.Accepted {
		if want := fmt.Sprint(i); m.Doc.Text() != want {
			t.Errorf("message %d: got %s, want %s", i, m.Doc.Text(), want)
		}
	}
}

// TestAtomsShareTheMessages runs two atoms, each with messages in flight when it
// dies, and checks that no message is lost or accepted twice.
func TestAtomsShareTheMessages(t *testing.T) {
	name, s := stream(t, broker.URL, nil)
	_, js := client(t, broker.URL)
	const total = 300
	for i := range total {
		if _, err := js.Publish(t.Context(), name+".a", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	r := connectortest.NewRuntime()
	var lost atomic.Int32
	r.Lose = func(*connectors.Message) bool { return lost.Add(1)%29 == 0 } // the commit survives, the acknowledgement does not
	stops := []func(){}
	for range 2 {
		stops = append(stops, listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "shared", MaxInFlight: 20}, r))
	}
	connectortest.Await(t, r, "the first messages", func(s connectortest.State) bool { return len(s.Accepted) >= 50 })
	stops[0]()
	got := connectortest.Await(t, r, "all messages", func(s connectortest.State) bool { return len(s.Accepted) >= total })
	acknowledged(t, s, "shared", total)
	seen := map[string]bool{}
	for _, m := range got.Accepted {
		seen[m.Doc.Text()] = true
	}
	if len(seen) != total || len(got.Accepted) != total {
		t.Errorf("got %d messages, %d different, want %d each once", len(got.Accepted), len(seen), total)
	}
}

func TestLagIsReported(t *testing.T) {
	name, _ := stream(t, broker.URL, nil)
	for i := range 7 {
		send(t, broker.URL, name+".a", fmt.Sprint(i))
	}
	r := connectortest.NewRuntime()
	r.Answer = func(*connectors.Message) error {
		return connectors.Retry(fault.CodeUnavailable, "full", time.Minute, nil)
	}
	stop := listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "lag"}, r)
	connectortest.Await(t, r, "the lag", func(s connectortest.State) bool { return s.Lag == 7 })
	stop()
}

func TestConsumerIsCreatedOrChecked(t *testing.T) {
	name, s := stream(t, broker.URL, nil)
	for consumer, config := range map[string]jetstream.ConsumerConfig{
		"unacknowledged": {AckPolicy: jetstream.AckNonePolicy},
		"filtered":       {AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: name + ".b"},
		"given-up":       {AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3},
	} {
		config.Durable = consumer
		if _, err := s.CreateConsumer(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	c := opened(t, settings{URL: broker.URL})
	for _, test := range []struct {
		name string
		with listen
		want string // of the failure, or "" if it is up
	}{
		{"new", listen{Stream: name, Consumer: "new", Subject: name + ".a"}, ""},
		{"own with another subject", listen{Stream: name, Consumer: "new", Subject: name + ".b", MaxInFlight: 3}, ""},
		{"foreign", listen{Stream: name, Consumer: "filtered"}, ""},
		{"foreign with another subject", listen{Stream: name, Consumer: "filtered", Subject: name + ".a"}, "filters the subject"},
		{"foreign that gives up", listen{Stream: name, Consumer: "given-up"}, ""},
		{"without acknowledgements", listen{Stream: name, Consumer: "unacknowledged"}, "does not require an acknowledgement"},
		{"missing stream", listen{Stream: "NONE", Consumer: "c"}, "the stream does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := connectortest.NewRuntime()
			stop := listening(t, c, test.with, r)
			got := connectortest.Await(t, r, "an outcome", func(s connectortest.State) bool { return s.Up || s.Down != nil })
			stop()
			if test.want == "" != got.Up || test.want != "" && !strings.Contains(got.Down.Error(), test.want) {
				t.Errorf("got up %v, down %v, want …%s…", got.Up, got.Down, test.want)
			}
		})
	}
	changed, err := s.Consumer(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	if config := changed.CachedInfo().Config; config.FilterSubject != name+".b" || config.MaxAckPending != 3 {
		t.Errorf("got subject %s and %d in flight, want the new settings", config.FilterSubject, config.MaxAckPending)
	}
}

// TestStreamThatWasCreatedAgain checks that its messages are not taken for those
// of the earlier stream, although their sequence numbers are the same.
func TestStreamThatWasCreatedAgain(t *testing.T) {
	name, _ := stream(t, broker.URL, nil)
	_, js := client(t, broker.URL)
	r := connectortest.NewRuntime()
	listening(t, opened(t, settings{URL: broker.URL}), listen{Stream: name, Consumer: "again"}, r)
	send(t, broker.URL, name+".a", "1")
	connectortest.Await(t, r, "the first message", func(s connectortest.State) bool { return len(s.Accepted) == 1 })
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}}); err != nil {
		t.Fatal(err)
	}
	send(t, broker.URL, name+".a", "2")
	got := connectortest.Await(t, r, "the second message", func(s connectortest.State) bool { return len(s.Accepted) == 2 })
	if text := got.Accepted[1].Doc.Text(); text != "2" {
		t.Errorf("got %s, want 2", text)
	}
}

func TestSubscriptionSurvivesRestartsOfTheServer(t *testing.T) {
	own, err := servers.StartNATS(0, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if err := own.Stream("ORDERS", "orders.>"); err != nil {
		t.Fatal(err)
	}
	r := connectortest.NewRuntime()
	listening(t, opened(t, settings{URL: own.URL}), listen{Stream: "ORDERS", Consumer: "restart"}, r)
	sent := 0
	for round := range 3 {
		connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Up })
		for range 50 {
			send(t, own.URL, "orders.a", fmt.Sprint(sent))
			sent++
		}
		if round == 2 {
			break
		}
		connectortest.Await(t, r, "some messages", func(s connectortest.State) bool { return len(s.Accepted) > sent-50 })
		own.Kill()
		connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
		if err := own.Start(); err != nil {
			t.Fatal(err)
		}
	}
	got := connectortest.Await(t, r, "all messages", func(s connectortest.State) bool { return len(s.Accepted) >= sent })
	seen := map[string]bool{}
	for _, m := range got.Accepted {
		seen[m.Doc.Text()] = true
	}
	if len(seen) != sent || len(got.Accepted) != sent {
		t.Errorf("got %d messages, %d different, want %d each once", len(got.Accepted), len(seen), sent)
	}
}

func TestServerThatIsAwayAtTheStart(t *testing.T) {
	own, err := servers.StartNATS(0, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if err := own.Stream("ORDERS", "orders.>"); err != nil {
		t.Fatal(err)
	}
	send(t, own.URL, "orders.a", "1")
	own.Kill()
	r := connectortest.NewRuntime()
	listening(t, opened(t, settings{URL: own.URL}), listen{Stream: "ORDERS", Consumer: "late"}, r)
	got := connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	if !strings.Contains(got.Down.Error(), "connection refused") {
		t.Errorf("got %v, want the cause", got.Down)
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "the message", func(s connectortest.State) bool { return s.Up && len(s.Accepted) == 1 })
}

func TestSubscriptionWithoutPermission(t *testing.T) {
	limited, err := servers.StartNATS(0, "", func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p4ss-word", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"denied.>"}}}}}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(limited.Close)
	for user, want := range map[string]string{"u:p4ss-word": "ermissions", "u:wr0ng-word": "rejects the credentials"} {
		r := connectortest.NewRuntime()
		c := opened(t, settings{URL: strings.Replace(limited.URL, "//", "//"+user+"@", 1)})
		stop := listening(t, c, listen{Subject: "denied.a", Core: true}, r)
		got := connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
		stop()
		if f := fault.AsFailure(got.Down); f.Code != codeAuth || !strings.Contains(f.Message, want) || strings.Contains(f.Message, "-word") {
			t.Errorf("%s: got %v, want auth: …%s… without the password", user, got.Down, want)
		}
	}
}

func TestCoreSubscription(t *testing.T) {
	nc, _ := client(t, broker.URL)
	r := connectortest.NewRuntime()
	var refusals atomic.Int32
	r.Answer = func(*connectors.Message) error {
		if refusals.Add(1) == 1 {
			return connectors.Retry(fault.CodeUnavailable, "not now", 0, nil)
		}
		return nil
	}
	c := opened(t, settings{URL: broker.URL})
	for range 2 { // a queue group shares the messages
		listening(t, c, listen{Subject: "quotes.*", Consumer: "group", Core: true}, r)
	}
	connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Ups == 2 })
	const total = 50
	for i := range total {
		if err := nc.Publish("quotes.a", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	connectortest.Await(t, r, "all messages", func(s connectortest.State) bool { return len(s.Accepted) >= total })
	if got := len(r.State().Accepted); got != total {
		t.Errorf("got %d messages, want %d", got, total)
	}
}

func TestReplyAnswersARequest(t *testing.T) {
	nc, _ := client(t, broker.URL)
	c := opened(t, settings{URL: broker.URL})
	r := connectortest.NewRuntime()
	listening(t, c, listen{Subject: "quote", Core: true}, r)
	connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Up })
	type result struct {
		m   *nats.Msg
		err error
	}
	for i, status := range []int{0, 409} {
		answered := make(chan result, 1)
		go func() {
			m, err := nc.RequestMsg(&nats.Msg{Subject: "quote", Data: []byte(`{}`), Header: nats.Header{"Correlation-Id": {"C"}}}, patience)
			answered <- result{m, err}
		}()
		m := connectortest.Await(t, r, "the request", func(s connectortest.State) bool { return len(s.Accepted) == i+1 }).Accepted[i]
		err := c.Reply(t.Context(), &connectors.Reply{To: m.ReplyTo, Doc: document.FromJSON([]byte(`{"price":3}`)), Status: status, CorrelationID: m.CorrelationID})
		if err != nil {
			t.Fatal(err)
		}
		got := <-answered
		if got.err != nil {
			t.Fatal(got.err)
		}
		code := map[int]string{409: "409"}[status]
		if string(got.m.Data) != `{"price":3}` || header(got.m.Header, "Correlation-Id") != "C" || header(got.m.Header, headerServiceCode) != code {
			t.Errorf("status %d: got %s %v, want the reply with the correlation id and error code %q", status, got.m.Data, got.m.Header, code)
		}
	}
}

func TestReplyIsNeverSentToTheServer(t *testing.T) {
	for subject, want := range map[string]string{
		"_INBOX.a.b": "_INBOX.a.b", "answers": "answers", "": "", "$JS.API.STREAM.DELETE.ORDERS": "", "$SYS.a": "", "a b": "", "a.>": "", "a\r\nPUB x": "",
	} {
		if got := replyAddress(subject); got != want {
			t.Errorf("%q: got %q, want %q", subject, got, want)
		}
	}
}

// Messages that were received are accepted even if the connection is lost
// before that.
func TestLostLinkLosesNoReceivedMessage(t *testing.T) {
	const total = 3000 // many batches
	c := opened(t, settings{URL: broker.URL})
	l, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := connectortest.NewRuntime()
	busy, gate := make(chan struct{}), make(chan struct{})
	var messages atomic.Int32
	r.Answer = func(*connectors.Message) error {
		if messages.Add(1) == 1 {
			close(busy)
			<-gate
		}
		return nil
	}
	ended := make(chan error, 1)
	go func() {
		w := &listen{Subject: "lost", Core: true, MaxInFlight: total}
		ended <- w.receiveCore(t.Context(), l, r.Host())
	}()
	connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Up })
	for i := range total {
		if err := l.nc.Publish("lost", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	<-busy
	if err := l.nc.Flush(); err != nil { // its answer comes after the messages
		t.Fatal(err)
	}
	l.nc.Close()
	<-l.lost
	close(gate)
	if err := <-ended; err == nil {
		t.Error("got nil, want the failure of the connection")
	}
	if got := len(r.State().Accepted); got != total {
		t.Errorf("got %d messages, want %d", got, total)
	}
}
