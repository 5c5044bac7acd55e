package crash

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// sendOrders sends orders of shoppers to the members of a group. Each shopper
// alternates between the members, and repeats an order until it is acknowledged.
func sendOrders(members []*atom, shoppers, each int, between time.Duration) *sync.WaitGroup {
	senders := &sync.WaitGroup{}
	for i := range shoppers {
		senders.Go(func() {
			for n := 1; n <= each; n++ {
				body := fmt.Sprintf(`{"customer":"c%d","n":%d}`, i, n)
				for try := i + n; !members[try%len(members)].posted("/orders", body); try++ { // a repeat is a duplicate
					pause(50 * time.Millisecond)
				}
				pause(between)
			}
		})
	}
	return senders
}

// total returns the number of orders that have arrived.
func (c *customers) total() (total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.last {
		total += n
	}
	return total
}

// check checks the order of all calls, and that at most some were repeated.
func (c *customers) check(t *testing.T, repeated int) {
	t.Helper()
	total := c.total()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bad) > 0 {
		t.Errorf("out of order: %v", c.bad)
	}
	if c.repeated > repeated {
		t.Errorf("got %d repeated calls, want %d at most", c.repeated, repeated)
	}
	t.Logf("\n%s\n%d orders arrived; %d calls were repeated", c.seen.draw(), total, c.repeated)
}
