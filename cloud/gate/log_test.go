package gate_test

import (
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// TestOtherAtomsCannotAnswerLogRequest: another atom, of any account, cannot answer a log
// request.
func TestOtherAtomsCannotAnswerLogRequest(t *testing.T) {
	s := startPlane(t, cloudtest.Options{})
	other := cloudtest.Join(t, s.URL, s.InstallToken(t, "prod"), "edge-02")
	got := make(chan []wire.LogLine, 1)
	go func() {
		lines, err := s.Fleet.AtomLog(t.Context(), s.Admin, s.atom.ID, 2)
		if err != nil {
			t.Error(err)
		}
		got <- lines
	}()
	polled, err := s.atom.Poll(t.Context(), s.generation, 20)
	if err != nil || len(polled.Instructions) != 1 || polled.Instructions[0].Kind != wire.KindLogs {
		t.Fatalf("got %+v, %v, want len(polled.Instructions) 1, Kind logs and no error", polled, err)
	}
	line := func(text string) wire.LogLine { return wire.LogLine{At: time.Now(), Level: "INFO", Text: text} }
	question := polled.Instructions[0].ID
	if err := other.Report(t.Context(), wire.Reports{LogsFor: question, Logs: []wire.LogLine{line("forged")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.atom.Report(t.Context(), wire.Reports{LogsFor: question, Logs: []wire.LogLine{line("old"), line("a\x1b[2J"), line("b")}}); err != nil {
		t.Fatal(err)
	}
	if lines := <-got; len(lines) != 2 || lines[0].Text != "a\ufffd[2J" || lines[1].Text != "b" {
		t.Errorf("%+v", lines)
	}
	if _, err := s.Fleet.AtomLog(t.Context(), cloud.Principal{Account: "another", User: "x", Role: cloud.Admin}, s.atom.ID, 2); err == nil {
		t.Error("another account is answered")
	}
}
