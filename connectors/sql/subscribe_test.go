package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/connectors/session"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

const outbox = "create table outbox (id int primary key, status varchar(20), attempt int default 0)"

// rowOf is a statement whose `?` are the columns of the row.
func rowOf(text string, columns ...string) spec.Statement {
	s := spec.Statement{Texts: strings.Split(text, "?")}
	for _, column := range columns {
		s.Values = append(s.Values, spec.Late(spec.LateRow, column))
	}
	return s
}

func cursorOf(text string) spec.Statement {
	return spec.Statement{Texts: strings.Split(text, "?"), Values: []any{spec.Late(spec.LateCursor, "")}}
}

// queueOf is a subscription to the table outbox.
func queueOf() *listen {
	return &listen{Table: "outbox", Key: []string{"id"}, Where: sqlOf("status = ?", "new"), Every: 10 * time.Millisecond,
		Done: rowOf("update outbox set status = 'done' where id = ?", "id")}
}

// listening runs a subscription, again after failures, until the test ends or
// stop is called.
func listening(t *testing.T, c *connection, l *listen, r *connectortest.Runtime) (stop func()) {
	t.Helper()
	if wrong := l.check(); wrong != nil {
		t.Fatal(wrong)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := c.Listen(ctx, l, r.Host()); err != nil {
				r.Down(err)
				session.Pause(ctx, 20*time.Millisecond)
			}
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, r *connectortest.Runtime, wanted func(s connectortest.State) bool) connectortest.State {
	t.Helper()
	return connectortest.Await(t, r, "state", wanted)
}

func docs(ms []*connectors.Message) (out []string) {
	for _, m := range ms {
		out = append(out, m.Doc.Text())
	}
	return out
}

func TestQueueTable(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		s := database(t, driver)
		c := connect(t, s, outbox, "insert into outbox (id, status) values (3, 'new'), (1, 'new'), (2, 'held'), (4, 'new')")
		l := queueOf()
		l.Batch, l.OrderBy = 2, sqlOf("id desc")
		r := connectortest.NewRuntime()
		stop := listening(t, c, l, r)
		got := await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 3 && s.Lag >= 0 })
		if want := []string{`{"id":4,"status":"new","attempt":0}`, `{"id":3,"status":"new","attempt":0}`, `{"id":1,"status":"new","attempt":0}`}; !slices.Equal(docs(got.Accepted), want) {
			t.Errorf("got %v, want %v", docs(got.Accepted), want)
		}
		stop() // after its last commit
		is(t, "statuses", rows(t, c, "select id, status from outbox order by id"), `[{"id":1,"status":"done"},{"id":2,"status":"held"},{"id":3,"status":"done"},{"id":4,"status":"done"}]`)
	})
}

// TestQueueTableIsShared checks that several programs share a table, and that
// each row runs once.
func TestQueueTableIsShared(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		s := database(t, driver)
		values := make([]string, 300)
		for i := range values {
			values[i] = fmt.Sprintf("(%d, 'new')", i)
		}
		c := connect(t, s, outbox, "insert into outbox (id, status) values "+strings.Join(values, ", "))
		r := connectortest.NewRuntime()
		for range 3 {
			l := queueOf()
			l.Batch = 7
			listening(t, connect(t, s), l, r)
		}
		got := await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == len(values) })
		seen := map[string]bool{}
		for _, m := range got.Accepted {
			seen[m.Origin] = true
		}
		if len(seen) != len(values) {
			t.Errorf("got %d different rows, want %d", len(seen), len(values))
		}
		for deadline := time.Now().Add(20 * time.Second); ; {
			left := rows(t, c, "select count(*) as n from outbox where status = 'new'")
			if left == `[{"n":0}]` {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %s waiting rows, want none", left)
			}
			session.Pause(t.Context(), 20*time.Millisecond)
		}
	})
}

// TestQueueTableMistakes checks the reasons that operators read.
func TestQueueTableMistakes(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), outbox, "insert into outbox (id, status) values (1, 'new')", "create table nulls (id int, status varchar(20))", "insert into nulls (status) values ('new')")
		for want, change := range map[string]func(l *listen){
			`there is no column "number"; the columns are id, status, attempt`: func(l *listen) { l.Key, l.OrderBy = []string{"number"}, sqlOf("id") },
			`has no value in its key column "id"`:                              func(l *listen) { l.Table = "nulls" },
			"`done` affected no row":                                           func(l *listen) { l.Done = rowOf("update outbox set status = 'done' where id = 0 - ?", "id") },
			"is claimed again although its `done` was committed":               func(l *listen) { l.Done = rowOf("update outbox set attempt = attempt + 1 where id = ?", "id") },
			"missing_table": func(l *listen) { l.Table = "missing_table" },
		} {
			l := queueOf()
			change(l)
			r := connectortest.NewRuntime()
			stop := listening(t, c, l, r)
			got := await(t, r, func(s connectortest.State) bool { return s.Down != nil && strings.Contains(s.Down.Error(), want) })
			stop()
			if f := fault.AsFailure(got.Down); f == nil || f.Retryable {
				t.Errorf("%s: got %v, want a failure that is not retryable", want, got.Down)
			}
		}
	})
}

// TestQueueTableRunsAgain checks that a changed column of the key makes a row a
// new message.
func TestQueueTableRunsAgain(t *testing.T) {
	c := connect(t, database(t, driverPostgres), outbox, "insert into outbox (id, status) values (1, 'new')")
	l := queueOf()
	l.Key = []string{"id", "attempt"}
	r := connectortest.NewRuntime()
	listening(t, c, l, r)
	await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 1 })
	for range 2 { // the first one may still be in its transaction
		must(t, c, "exec", &exec{SQL: sqlOf("update outbox set status = 'new', attempt = 1 where id = 1")})
	}
	await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 2 })
}

// TestSilentServerOfQueue checks that a server that stops answering is noticed.
func TestSilentServerOfQueue(t *testing.T) {
	for _, driver := range []string{driverPostgres, driverMySQL} {
		for _, text := range []string{"skip locked", "update outbox", "commit"} {
			t.Run(driver+" "+text, func(t *testing.T) {
				s := *database(t, driver)
				connect(t, &s, outbox, "insert into outbox (id, status) values (1, 'new')")
				s.Port = stalling(t, s.Port, text)
				c := connect(t, &s)
				c.pollTimeout = 300 * time.Millisecond
				r := connectortest.NewRuntime()
				listening(t, c, queueOf(), r)
				got := await(t, r, func(s connectortest.State) bool { return s.Down != nil })
				if f := fault.AsFailure(got.Down); f == nil || !f.Retryable {
					t.Errorf("got %v, want a retryable failure", got.Down)
				}
			})
		}
	}
}

func TestWatermark(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), "create table events (at timestamp, n int)",
			"insert into events values ('2026-01-01 10:00:00', 1), ('2026-01-01 10:00:01', 2), ('2026-01-02 00:00:00', 3)")
		l := &listen{SQL: cursorOf("select n, at from events where at > ? order by at limit 2"), Cursor: "at", Start: "2026-01-01 10:00:00", Every: 10 * time.Millisecond}
		if driver == driverSQLite { // which has no type for times
			l.SQL = cursorOf("select n, cast(at as text) as at from events where at > ? order by at limit 2")
		}
		r := connectortest.NewRuntime()
		stop := listening(t, c, l, r)
		await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 2 && s.Lag == 0 })
		stop()
		must(t, c, "exec", &exec{SQL: sqlOf("insert into events values ('2026-01-02 00:00:01', 4)")})
		listening(t, c, l, r)
		got := await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 3 })
		var ns []string
		for _, m := range got.Accepted {
			n, _ := document.Key(m.Doc.Value(), "n")
			ns = append(ns, fmt.Sprint(n))
		}
		if want := []string{"2", "3", "4"}; !slices.Equal(ns, want) {
			t.Errorf("got %v, want %v", ns, want)
		}
	})
}

func TestWatermarkMistakes(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), "create table events (n int, label varchar(10))", "insert into events values (1, 'a'), (2, null), (2, 'c'), (3, 'd')")
		for want, l := range map[string]*listen{
			`there is no column "number"`: {SQL: cursorOf("select n from events where n > ?"), Cursor: "number"},
			`has the value 2 again`:       {SQL: cursorOf("select n from events where n > ? order by n"), Cursor: "n"},
			`has 2 after 3`:               {SQL: cursorOf("select distinct n from events where n > ? order by n desc"), Cursor: "n"},
			`is null`:                     {SQL: cursorOf("select label from events where n > ? order by n"), Cursor: "label"},
		} {
			l.Every = 10 * time.Millisecond
			r := connectortest.NewRuntime()
			stop := listening(t, c, l, r)
			got := await(t, r, func(s connectortest.State) bool { return s.Down != nil && strings.Contains(s.Down.Error(), want) })
			stop()
			if f := fault.AsFailure(got.Down); f == nil || f.Code != CodeBadCall {
				t.Errorf("%s: got %v, want %s", want, got.Down, CodeBadCall)
			}
		}
	})
}

func gaps(s connectortest.State) (n int) {
	for _, m := range s.Accepted {
		if gap, _ := m.Props.Get("gap"); gap == true {
			n++
		}
	}
	return n
}

// TestNotify checks that every notification is delivered, and that a lost
// connection is followed by a message about the gap.
func TestNotify(t *testing.T) {
	s := database(t, driverPostgres)
	c := connect(t, s)
	r := connectortest.NewRuntime()
	listening(t, c, &listen{Notify: "Orders changed"}, r)
	await(t, r, func(s connectortest.State) bool { return gaps(s) == 1 })
	for i := range 1000 {
		if _, err := c.db.ExecContext(t.Context(), "select pg_notify('Orders changed', $1)", fmt.Sprintf(`{"id":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	got := await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 1001 })
	for i, m := range got.Accepted[1:] {
		if want := fmt.Sprintf(`{"id":%d}`, i); m.Doc.Text() != want {
			t.Fatalf("message %d: got %s, want %s", i, m.Doc.Text(), want)
		}
	}
	if _, err := c.db.ExecContext(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%'"); err != nil {
		t.Fatal(err)
	}
	await(t, r, func(s connectortest.State) bool { return gaps(s) == 2 && s.Up })
	if _, err := c.db.ExecContext(t.Context(), `notify "Orders changed", 'not JSON'`); err != nil {
		t.Fatal(err)
	}
	got = await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 1003 })
	if m := got.Accepted[1002]; m.Doc.Text() != "not JSON" || m.Doc.IsJSON() {
		t.Errorf("got %s, want the text", m.Doc.Text())
	}
}

// TestNotifyIsDeliveredAgain checks that a notification is not lost while the
// atom cannot accept it.
func TestNotifyIsDeliveredAgain(t *testing.T) {
	c := connect(t, database(t, driverPostgres))
	r := connectortest.NewRuntime()
	refusals := 0
	r.Answer = func(*connectors.Message) error {
		if refusals++; refusals <= 3 {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}
	listening(t, c, &listen{Notify: "changed"}, r)
	await(t, r, func(s connectortest.State) bool { return s.Up })
	if _, err := c.db.ExecContext(t.Context(), "notify changed, '1'"); err != nil {
		t.Fatal(err)
	}
	got := await(t, r, func(s connectortest.State) bool { return len(s.Accepted) == 2 })
	if want := []string{"null", "1"}; !slices.Equal(docs(got.Accepted), want) {
		t.Errorf("got %v, want %v", docs(got.Accepted), want)
	}
}

func TestNotifyNeedsAnswers(t *testing.T) {
	s := *database(t, driverPostgres)
	s.Port = stalling(t, s.Port, "-- ping")
	c := connect(t, &s)
	c.pollTimeout = 200 * time.Millisecond
	r := connectortest.NewRuntime()
	listening(t, c, &listen{Notify: "changed"}, r)
	got := await(t, r, func(s connectortest.State) bool { return s.Down != nil })
	if f := fault.AsFailure(got.Down); f == nil || !f.Retryable {
		t.Errorf("got %v, want a retryable failure", got.Down)
	}
	sqlite := connect(t, database(t, driverSQLite))
	err := sqlite.Listen(t.Context(), &listen{Notify: "changed"}, connectortest.NewRuntime().Host())
	if f := fails(t, err, CodeBadCall, false); !strings.Contains(f.Message, "driver: postgres") {
		t.Errorf("got %s, want the driver it needs", f.Message)
	}
}

func TestSubscriptionIsChecked(t *testing.T) {
	for want, l := range map[string]*listen{
		"":                       queueOf(),
		"one of `table:`":        {},
		"`table:` needs `key:`":  {Table: "a", Done: rowOf("delete from a where id = ?", "id")},
		"`table:` needs `done:`": {Table: "a", Key: []string{"id"}},
		"`sql:` needs `cursor:`": {SQL: cursorOf("select ?")},
		"`batch:` has no effect": {SQL: cursorOf("select ?"), Cursor: "id", Batch: 5},
		"`every:` has no effect": {Notify: "a", Every: time.Second},
		"the name of a table":    {Table: "a${env.X}", Key: []string{"id"}, Done: rowOf("delete from a where id = ?", "id")},
	} {
		got := strings.Join(l.check(), "; ")
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if problem, _ := validDone(spec.Statement{Texts: []string{"update a set b = 1"}}); problem == "" {
		t.Error("`done` without the row: got no problem, want one")
	}
	if problem, _ := validPoll(spec.Statement{Texts: []string{"select 1"}}); problem == "" {
		t.Error("a query without the cursor: got no problem, want one")
	}
}
