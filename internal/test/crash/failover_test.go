package crash

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/internal/test/servers"
)

// The server of a group's database dies, and its synchronous standby is promoted:
// no acknowledged message is lost, and order holds.
func TestGroupFailsOver(t *testing.T) {
	sink := newCustomers(t)
	server, _ := newGroup(t, 0, sink.addr())
	url := groupURL(t, server)
	standby, err := server.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Remove)
	both := strings.Replace(url, address(server), address(server)+","+address(standby), 1) + "&target_session_attrs=read-write"
	var members []*atom
	for i := range 2 {
		members = append(members, startMember(t, i+1, sink.addr(), both, groupProject))
	}
	for _, m := range members {
		if log := m.out.String(); strings.Contains(log, "synchronous_standby_names") {
			t.Errorf("a member warns although a standby is synchronous:\n%s", log)
		}
	}

	const shoppers, each = 10, 20
	senders := sendOrders(members, shoppers, each, 400*time.Millisecond)
	within(t, 60*time.Second, "some orders", func() bool { return sink.total() > 3*shoppers })
	hang := members[0].accept("/work", `{"id":"failover"}`)
	within(t, 20*time.Second, "its call", func() bool { return sink.of("/hang/failover") == 1 })
	// Messages whose executions have not ended, acknowledged until the server dies.
	// The standby hangs first: without its confirmation nothing is acknowledged.
	var mu sync.Mutex
	var open []string
	kill := make(chan struct{})
	var openers sync.WaitGroup
	for i, m := range members {
		openers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-kill:
					return
				default:
				}
				if id := m.accept("/work", fmt.Sprintf(`{"id":"open-%d-%d"}`, i, n)); id != "" {
					mu.Lock()
					open = append(open, id)
					mu.Unlock()
				}
			}
		})
	}
	pause(time.Second)
	sink.mark("the standby hangs, and the server is killed")
	standby.Signal(syscall.SIGSTOP)
	pause(time.Second)
	server.Kill(syscall.SIGKILL)
	standby.Signal(syscall.SIGCONT)
	close(kill)
	pause(2 * time.Second)
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	sink.mark("its standby is promoted")
	senders.Wait()
	within(t, 60*time.Second, "all orders", func() bool { return sink.total() == shoppers*each })
	within(t, 30*time.Second, "the cancellation", func() bool {
		status := members[1].adminCall("POST", "/executions/"+hang+"/cancel", &struct{}{})
		return status == 202
	})
	if v := members[0].ended(hang); v.Status != "cancelled" || sink.of("/cleanup/failover") != 1 {
		t.Errorf("got %+v and %d calls of finally, want it cancelled, and one", v, sink.of("/cleanup/failover"))
	}
	close(sink.hang)
	openers.Wait()
	for _, id := range open {
		if v := members[1].ended(id); v.Status != "completed" {
			t.Fatalf("an acknowledged message: got %+v, want it completed", v)
		}
	}
	t.Logf("%d messages whose executions were open were acknowledged", len(open))
	sink.check(t, 2*shoppers) // one for each lane, of each member
}

// address returns the host and port of a server.
func address(p *servers.Postgres) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)) }
