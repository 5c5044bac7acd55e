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

// failed has the atom tell of an execution that failed, and gives its record.
func (s *station) failed(t *testing.T, execution string) *cloud.ExecutionRecord {
	t.Helper()
	s.tell(t, wire.ExecutionReport{Execution: execution, Process: "relay", Kind: "listener", Status: "failed", Received: time.Now(), Ended: time.Now()})
	found, _, err := s.Records(t.Context(), s.Admin, cloud.RecordFilter{}, cloud.Place{}, 100)
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

func (s *station) tell(t *testing.T, all ...wire.ExecutionReport) {
	t.Helper()
	if err := s.atom.Report(t.Context(), wire.Reports{Executions: all}); err != nil {
		t.Fatal(err)
	}
}

func conflicts(t *testing.T, err error, with string) {
	t.Helper()
	if !errors.Is(err, cloud.ErrConflict) || !strings.Contains(err.Error(), with) {
		t.Errorf("%v, want a conflict with %q", err, with)
	}
}

// TestResubmitted: the atom gets one message, and what it tells becomes a
// record that names the failed one as clients know it.
func TestResubmitted(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	first := s.failed(t, "x1")
	p := s.Admin
	p.Role = cloud.Operator
	request, err := s.ResubmitExecution(t.Context(), p, first.ID, cloud.FromFailedStep)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.ResubmitExecution(t.Context(), p, first.ID, "")
	conflicts(t, err, "has not taken it yet")
	polled := s.poll(t)
	if len(polled.Messages) != 1 {
		t.Fatalf("%+v", polled)
	}
	want := wire.Resubmit{Request: request, Execution: "x1", Process: "relay", From: "failed_step"}
	if m := polled.Messages[0]; m.Kind != wire.KindResubmit || m.Resubmit == nil || *m.Resubmit != want {
		t.Fatalf("%+v", m)
	}
	s.poll(t, polled.Messages[0].ID)
	_, err = s.ResubmitExecution(t.Context(), p, first.ID, "")
	conflicts(t, err, "has not told yet")
	s.tell(t, wire.ExecutionReport{Execution: "x2", Request: request, Process: "relay", Kind: "retry", Original: "x1", Status: "completed", Received: time.Now(), Ended: time.Now()})
	r, err := s.WaitRecord(t.Context(), p, request, 0)
	if err != nil || r == nil || r.Status != cloud.Complete || r.OriginalID != first.ID || r.Type != "retry_manual" || r.ProcessID != first.ProcessID {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = s.ResubmitExecution(t.Context(), p, first.ID, "")
	conflicts(t, err, r.ID)
	_, err = s.ResubmitExecution(t.Context(), p, request, "")
	conflicts(t, err, "COMPLETE")
	entries, _, err := s.AuditLog(t.Context(), s.Admin, 0, 1)
	if err != nil || len(entries) != 1 || entries[0].Action != "execution.resubmit" || entries[0].Object != first.ID || !strings.Contains(entries[0].Detail, "failed step") {
		t.Errorf("%+v, %v", entries, err)
	}
}

// TestResubmittedInVain: where the atom could not, the record of the request
// says why, and it can be asked for otherwise.
func TestResubmittedInVain(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	first := s.failed(t, "x1")
	request, err := s.ResubmitExecution(t.Context(), s.Admin, first.ID, cloud.FromFailedStep)
	if err != nil {
		t.Fatal(err)
	}
	s.poll(t, s.poll(t).Messages[0].ID)
	s.tell(t, wire.ExecutionReport{Request: request, Process: "relay", Kind: "retry", Original: "x1", Status: "rejected", Error: "the step is another", Received: time.Now(), Ended: time.Now()})
	r, err := s.WaitRecord(t.Context(), s.Admin, request, 0)
	if err != nil || r == nil || r.Status != cloud.Failed || r.Message != "the step is another" || r.OriginalID != first.ID {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = s.ResubmitExecution(t.Context(), s.Admin, r.ID, "")
	conflicts(t, err, "resubmit the execution "+first.ID)
	again, err := s.ResubmitExecution(t.Context(), s.Admin, first.ID, "")
	if err != nil || again == request {
		t.Fatalf("%s, %v", again, err)
	}
	if err := s.RevokeAtom(t.Context(), s.Admin, s.atom.ID); err != nil {
		t.Fatal(err)
	}
	if r, err = s.WaitRecord(t.Context(), s.Admin, again, 0); err != nil || r == nil || r.Status != cloud.Failed || r.OriginalID != first.ID || r.Type != "retry_manual" {
		t.Errorf("taken back: %+v, %v", r, err)
	}
	_, err = s.ResubmitExecution(t.Context(), s.Admin, first.ID, "")
	conflicts(t, err, "was revoked")
}

// TestNotResubmittable: what did not fail, what is of others, and what makes no sense.
func TestNotResubmittable(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	first := s.failed(t, "x1")
	limited := s.Admin
	limited.Environments = []string{"of another"}
	if _, err := s.ResubmitExecution(t.Context(), limited, first.ID, ""); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("of another environment: %v", err)
	}
	var invalid *cloud.InvalidError
	if _, err := s.ResubmitExecution(t.Context(), s.Admin, first.ID, "the middle"); !errors.As(err, &invalid) {
		t.Errorf("from the middle: %v", err)
	}
	if _, err := s.ResubmitExecution(t.Context(), s.Admin, "execution-none", ""); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	for status, with := range map[string]string{"running": "INPROCESS", "completed": "COMPLETE", "cancelled": "ABORTED"} {
		request := s.execute(t, "")
		s.tell(t, wire.ExecutionReport{Execution: "of " + status, Request: request, Process: "relay", Kind: "manual", Status: status, Received: time.Now(), Ended: time.Now()})
		_, err := s.ResubmitExecution(t.Context(), s.Admin, request, "")
		conflicts(t, err, with)
	}
	request := s.execute(t, "")
	s.tell(t, wire.ExecutionReport{Request: request, Process: "relay", Kind: "manual", Status: "rejected", Received: time.Now(), Ended: time.Now()})
	_, err := s.ResubmitExecution(t.Context(), s.Admin, request, "")
	conflicts(t, err, "never ran")
	if polled := s.poll(t); len(polled.Messages) != 4 {
		t.Errorf("the atom is asked for something: %+v", polled.Messages)
	}
}
