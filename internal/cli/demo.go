package cli

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed demo
var demoProject embed.FS

type demoCmd struct {
	Stay   bool `help:"Stay up afterwards, to try things out, until Ctrl-C."`
	Events int  `default:"1000" help:"How many orders change around the crash."`
	Port   int  `default:"0" help:"Port of the atom's web services, and the next one for its admin plane; 0 takes free ones."`
}

// Help is shown below the command's summary.
func (*demoCmd) Help() string {
	return `Starts a shop, an ERP and an atom on this machine, and tells what happens: an
event becomes an invoice, a request is answered with documents, and the atom
is killed in the middle of a thousand orders. Then the ERP goes behind a
firewall: a control plane, and an atom that can only make outbound requests.
Nothing is left behind. The exit code is 1 if a promise was broken.

Example:

    valence demo --stay
`
}

// demo is the stage: three systems and where they are.
type demo struct {
	out     io.Writer
	mu      sync.Mutex // of out
	telling atomic.Bool
	shop    *shop
	erp     *erp
	atom    *child
	sender  *sender
	broken  []string // promises that were
	others  []*child // of the second story
}

// Run tells the story.
func (c *demoCmd) Run(s *streams) (err error) {
	if c.Events < 10 || c.Events > 100_000 {
		return usage("--events 1000", "--events takes 10 to 100000")
	}
	if c.Port < 0 || c.Port > 65534 {
		return usage("--port 9090", "--port takes a port number")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.MkdirTemp("", "valence-demo-")
	if err != nil {
		return failed("a TMPDIR that can be written to", "%v", err)
	}
	defer os.RemoveAll(folder)
	d := &demo{out: s.out}
	d.shop = &shop{key: "demo-" + randomText(12), told: d.tell, numbers: map[int]string{}, writes: map[int]int{}, reads: map[int]int{}}
	d.erp = &erp{told: d.tell, byKey: map[string]*invoice{}, byOrder: map[int][]*invoice{}}
	shopURL, closeShop, err := serveLocally(d.shop.handler())
	if err != nil {
		return err
	}
	defer closeShop()
	erpURL, closeERP, err := serveLocally(d.erp.handler())
	if err != nil {
		return err
	}
	defer closeERP()
	if d.atom, err = c.newChild(folder, shopURL, erpURL, d.shop.key); err != nil {
		return err
	}
	defer d.atom.kill()
	defer func() {
		for _, o := range d.others {
			o.kill()
		}
	}()
	if err := d.atom.start(ctx); err != nil {
		return err
	}
	d.sender = newSender(d.atom)
	d.say("A shop, an ERP and an atom, all on this machine:\n")
	d.say("  shop  %s  holds the orders", shopURL)
	d.say("  erp   %s  makes the invoices", erpURL)
	d.say("  atom  %s  runs the processes in %s", d.atom.listen, d.atom.project)

	for _, chapter := range []func(context.Context) error{
		d.anEvent, d.aRequest, func(ctx context.Context) error { return d.aCrash(ctx, c.Events) },
		func(ctx context.Context) error { return d.aFirewall(ctx, folder, shopURL, erpURL, d.shop.key) },
	} {
		if err := chapter(ctx); err != nil {
			if ctx.Err() != nil {
				return failed("", "interrupted")
			}
			return fmt.Errorf("%w\n%s", err, d.atom.lastLines())
		}
	}
	if len(d.broken) > 0 {
		return wrong("an issue with this output", "broken promises: %s", strings.Join(d.broken, "; "))
	}
	d.say("\nEvery promise was kept.")
	if c.Stay {
		d.stay(ctx)
	}
	errs := []error{d.atom.stop()}
	for _, o := range d.others {
		errs = append(errs, o.stop())
	}
	return errors.Join(errs...)
}

// say prints a line.
func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// tell prints what a system sees, while that is told.
func (d *demo) tell(format string, args ...any) {
	if d.telling.Load() {
		d.say("  "+format, args...)
	}
}

// promise notes one that was broken.
func (d *demo) promise(kept bool, format string, args ...any) {
	if !kept {
		d.broken = append(d.broken, fmt.Sprintf(format, args...))
	}
}

const told = 4711 // the order of the first chapter

func (d *demo) anEvent(ctx context.Context) error {
	d.telling.Store(true)
	defer d.telling.Store(false)
	d.say("\n1. The shop says that order %d changed", told)
	d.tell("shop → atom   POST /shop/orders/changed {\"id\": %d}, signed; it carries only the number", told)
	start := time.Now()
	receipt, err := d.sender.send(ctx, told, "evt-told")
	if err != nil {
		return err
	}
	d.tell("atom → shop   200 after %s, when it was on disk: execution %s", span(time.Since(start)), receipt.Execution)
	if err := until(ctx, 15*time.Second, func() bool { return d.shop.written(told) != "" }); err != nil {
		return fmt.Errorf("order %d was not written back: %w", told, err)
	}
	d.tell("so order %d is invoice %s, in both systems", told, d.shop.written(told))

	again, err := d.sender.send(ctx, told, "evt-told")
	if err != nil {
		return err
	}
	d.tell("shop → atom   the same event again: 200, %q, and nothing runs twice", again.Status)
	d.promise(again.Status == "duplicate", "an event that was sent twice was not recognised")
	d.promise(len(d.erp.invoices(told)) == 1, "order %d has %d invoices", told, len(d.erp.invoices(told)))
	return nil
}

func (d *demo) aRequest(ctx context.Context) error {
	d.telling.Store(true)
	defer d.telling.Store(false)
	d.say("\n2. Somebody asks for the documents of order %d, and waits", told)
	url := fmt.Sprintf("%s/orders/%d/documents", d.atom.listen, told)
	d.tell("→ atom        GET /orders/%d/documents", told)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask for documents: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("ask for documents: %w", err)
	}
	d.tell("← atom        %d after %s: %s", resp.StatusCode, span(time.Since(start)), strings.TrimSpace(string(text)))
	var answer struct {
		Order     int
		Documents []struct{ Number string }
	}
	right := json.Unmarshal(text, &answer) == nil && resp.StatusCode == http.StatusOK && answer.Order == told &&
		len(answer.Documents) == 1 && answer.Documents[0].Number == d.shop.written(told)
	d.promise(right, "the request for documents was not answered with them")
	return nil
}

// stay keeps everything up until it is interrupted.
func (d *demo) stay(ctx context.Context) {
	d.telling.Store(true)
	d.say("\nEverything stays up until Ctrl-C. Try, in another shell:\n")
	d.say("  curl %s/orders/%d/documents", d.atom.listen, told)
	d.say("  valence executions --data %s", d.atom.data)
	d.say("  valence processes --data %s", d.atom.data)
	d.say("  curl -H \"Authorization: Bearer $(cat %s)\" %s/metrics", filepath.Join(d.atom.data, "admin.token"), d.atom.admin)
	d.say("  ls %s\n", d.atom.project)
	<-ctx.Done()
	d.telling.Store(false)
}

// serveLocally serves a handler on a free port of this machine.
func serveLocally(h http.Handler) (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, failed("", "no port is free on this machine: %v", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with ErrServerClosed
	}()
	return "http://" + ln.Addr().String(), func() { srv.Close(); <-done }, nil
}

// until waits for something to become true.
func until(ctx context.Context, longest time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s", longest)
		case <-tick.C:
		}
	}
	return nil
}
