package spool

import (
	"fmt"
	"strings"
	"testing"

	"valence/internal/wire"
)

// TestReportsAreBounded: unrequested reports are dropped first, oldest first.
func TestReportsAreBounded(t *testing.T) {
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- s.db.Run(ctx) }()
	asked := NewReport(KindRequested, wire.ExecutionReport{Request: "executionrecord-1"})
	if _, err := s.AddReports(ctx, []Report{asked}, nil); err != nil {
		t.Fatal(err)
	}
	var dropped int64
	for i := range 13 {
		batch := make([]Report, 5000)
		for k := range batch {
			batch[k] = NewReport(KindOther, wire.ExecutionReport{Execution: fmt.Sprint(i*5000 + k)})
		}
		n, err := s.AddReports(ctx, batch, nil)
		if err != nil {
			t.Fatal(err)
		}
		dropped += n
	}
	if n := s.count.Load(); n > maxWaiting || n+dropped != 13*5000+1 {
		t.Errorf("%d wait, %d were dropped", n, dropped)
	}
	batch, err := s.NextBatch(ctx, 2)
	if err != nil || len(batch) != 2 || batch[0].Kind != KindRequested {
		t.Fatalf("got %v, %v, want no error, 2 reports, batch[0].Kind KindRequested", batch, err)
	}
	if oldest := fmt.Sprintf(`"execution":"%d"`, dropped); !strings.Contains(string(batch[1].Body), oldest) {
		t.Errorf("the oldest is %s, not %s", batch[1].Body, oldest)
	}
	if err := s.RemoveSent(ctx, batch); err != nil || s.count.Load() != 13*5000+1-dropped-2 {
		t.Errorf("got %v %v, want count %v and no error", s.count.Load(), err, 13*5000+1-dropped-2)
	}
}
