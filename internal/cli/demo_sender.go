package cli

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// sender posts the shop's events as a well-behaved sender does: signed
// (https://www.standardwebhooks.com), and again with the same id until they
// are acknowledged.
type sender struct {
	url    string
	secret []byte
	http   *http.Client
}

func newSender(c *child) *sender {
	return &sender{
		url: c.listen + "/shop/orders/changed", secret: c.hook,
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders}},
	}
}

// acknowledged is what the demo reads of a receipt.
type acknowledged struct {
	Execution string `json:"execution"`
	Status    string `json:"status"`
}

// send posts one event, once.
func (s *sender) send(ctx context.Context, order int, id string) (*acknowledged, error) {
	body := fmt.Appendf(nil, `{"id": %d}`, order)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, s.secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", stamp)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the event for order %d was answered %d: %s", order, resp.StatusCode, bytes.TrimSpace(text))
	}
	receipt := &acknowledged{}
	if err := json.Unmarshal(text, receipt); err != nil {
		return nil, fmt.Errorf("the receipt for order %d: %w", order, err)
	}
	return receipt, nil
}

const (
	senders    = 32
	firstOrder = 10_000 // of the crash
)

// aCrash posts events from many connections, kills the atom half way, starts
// it again, and compares what was acknowledged with what arrived.
func (d *demo) aCrash(ctx context.Context, events int) error {
	d.say("\n3. %d orders change, and the atom is killed with SIGKILL in the middle", events)
	var acked, before, resent atomic.Int64
	var dead, up = make(chan struct{}), make(chan struct{})
	half := make(chan struct{})
	var once sync.Once
	work := make(chan int)
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	errs := make(chan error, senders)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range work {
				for {
					_, err := d.sender.send(ctx, firstOrder+i, fmt.Sprintf("evt-%d", i))
					if err == nil {
						break
					}
					if ctx.Err() != nil {
						errs <- err
						return
					}
					resent.Add(1)
					select { // not acknowledged: it is sent again once the atom is back
					case <-up:
						if pause(ctx, 50*time.Millisecond) != nil {
							errs <- err
							return
						}
					case <-ctx.Done():
						errs <- err
						return
					}
				}
				if acked.Add(1) == int64(events/2) {
					once.Do(func() { close(half) })
				}
				select {
				case <-dead:
				default:
					before.Add(1)
				}
			}
		})
	}
	go func() {
		defer close(work)
		for i := range events {
			select {
			case work <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	select {
	case <-half:
	case <-ctx.Done():
		wg.Wait()
		return fmt.Errorf("the events were not acknowledged in time: %w", <-errs)
	}
	d.atom.kill()
	close(dead)
	d.say("  killed after %d acknowledgements, when %s come all the way", before.Load(), plural(d.arrived(events), "order had", "orders had"))
	start := time.Now()
	if err := d.atom.start(ctx); err != nil {
		return err
	}
	d.say("  started again on the same data folder: ready after %s", span(time.Since(start)))
	close(up)
	wg.Wait()
	select {
	case err := <-errs:
		return fmt.Errorf("not every event was acknowledged after the crash: %w", err)
	default:
	}
	d.say("  the rest was sent, and %s again that had not been acknowledged", plural(int(resent.Load()), "event", "events"))
	err := until(ctx, 45*time.Second, func() bool { return d.arrived(events) == events })
	d.promise(err == nil, "%d of %d acknowledged orders did not arrive", events-d.arrived(events), events)
	d.settle(events)
	return nil
}

// arrived counts the orders whose ERP number is back in the shop.
func (d *demo) arrived(events int) (n int) {
	d.shop.mu.Lock()
	defer d.shop.mu.Unlock()
	for i := range events {
		if d.shop.numbers[firstOrder+i] != "" {
			n++
		}
	}
	return n
}

const demoWorkers = 16 // of a process, unless it says otherwise

// settle prints the result and holds it against the promises.
func (d *demo) settle(events int) {
	invoices, doubled := 0, 0
	for i := range events {
		n := len(d.erp.invoices(firstOrder + i))
		invoices += n
		if n > 1 {
			doubled++
		}
	}
	d.erp.mu.Lock()
	repeated := d.erp.repeated
	d.erp.mu.Unlock()
	d.shop.mu.Lock()
	fetched, written := 0, 0
	for i := range events {
		fetched += max(0, d.shop.reads[firstOrder+i]-1)
		written += max(0, d.shop.writes[firstOrder+i]-1)
	}
	d.shop.mu.Unlock()
	t := &table{head: []string{"", "", ""}}
	t.add("  acknowledged orders", fmt.Sprint(events), "")
	t.add("  arrived in the ERP and back in the shop", fmt.Sprint(d.arrived(events)), "")
	t.add("  invoices in the ERP", fmt.Sprint(invoices), "")
	t.add("  orders invoiced twice", fmt.Sprint(doubled), "")
	recognised := ""
	if repeated > 0 {
		recognised = "recognised by the ERP by its Idempotency-Key"
	}
	t.add("  calls repeated by the crash", fmt.Sprint(fetched+repeated+written), fmt.Sprintf("at most %d: one for each worker", demoWorkers))
	t.add("    fetching an order", fmt.Sprint(fetched), "")
	t.add("    making an invoice", fmt.Sprint(repeated), recognised)
	t.add("    writing its number back", fmt.Sprint(written), "")
	var b bytes.Buffer
	if err := t.body(&b); err == nil {
		d.say("%s", bytes.TrimRight(b.Bytes(), "\n"))
	}
	d.promise(doubled == 0, "%d orders were invoiced twice", doubled)
	n := fetched + repeated + written
	d.promise(n <= demoWorkers, "%d calls were repeated, more than the %d workers of the process", n, demoWorkers)
}

// pause waits, or gives the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// randomText gives n random bytes in hexadecimal.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}
