package cloud_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// TestAtomLog: the log request is in the atom's poll and its reply reaches the
// caller; an offline atom is not asked.
func TestAtomLog(t *testing.T) {
	d, _ := open(t, t.TempDir())
	id := d.enrol(t, "prod", "edge-01")
	var invalid *cloud.InvalidError
	for _, n := range []int{-1, 0, 1001} {
		if _, err := d.Fleet.AtomLog(d.ctx, d.admin, id, n); !errors.As(err, &invalid) {
			t.Errorf("%d lines: %v", n, err)
		}
	}
	if _, err := d.Fleet.AtomLog(d.ctx, d.admin, "nobody", 10); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("got %v, want cloud.ErrNotFound", err)
	}
	if _, err := d.Fleet.AtomLog(d.ctx, d.admin, "edge-01", 10); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("an atom that never polled: got %v, want a conflict", err)
	}
	d.AtomAPI.RecordHeartbeat(id, wire.Heartbeat{Health: "ok"}, 0)

	// A request and its reply.
	type answer struct {
		lines []wire.LogLine
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		lines, err := d.Fleet.AtomLog(d.ctx, d.admin, "edge-01", 2)
		got <- answer{lines, err}
	}()
	polled := &wire.PollResponse{}
	var err error
	for end := time.After(10 * time.Second); len(polled.Instructions) == 0 && err == nil; {
		select {
		case <-d.AtomAPI.Notify(id): // it may hold an earlier token
			polled, _, err = d.AtomAPI.Next(d.ctx, id, 0)
		case <-end:
			t.Fatal("the atom got no log request")
		}
	}
	if err != nil || len(polled.Instructions) != 1 || polled.Instructions[0].Kind != wire.KindLogs || polled.Instructions[0].Lines != 2 {
		t.Fatalf("got %+v, %v, want len(polled.Instructions) 1, Kind logs, Lines 2 and no error", polled, err)
	}
	question := polled.Instructions[0].ID
	told := wire.Reports{LogsFor: question, Logs: []wire.LogLine{{At: time.Now().UTC(), Level: "INFO", Text: "one"}, {At: time.Now().UTC(), Level: "WARN", Text: "two"}}}
	if err := d.AtomAPI.StoreReports(d.ctx, id, told); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err != nil || len(a.lines) != 2 || a.lines[1].Text != "two" || a.lines[1].Level != "WARN" {
		t.Errorf("got %+v, want len(a.lines) 2, Text two, Level WARN and no error", a)
	}
	if err := d.AtomAPI.StoreReports(d.ctx, id, told); err != nil { // again: no call waits for it
		t.Error(err)
	}
	if err := d.AtomAPI.Acknowledge(d.ctx, id, []int64{question}); err != nil {
		t.Fatal(err)
	}
	entries, _, err := d.Audit.List(d.ctx, d.admin, 0, 1)
	if err != nil || len(entries) != 1 || entries[0].Action != "atom.log" || entries[0].Object != id {
		t.Errorf("got %+v, %v, want len(entries) 1, Action atom.log, Object %q and no error", entries, err, id)
	}

	// The caller leaves before the reply.
	ctx, cancel := context.WithCancel(d.ctx)
	go func() {
		lines, err := d.Fleet.AtomLog(ctx, d.admin, id, 2)
		got <- answer{lines, err}
	}()
	for len(polled.Instructions) > 0 && polled.Instructions[0].ID == question {
		<-d.AtomAPI.Notify(id)
		if next, _, err := d.AtomAPI.Next(d.ctx, id, 0); err != nil {
			t.Fatal(err)
		} else if len(next.Instructions) > 0 {
			polled = next
		}
	}
	cancel()
	if a := <-got; !errors.Is(a.err, context.Canceled) {
		t.Errorf("got %+v, want context.Canceled", a)
	}
	if err := d.Fleet.RevokeAtom(d.ctx, d.admin, id); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Fleet.AtomLog(d.ctx, d.admin, id, 2); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("it was revoked: %v", err)
	}
}
