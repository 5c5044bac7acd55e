package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"valence/atom"
)

// follow asks for many and shows how far it has come, until it is done or the
// user stops it.
func (m *many) follow(s *streams, path string, body map[string]any, done string) error {
	api, err := m.client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	text, err := api.call(ctx, "POST", path, body)
	if err != nil {
		return err
	}
	v := &atom.BatchView{}
	if err := json.Unmarshal(text, v); err != nil {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	progress := newProgress(s.err)
	for v.State == "running" {
		if !m.JSON {
			progress.show(fmt.Sprintf("%d of %d %s", v.Done, v.Matched, done))
		}
		method := "GET"
		select {
		case <-tick.C:
		case <-ctx.Done():
			method = "DELETE" // what it has not come to stays failed
		}
		if text, err = api.call(context.Background(), method, "/failed/batches/"+v.ID, nil); err != nil {
			return err
		}
		if err := json.Unmarshal(text, v); err != nil {
			return err
		}
	}
	progress.clear()
	if m.JSON {
		if err := printJSON(s.out, text); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(s.out, "%d of %d %s\n", v.Done, v.Matched, done)
	}
	switch {
	case v.Refused > 0:
		return wrong("valence failed, for what is left", "%s could not be: %s", plural(v.Refused, "execution", "executions"), v.Reason)
	case v.State == "stopped":
		return wrong("the same again, for the rest", "it was stopped")
	}
	return nil
}

// progress is one line that is written over, where people look at it.
type progress struct {
	w    io.Writer
	seen bool
	live bool
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok {
		return &progress{w: w}
	}
	info, err := f.Stat()
	return &progress{w: w, live: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) show(line string) {
	if p.live {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		p.seen = true
	}
}

func (p *progress) clear() {
	if p.seen {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
