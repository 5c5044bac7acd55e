package gate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// failed makes the atom report a failed execution and returns its record.
func (s *fixture) failed(t *testing.T, execution string) *cloud.ExecutionRecord {
	t.Helper()
	s.tell(t, wire.ExecutionReport{Execution: execution, Process: "relay", Kind: "listener", Status: "failed", Received: time.Now(), Ended: time.Now()})
	found, _, err := s.Executions.Records(t.Context(), s.Admin, cloud.RecordFilter{}, cloud.Cursor{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		if r.Execution == execution {
			return r
		}
	}
	t.Fatalf("%+v", found)
	return nil
}

func (s *fixture) tell(t *testing.T, all ...wire.ExecutionReport) {
	t.Helper()
	if err := s.atom.Report(t.Context(), wire.Reports{Executions: all}); err != nil {
		t.Fatal(err)
	}
}

func conflicts(t *testing.T, err error, with string) {
	t.Helper()
	if !errors.Is(err, cloud.ErrConflict) || !strings.Contains(err.Error(), with) {
		t.Errorf("got %v, want a conflict with %q", err, with)
	}
}

// TestResubmitted: the atom gets one instruction, and its report becomes a record
// that names the failed execution.
func TestResubmitted(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	first := s.failed(t, "x1")
	p := s.Admin
	p.Role = cloud.Operator
	request, err := s.Executions.Resubmit(t.Context(), p, first.ID, cloud.FromFailedStep)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Executions.Resubmit(t.Context(), p, first.ID, "")
	conflicts(t, err, "has not accepted it yet")
	polled := s.poll(t)
	if len(polled.Instructions) != 1 {
		t.Fatalf("got %+v, want 1", polled)
	}
	want := wire.Resubmit{Request: request, Execution: "x1", Process: "relay", From: "failed_step"}
	if m := polled.Instructions[0]; m.Kind != wire.KindResubmit || m.Resubmit == nil || *m.Resubmit != want {
		t.Fatalf("%+v", m)
	}
	s.poll(t, polled.Instructions[0].ID)
	_, err = s.Executions.Resubmit(t.Context(), p, first.ID, "")
	conflicts(t, err, "has not reported the result yet")
	s.tell(t, wire.ExecutionReport{Execution: "x2", Request: request, Process: "relay", Kind: "retry", Original: "x1", Status: "completed", Received: time.Now(), Ended: time.Now()})
	r, err := s.Executions.WaitRecord(t.Context(), p, request, 0)
	if err != nil || r == nil || r.Status != cloud.Complete || r.OriginalID != first.ID || r.Type != "retry_manual" || r.ProcessID != first.ProcessID {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = s.Executions.Resubmit(t.Context(), p, first.ID, "")
	conflicts(t, err, r.ID)
	_, err = s.Executions.Resubmit(t.Context(), p, request, "")
	conflicts(t, err, "COMPLETE")
	entries, _, err := s.Audit.List(t.Context(), s.Admin, 0, 1)
	if err != nil || len(entries) != 1 || entries[0].Action != "execution.resubmit" || entries[0].Object != first.ID || !strings.Contains(entries[0].Detail, "failed step") {
		t.Errorf(`got %+v, %v, want len(entries) 1, Action execution.resubmit, Object %q, Detail with "failed step" and no error`, entries, err, first.ID)
	}
}

// TestRejectedResubmission: if the atom rejects a resubmission, the record says
// why and another one can be requested.
func TestRejectedResubmission(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	first := s.failed(t, "x1")
	request, err := s.Executions.Resubmit(t.Context(), s.Admin, first.ID, cloud.FromFailedStep)
	if err != nil {
		t.Fatal(err)
	}
	s.poll(t, s.poll(t).Instructions[0].ID)
	s.tell(t, wire.ExecutionReport{Request: request, Process: "relay", Kind: "retry", Original: "x1", Status: "rejected", Error: "the step is another", Received: time.Now(), Ended: time.Now()})
	r, err := s.Executions.WaitRecord(t.Context(), s.Admin, request, 0)
	if err != nil || r == nil || r.Status != cloud.Failed || r.Message != "the step is another" || r.OriginalID != first.ID {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = s.Executions.Resubmit(t.Context(), s.Admin, r.ID, "")
	conflicts(t, err, "resubmit the execution "+first.ID)
	again, err := s.Executions.Resubmit(t.Context(), s.Admin, first.ID, "")
	if err != nil || again == request {
		t.Fatalf("got %s, %v, want again not %q and no error", again, err, request)
	}
	if err := s.Fleet.RevokeAtom(t.Context(), s.Admin, s.atom.ID); err != nil {
		t.Fatal(err)
	}
	if r, err = s.Executions.WaitRecord(t.Context(), s.Admin, again, 0); err != nil || r == nil || r.Status != cloud.Failed || r.OriginalID != first.ID || r.Type != "retry_manual" {
		t.Errorf("taken back: %+v, %v", r, err)
	}
	_, err = s.Executions.Resubmit(t.Context(), s.Admin, first.ID, "")
	conflicts(t, err, "was revoked")
}

// TestNotResubmittable: executions that did not fail or belong to others cannot
// be resubmitted.
func TestNotResubmittable(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	first := s.failed(t, "x1")
	limited := s.Admin
	limited.Environments = []string{"of another"}
	if _, err := s.Executions.Resubmit(t.Context(), limited, first.ID, ""); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("of another environment: %v", err)
	}
	var invalid *cloud.InvalidError
	if _, err := s.Executions.Resubmit(t.Context(), s.Admin, first.ID, "the middle"); !errors.As(err, &invalid) {
		t.Errorf("from the middle: %v", err)
	}
	if _, err := s.Executions.Resubmit(t.Context(), s.Admin, "execution-none", ""); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("of none: got %v, want cloud.ErrNotFound", err)
	}
	for status, with := range map[string]string{"running": "INPROCESS", "completed": "COMPLETE", "cancelled": "ABORTED"} {
		request := s.execute(t, "")
		s.tell(t, wire.ExecutionReport{Execution: "of " + status, Request: request, Process: "relay", Kind: "manual", Status: status, Received: time.Now(), Ended: time.Now()})
		_, err := s.Executions.Resubmit(t.Context(), s.Admin, request, "")
		conflicts(t, err, with)
	}
	request := s.execute(t, "")
	s.tell(t, wire.ExecutionReport{Request: request, Process: "relay", Kind: "manual", Status: "rejected", Received: time.Now(), Ended: time.Now()})
	_, err := s.Executions.Resubmit(t.Context(), s.Admin, request, "")
	conflicts(t, err, "never ran")
	if polled := s.poll(t); len(polled.Instructions) != 4 {
		t.Errorf("got %+v, want no instruction for the atom", polled.Instructions)
	}
}
