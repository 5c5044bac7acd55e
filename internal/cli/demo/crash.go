package demo

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/cli/terminal"
)

const (
	firstCrashOrder = 10_000
	crashTimeout    = 60 * time.Second
	arrivalTimeout  = 45 * time.Second
	retryDelay      = 50 * time.Millisecond
	atomWorkers     = 16 // default number of workers of a process
)

// campaign sends the events of many orders while the atom is killed and
// started again.
type campaign struct {
	d      *demo
	events int

	acknowledged, beforeKill, resent atomic.Int64

	half     chan struct{} // closed when half of the events are acknowledged
	halfOnce sync.Once
	killed   chan struct{} // closed when the atom is killed
	up       chan struct{} // closed when it is ready again
}

// showCrash sends events on many connections, kills the atom halfway, starts it
// again, and compares the acknowledged orders with the ones that arrived.
func (d *demo) showCrash(ctx context.Context, events int) error {
	d.say("\n3. %d orders change, and the atom is killed with SIGKILL halfway", events)
	ctx, cancel := context.WithTimeout(ctx, crashTimeout)
	defer cancel()
	c := &campaign{d: d, events: events, half: make(chan struct{}), killed: make(chan struct{}), up: make(chan struct{})}
	sent := c.start(ctx)
	select {
	case <-c.half:
	case <-ctx.Done():
		return fmt.Errorf("the events were not acknowledged in time: %w", <-sent)
	}
	d.atom.kill()
	close(c.killed)
	d.say("  killed after %d acknowledgements; %s complete by then", c.beforeKill.Load(), terminal.Count(d.arrived(events), "order was", "orders were"))
	start := time.Now()
	if err := d.atom.start(ctx); err != nil {
		return err
	}
	d.say("  restarted on the same data folder: ready after %s", terminal.Duration(time.Since(start)))
	close(c.up)
	if err := <-sent; err != nil {
		return fmt.Errorf("not every event was acknowledged after the crash: %w", err)
	}
	d.say("  all events are sent; %s sent again because they were not acknowledged", terminal.Count(int(c.resent.Load()), "was", "were"))
	err := await(ctx, arrivalTimeout, func() bool { return d.arrived(events) == events })
	d.check(err == nil, "%d of %d acknowledged orders did not arrive", events-d.arrived(events), events)
	d.printResult(events)
	return nil
}

// start sends all events from several goroutines. The channel receives the
// first error, or nil, when all are done.
func (c *campaign) start(ctx context.Context) <-chan error {
	work := make(chan int)
	go func() {
		defer close(work)
		for i := range c.events {
			select {
			case work <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	errs := make(chan error, senders)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range work {
				if err := c.sendUntilAcknowledged(ctx, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	done := make(chan error, 1)
	go func() {
		wg.Wait()
		close(errs)
		done <- <-errs
	}()
	return done
}

// sendUntilAcknowledged sends the event of one order until it is acknowledged.
func (c *campaign) sendUntilAcknowledged(ctx context.Context, i int) error {
	for {
		_, err := c.d.sender.send(ctx, firstCrashOrder+i, fmt.Sprintf("evt-%d", i))
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return err
		}
		c.resent.Add(1)
		select { // resend when the atom is back
		case <-c.up:
			if terminal.Sleep(ctx, retryDelay) != nil {
				return err
			}
		case <-ctx.Done():
			return err
		}
	}
	if c.acknowledged.Add(1) == int64(c.events/2) {
		c.halfOnce.Do(func() { close(c.half) })
	}
	select {
	case <-c.killed:
	default:
		c.beforeKill.Add(1)
	}
	return nil
}

// arrived returns the number of orders whose invoice is back in the shop.
func (d *demo) arrived(events int) (n int) {
	d.shop.mu.Lock()
	defer d.shop.mu.Unlock()
	for i := range events {
		if d.shop.numbers[firstCrashOrder+i] != "" {
			n++
		}
	}
	return n
}

// printResult prints the counts of orders, invoices and repeated calls, and
// checks them against the promises.
func (d *demo) printResult(events int) {
	invoices, twice := 0, 0
	for i := range events {
		n := len(d.erp.invoices(firstCrashOrder + i))
		invoices += n
		if n > 1 {
			twice++
		}
	}
	created := d.erp.repeatedCalls()
	fetched, written := d.shop.repeatedCalls(firstCrashOrder, events)
	recognized := ""
	if created > 0 {
		recognized = "recognized by the ERP by its Idempotency-Key"
	}
	repeated := fetched + created + written
	t := &terminal.Table{Head: []string{"", "", ""}}
	t.Add("  acknowledged orders", fmt.Sprint(events), "")
	t.Add("  arrived in the ERP and back in the shop", fmt.Sprint(d.arrived(events)), "")
	t.Add("  invoices in the ERP", fmt.Sprint(invoices), "")
	t.Add("  orders invoiced twice", fmt.Sprint(twice), "")
	t.Add("  calls repeated because of the crash", fmt.Sprint(repeated), fmt.Sprintf("at most %d: one per worker", atomWorkers))
	t.Add("    to fetch an order", fmt.Sprint(fetched), "")
	t.Add("    to create an invoice", fmt.Sprint(created), recognized)
	t.Add("    to write its number back", fmt.Sprint(written), "")
	var b bytes.Buffer
	if err := t.PrintRows(&b); err == nil {
		d.say("%s", bytes.TrimRight(b.Bytes(), "\n"))
	}
	d.check(twice == 0, "%d orders were invoiced twice", twice)
	d.check(repeated <= atomWorkers, "%d calls were repeated, more than the %d workers of the process", repeated, atomWorkers)
}
