package cloud_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// TestAtomLog: the question goes to the atom with its poll, and its answer
// passes through; who is not in touch is not asked.
func TestAtomLog(t *testing.T) {
	d, _ := open(t, t.TempDir())
	id := d.enrol(t, "prod", "edge-01")
	var invalid *cloud.InvalidError
	for _, n := range []int{-1, 0, 1001} {
		if _, err := d.AtomLog(d.ctx, d.admin, id, n); !errors.As(err, &invalid) {
			t.Errorf("%d lines: %v", n, err)
		}
	}
	if _, err := d.AtomLog(d.ctx, d.admin, "nobody", 10); !errors.Is(err, cloud.ErrNotFound) {
		t.Error(err)
	}
	if _, err := d.AtomLog(d.ctx, d.admin, "edge-01", 10); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("it was never heard of: %v", err)
	}
	d.Heard(id, wire.Heartbeat{Health: "ok"}, 0)

	// Asked, and answered.
	type answer struct {
		lines []wire.LogLine
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		lines, err := d.AtomLog(d.ctx, d.admin, "edge-01", 2)
		got <- answer{lines, err}
	}()
	polled := &wire.Polled{}
	var err error
	for end := time.After(10 * time.Second); len(polled.Messages) == 0 && err == nil; {
		select {
		case <-d.Ring(id): // it may ring of what was before
			polled, _, err = d.Next(d.ctx, id, 0)
		case <-end:
			t.Fatal("the atom is not asked")
		}
	}
	if err != nil || len(polled.Messages) != 1 || polled.Messages[0].Kind != wire.KindLogs || polled.Messages[0].Lines != 2 {
		t.Fatalf("%+v, %v", polled, err)
	}
	question := polled.Messages[0].ID
	told := wire.Reports{LogsFor: question, Logs: []wire.LogLine{{At: time.Now().UTC(), Level: "INFO", Text: "one"}, {At: time.Now().UTC(), Level: "WARN", Text: "two"}}}
	if err := d.Report(d.ctx, id, told); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err != nil || len(a.lines) != 2 || a.lines[1].Text != "two" || a.lines[1].Level != "WARN" {
		t.Errorf("%+v", a)
	}
	if err := d.Report(d.ctx, id, told); err != nil { // once more: nobody waits
		t.Error(err)
	}
	if err := d.Acknowledge(d.ctx, id, []int64{question}); err != nil {
		t.Fatal(err)
	}
	entries, _, err := d.AuditLog(d.ctx, d.admin, 0, 1)
	if err != nil || len(entries) != 1 || entries[0].Action != "atom.log" || entries[0].Object != id {
		t.Errorf("%+v, %v", entries, err)
	}

	// Who asks goes away before there is an answer.
	ctx, cancel := context.WithCancel(d.ctx)
	go func() {
		lines, err := d.AtomLog(ctx, d.admin, id, 2)
		got <- answer{lines, err}
	}()
	for len(polled.Messages) > 0 && polled.Messages[0].ID == question {
		<-d.Ring(id)
		if next, _, err := d.Next(d.ctx, id, 0); err != nil {
			t.Fatal(err)
		} else if len(next.Messages) > 0 {
			polled = next
		}
	}
	cancel()
	if a := <-got; !errors.Is(a.err, context.Canceled) {
		t.Errorf("%+v", a)
	}
	if err := d.RevokeAtom(d.ctx, d.admin, id); err != nil {
		t.Fatal(err)
	}
	if _, err := d.AtomLog(d.ctx, d.admin, id, 2); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("it was revoked: %v", err)
	}
}
