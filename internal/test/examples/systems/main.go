// Command systems simulates the other systems of an example, so that it can be
// tried by hand. It prints how to start the atom, the requests to send, and then
// every call that the systems receive.
//
//	go run ./internal/test/examples/systems examples/order-sync
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"valence/internal/test/examples"
)

const atom = "http://127.0.0.1:9090"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: systems EXAMPLE-FOLDER")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// play runs the systems until ctx ends.
func play(ctx context.Context, dir string) error {
	e, err := examples.Load(dir)
	if err != nil {
		return err
	}
	var out sync.Mutex
	systems, err := examples.Start(e, false, func(g examples.ReceivedCall) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("%s %s → %d\n", time.Now().Format(time.TimeOnly), g.To, g.Status)
		if len(g.Body) > 0 {
			fmt.Printf("         %s\n", bytes.TrimSpace(g.Body))
		}
	})
	if err != nil {
		return err
	}
	defer systems.Close()
	systems.Addresses["folder"] = examples.Folder(dir)
	var env []string
	for _, pair := range e.Env(systems.Addresses) {
		k, v, _ := strings.Cut(pair, "=")
		env = append(env, k+"='"+v+"'")
	}
	fmt.Printf("# 1. in a second terminal, start the atom:\n%s \\\n  bin/valence run %s\n\n# 2. in a third, in %s, send:\n", strings.Join(env, " \\\n"), dir, dir)
	for i := range e.Requests {
		r := &e.Requests[i]
		base := atom
		if r.Callback != nil {
			base += "/callbacks/TOKEN" // printed by the system
		}
		command, err := r.ShellCommand(ctx, e, base)
		if err != nil {
			return err
		}
		fmt.Printf("\n# %s\n%s\n", r.About, command)
	}
	fmt.Printf("\n# 3. and watch the calls to the systems; Ctrl-C stops them\n")
	<-ctx.Done()
	return nil
}
