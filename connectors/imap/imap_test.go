package imap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/fault"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

func TestOperations(t *testing.T) {
	settings := to(t, server.Port)
	mailbox := client(t, settings)
	if err := mailbox.Create("Done", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put(t, mailbox, inbox, strings.Replace(plain("x"), "Order", fmt.Sprintf("Order %d", i+1), 1))
	}
	c := connect(t, settings)
	for _, x := range []struct {
		operation string
		with      connectortest.Settings
		want      string
	}{
		{"flag", connectortest.Settings{"uid": 2, "add": []any{"seen", "$Invoice"}}, `{"flagged":1}`},
		{"list", connectortest.Settings{"search": map[string]any{"seen": true}},
			`[{"uid":2,"from":"anna@example.com","to":["shop@example.com"],"subject":"Order 2","date":"2026-01-31T08:00:00Z","size":SIZE,"seen":true,"message_id":"1@example.com"}]`},
		{"list", connectortest.Settings{"search": map[string]any{"subject": "Order 3\" SEEN", "unseen": true}}, `[]`},
		{"list", connectortest.Settings{"search": map[string]any{"since": "2026-02-01"}}, `[]`},
		{"flag", connectortest.Settings{"uid": []any{1, 2, 9}, "remove": []any{"seen"}}, `{"flagged":2}`},
		{"move", connectortest.Settings{"uid": []any{1, 2}, "to": "Done"}, `{"moved":2}`},
		{"move", connectortest.Settings{"uid": []any{1, 2}, "to": "Done"}, `{"moved":0}`},
	} {
		got, err := call(t.Context(), t, c, x.operation, x.with)
		if err != nil {
			t.Fatalf("%s %v: %v", x.operation, x.with, err)
		}
		size := ""
		if _, rest, found := strings.Cut(got, `"size":`); found {
			size, _, _ = strings.Cut(rest, ",")
		}
		if want := strings.Replace(x.want, "SIZE", size, 1); got != want {
			t.Errorf("%s %v: got %s, want %s", x.operation, x.with, got, want)
		}
	}
	if got := count(t, mailbox, "Done"); got != 2 {
		t.Errorf("got %d messages in Done, want 2", got)
	}
}

func TestFailures(t *testing.T) {
	settings := to(t, server.Port)
	put(t, client(t, settings), inbox, plain("x"))
	c := connect(t, settings)
	wrong := to(t, server.Port, "password", "wrong")
	for _, x := range []struct {
		name      string
		c         *connection
		operation string
		with      connectortest.Settings
		code      string
		retryable bool
	}{
		{"no such folder", c, "list", connectortest.Settings{"folder": "Nowhere"}, codeMissing, false},
		{"no such target", c, "move", connectortest.Settings{"uid": 1, "to": "Nowhere"}, codeMissing, false},
		{"not a UID", c, "move", connectortest.Settings{"uid": "1:*", "to": "Done"}, codeBadCall, false},
		{"no UID", c, "move", connectortest.Settings{"uid": []any{}, "to": "Done"}, codeBadCall, false},
		{"a hostile flag", c, "flag", connectortest.Settings{"uid": 1, "add": []any{"x) EXPUNGE"}}, codeBadCall, false},
		{"not a date", c, "list", connectortest.Settings{"search": map[string]any{"since": "yesterday"}}, codeBadCall, false},
		{"wrong password", connect(t, wrong), "list", connectortest.Settings{}, codeAuth, false},
		{"TLS is not offered", connect(t, to(t, server.Port, "tls", "required")), "list", connectortest.Settings{}, fault.CodeConnect, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := call(t.Context(), t, x.c, x.operation, x.with)
			failure(t, err, x.code, x.retryable)
		})
	}
}

func TestTLS(t *testing.T) {
	cert, key := testcert.New(t)
	secure, err := servers.NewDovecot(0, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := secure.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := call(t.Context(), t, connect(t, to(t, secure.Port, "tls", "required", "ca", cert)), "list", connectortest.Settings{}); err != nil {
		t.Error(err)
	}
	_, err = call(t.Context(), t, connect(t, to(t, secure.Port, "tls", "required")), "list", connectortest.Settings{})
	failure(t, err, fault.CodeConnect, true)
}

func accepted(n int) func(connectortest.State) bool {
	return func(s connectortest.State) bool { return len(s.Accepted) >= n }
}

func TestArchivesAfterKill(t *testing.T) {
	settings := to(t, server.Port)
	mailbox := client(t, settings)
	for range 3 {
		put(t, mailbox, inbox, plain("x"))
	}
	r := connectortest.NewRuntime()
	// The first atom accepts the messages and is killed before it archives them.
	stop := listen(t, connect(t, settings), r, connectortest.Settings{"every": "100ms"})
	connectortest.Await(t, r, "the messages", accepted(3))
	stop()
	if got := count(t, mailbox, inbox); got != 3 {
		t.Fatalf("got %d messages in the inbox, want 3", got)
	}
	stop = listen(t, connect(t, settings), r, connectortest.Settings{"every": "100ms", "archive": "Archive"})
	connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Up && count(t, mailbox, "Archive") == 3 })
	put(t, mailbox, inbox, plain("y"))
	got := connectortest.Await(t, r, "the next message", accepted(4))
	stop()
	if len(got.Accepted) != 4 {
		t.Errorf("got %d messages, want 4", len(got.Accepted))
	}
}

func TestSeenMarksAndSkipsReadMessages(t *testing.T) {
	settings := to(t, server.Port)
	mailbox := client(t, settings)
	put(t, mailbox, inbox, plain("read"))
	c := connect(t, settings)
	if _, err := call(t.Context(), t, c, "flag", connectortest.Settings{"uid": 1, "add": []any{"seen"}}); err != nil {
		t.Fatal(err)
	}
	put(t, mailbox, inbox, plain("new"))
	r := connectortest.NewRuntime()
	stop := listen(t, c, r, connectortest.Settings{"seen": true})
	got := connectortest.Await(t, r, "the new message", accepted(1))
	if text := textOf(got.Accepted[0]); text != "new" {
		t.Errorf("got %q, want the new message", text)
	}
	connectortest.Await(t, r, "the mark", func(connectortest.State) bool {
		list, err := call(t.Context(), t, c, "list", connectortest.Settings{"search": map[string]any{"unseen": true}})
		return err == nil && list == "[]"
	})
	stop()
}

func textOf(m *connectors.Message) string { return gjson.Get(m.Doc.Text(), "text").String() }

// TestSeenSkipsReadMessagesAfterARestart has read messages on both sides of the
// position at which a subscription stopped.
func TestSeenSkipsReadMessagesAfterARestart(t *testing.T) {
	settings := to(t, server.Port)
	mailbox := client(t, settings)
	c := connect(t, settings)
	for _, text := range []string{"new 1", "read", "new 2"} {
		put(t, mailbox, inbox, plain(text))
	}
	if _, err := call(t.Context(), t, c, "flag", connectortest.Settings{"uid": 2, "add": []any{"seen"}}); err != nil {
		t.Fatal(err)
	}
	r := connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if textOf(m) == "new 2" {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	stop := listen(t, c, r, connectortest.Settings{"seen": true})
	connectortest.Await(t, r, "down", func(s connectortest.State) bool { return len(s.Accepted) == 1 && s.Down != nil })
	stop()
	r.Answer = nil
	stop = listen(t, c, r, connectortest.Settings{"seen": true})
	got := connectortest.Await(t, r, "the other new message", accepted(2))
	stop()
	if len(got.Accepted) != 2 || textOf(got.Accepted[1]) != "new 2" {
		t.Errorf("got %d messages, want the new ones", len(got.Accepted))
	}
}

func TestContinuesAfterServerRestart(t *testing.T) {
	own, err := servers.NewDovecot(0, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	}()
	settings := to(t, own.Port)
	put(t, client(t, settings), inbox, plain("1"))
	r := connectortest.NewRuntime()
	stop := listen(t, connect(t, settings), r, connectortest.Settings{"archive": "Archive"})
	defer stop()
	connectortest.Await(t, r, "the first message", accepted(1))
	if err := own.Stop(); err != nil {
		t.Fatal(err)
	}
	connectortest.Await(t, r, "down", func(s connectortest.State) bool { return s.Down != nil })
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	put(t, client(t, settings), inbox, plain("2"))
	if got := connectortest.Await(t, r, "the second message", accepted(2)); len(got.Accepted) != 2 {
		t.Errorf("got %d messages, want 2", len(got.Accepted))
	}
}

// TestHeadersLargerThanTheLimit checks that a message whose headers alone are too
// large does not hold up the mailbox.
func TestHeadersLargerThanTheLimit(t *testing.T) {
	settings := to(t, server.Port, "max_size", "200B")
	mailbox := client(t, settings)
	put(t, mailbox, inbox, "X-Long: "+strings.Repeat("x", 500)+"\n"+plain("large"))
	put(t, mailbox, inbox, "From: a@x\n\nfine")
	r := connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if m.Invalid != nil {
			return fault.Failf(fault.CodeInvalid, "%v", m.Invalid)
		}
		return nil
	}
	stop := listen(t, connect(t, settings), r, connectortest.Settings{})
	got := connectortest.Await(t, r, "the valid message", accepted(1))
	stop()
	if len(got.Refused) != 1 || len(got.Refused[0].Doc.Text()) > 200 {
		t.Errorf("got %d refused messages, want the large one, cut to the limit", len(got.Refused))
	}
}

func TestRefusesLargeAndDamagedMessages(t *testing.T) {
	settings := to(t, server.Port, "max_size", "20KB")
	mailbox := client(t, settings)
	put(t, mailbox, inbox, plain(strings.Repeat("large\n", 5_000)))
	put(t, mailbox, inbox, nested(maxDepth+1))
	put(t, mailbox, inbox, plain("fine"))
	r := connectortest.NewRuntime()
	r.Answer = func(m *connectors.Message) error {
		if m.Invalid != nil {
			return fault.Failf(fault.CodeInvalid, "%v", m.Invalid)
		}
		return nil
	}
	stop := listen(t, connect(t, settings), r, connectortest.Settings{})
	got := connectortest.Await(t, r, "the valid message", accepted(1))
	stop()
	if len(got.Refused) != 2 || !strings.Contains(got.Refused[0].Doc.Text(), "Subject: Order") || len(got.Refused[0].Doc.Text()) > 2_000 {
		t.Errorf("got %d refused messages, want the headers of the large one and the nested one", len(got.Refused))
	}
}

func TestManyMessages(t *testing.T) {
	settings := to(t, server.Port)
	mailbox := client(t, settings)
	const n = 2*batchMessages + 7
	for i := range n {
		put(t, mailbox, inbox, plain(fmt.Sprint(i)))
	}
	r := connectortest.NewRuntime()
	stop := listen(t, connect(t, settings), r, connectortest.Settings{})
	got := connectortest.Await(t, r, "all messages", accepted(n))
	stop()
	for i, m := range got.Accepted {
		if text := textOf(m); text != fmt.Sprint(i) {
			t.Fatalf("message %d: got %q, want the messages in their order", i, text)
		}
	}
	if got.Lag != 0 {
		t.Errorf("got lag %d, want 0", got.Lag)
	}
}

func TestStopsWhileItWaits(t *testing.T) {
	for _, idle := range []bool{true, false} {
		c := connect(t, to(t, server.Port))
		r := connectortest.NewRuntime()
		stop := listen(t, c, r, connectortest.Settings{"idle": idle})
		connectortest.Await(t, r, "up", func(s connectortest.State) bool { return s.Up })
		stop()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := call(ctx, t, connect(t, to(t, server.Port)), "list", connectortest.Settings{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a cancelled call", err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, x := range []struct {
		operation string
		with      connectortest.Settings
		want      int
	}{
		{"list", connectortest.Settings{"search": map[string]any{"since": "yesterday", "before": "2026-02-30"}}, 2},
		{"list", connectortest.Settings{"search": map[string]any{"since": "${props.day}", "before": "2026-02-28"}}, 0},
		{"flag", connectortest.Settings{"uid": 1}, 1},
		{"flag", connectortest.Settings{"uid": 1, "add": []any{"a b", "${vars.flag}"}, "remove": []any{"seen"}}, 1},
	} {
		op, ok := Connector("1.2.3").Operation(x.operation)
		if !ok {
			t.Fatalf("there is no operation %s", x.operation)
		}
		w := op.NewWith()
		bind(t, op.With, w, x.with)
		if got := op.Check(w); len(got) != x.want {
			t.Errorf("%s %v: got %q, want %d problems", x.operation, x.with, got, x.want)
		}
	}
}
