// Package demo has the command that demonstrates valence: it starts a shop, an
// ERP, atoms and a control plane on this machine and checks every promise.
package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

//go:embed orders relay
var projects embed.FS

// Command runs the demonstration.
type Command struct {
	Stay   bool `help:"Keep everything running afterwards, until Ctrl-C."`
	Events int  `default:"1000" help:"Number of orders that change around the crash."`
	Port   int  `default:"0" help:"Port of the atom's web services; its admin API uses the next one. 0: free ports."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Starts a shop, an ERP and an atom on this machine and prints what they do: an event
becomes an invoice, a request is answered with documents, and the atom is killed in
the middle of a thousand orders. Then the ERP moves behind a firewall, with a
control plane and an atom that only makes outbound requests. Nothing remains on
the machine. The exit code is 1 if a promise was broken.

Example:

    valence demo --stay
`
}

// demo is the state of a demonstration.
type demo struct {
	mu      sync.Mutex // guards out
	out     io.Writer
	verbose atomic.Bool // print every request of the systems

	shop   *shop
	erp    *erp
	atom   *program
	sender *sender
	others []*program // of the relay
	broken []string   // broken promises
}

// noTempFolder is the hint if no temporary folder can be written.
const noTempFolder = "set TMPDIR to a writable folder"

// Run runs the demonstration.
func (c *Command) Run(s *terminal.Streams) error {
	if c.Events < 10 || c.Events > 100_000 {
		return clierror.Usage("--events 1000", "--events must be between 10 and 100000")
	}
	if c.Port < 0 || c.Port > 65534 {
		return clierror.Usage("--port 9090", "--port must be between 0 and 65534")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.MkdirTemp("", "valence-demo-")
	if err != nil {
		return clierror.Failed(noTempFolder, "%v", err)
	}
	defer os.RemoveAll(folder)
	d := &demo{out: s.Out}
	d.shop = newShop(d.trace)
	d.erp = newERP(d.trace)
	shopURL, closeShop, err := serve(d.shop.handler())
	if err != nil {
		return err
	}
	defer closeShop()
	erpURL, closeERP, err := serve(d.erp.handler())
	if err != nil {
		return err
	}
	defer closeERP()
	if d.atom, err = c.newAtom(folder, shopURL, erpURL, d.shop.key); err != nil {
		return err
	}
	defer d.kill()
	if err := d.atom.start(ctx); err != nil {
		return err
	}
	d.sender = newSender(d.atom)
	d.say("A shop, an ERP and an atom run on this machine:\n")
	d.say("  shop  %s  has the orders", shopURL)
	d.say("  erp   %s  creates the invoices", erpURL)
	d.say("  atom  %s  runs the processes in %s", d.atom.listen, d.atom.project)
	return d.run(ctx, c, folder, shopURL, erpURL)
}

// run shows the chapters one after the other, and stops the programs.
func (d *demo) run(ctx context.Context, c *Command, folder, shopURL, erpURL string) error {
	for _, chapter := range []func(context.Context) error{
		d.showEvent, d.showRequest, func(ctx context.Context) error { return d.showCrash(ctx, c.Events) },
		func(ctx context.Context) error { return d.showRelay(ctx, folder, shopURL, erpURL) },
	} {
		if err := chapter(ctx); err != nil {
			if ctx.Err() != nil {
				return clierror.Failed("", "interrupted")
			}
			return fmt.Errorf("%w\n%s", err, d.atom.lastLines())
		}
	}
	if len(d.broken) > 0 {
		return clierror.Invalid("report it with this output", "broken promises: %s", strings.Join(d.broken, "; "))
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

// kill kills all programs that still run.
func (d *demo) kill() {
	for _, o := range d.others {
		o.kill()
	}
	d.atom.kill()
}

// say prints a line.
func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// trace prints an indented line if the demo is verbose.
func (d *demo) trace(format string, args ...any) {
	if d.verbose.Load() {
		d.say("  "+format, args...)
	}
}

// check records a broken promise unless ok.
func (d *demo) check(ok bool, format string, args ...any) {
	if !ok {
		d.broken = append(d.broken, fmt.Sprintf(format, args...))
	}
}

// stay prints commands to try, and returns when ctx ends.
func (d *demo) stay(ctx context.Context) {
	d.verbose.Store(true)
	d.say("\nEverything runs until Ctrl-C. Try in another shell:\n")
	d.say("  curl %s/orders/%d/documents", d.atom.listen, firstOrder)
	d.say("  valence executions --data %s", d.atom.data)
	d.say("  valence processes --data %s", d.atom.data)
	d.say("  curl -H \"Authorization: Bearer $(cat %s)\" %s/metrics", filepath.Join(d.atom.data, "admin.token"), d.atom.admin)
	d.say("  ls %s\n", d.atom.project)
	<-ctx.Done()
	d.verbose.Store(false)
}

// serve serves a handler on a free port of this machine.
func serve(h http.Handler) (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, clierror.Failed("", "no port is free on this machine: %v", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // returns ErrServerClosed
	}()
	return "http://" + ln.Addr().String(), func() { srv.Close(); <-done }, nil
}

// await polls ok until it is true or the timeout is over.
func await(ctx context.Context, timeout time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s", timeout)
		case <-tick.C:
		}
	}
	return nil
}

// copyProject writes an embedded folder to disk.
func copyProject(name, to string) error {
	folder, err := fs.Sub(projects, name)
	if err == nil {
		err = os.CopyFS(to, folder)
	}
	if err != nil {
		return clierror.Failed(noTempFolder, "%v", err)
	}
	return nil
}
