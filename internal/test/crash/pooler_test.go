package crash

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"valence/internal/test/servers"
)

// Two members use a PgBouncer in transaction mode, which swallows their
// notifications.
func TestGroupBehindPgBouncer(t *testing.T) {
	sink := newCustomers(t)
	server, _ := newGroup(t, 0, sink.addr())
	url := groupURL(t, server)
	start := func(settings string) string {
		t.Helper()
		pooler, err := servers.StartPgBouncer(server, settings)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pooler.Close)
		return strings.Replace(url, ":"+strconv.Itoa(server.Port), ":"+strconv.Itoa(pooler.Port), 1)
	}
	refusing := newAtom(t, sink.addr())
	refusing.store = []string{"--store", start(""), "--group", "shop"}
	fails := refusing.command()
	out, _ := fails.CombinedOutput() // the exit code says the same
	if code := fails.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "refuses the settings of the connection") || !strings.Contains(string(out), "ignore_startup_parameters") {
		t.Errorf("a pooler with its defaults: got exit code %d\n%s\nwant 3, the reason and the setting", code, out)
	}
	through := start("ignore_startup_parameters = statement_timeout, lock_timeout, idle_in_transaction_session_timeout") + "&default_query_exec_mode=exec"
	members := []*atom{startMember(t, 1, sink.addr(), through, groupProject), startMember(t, 2, sink.addr(), through, groupProject)}
	const shoppers, each = 5, 10
	senders := sendOrders(members, shoppers, each, 0)
	senders.Wait()
	if log := members[0].out.String(); !strings.Contains(log, "the database user has no limits") || !strings.Contains(log, `missing="idle_in_transaction_session_timeout, lock_timeout, statement_timeout"`) {
		t.Errorf("got the log\n%s\nwant a warning of the limits that the pooler drops", log)
	}
	within(t, 90*time.Second, "all orders", func() bool { return sink.total() == shoppers*each }) // each handover waits for a sweep
	for i, m := range members {
		within(t, 20*time.Second, fmt.Sprint("the warning of member ", i+1), func() bool { return strings.Contains(m.out.String(), "cannot receive notifications of other members") })
	}
	sink.check(t, 0)
}
