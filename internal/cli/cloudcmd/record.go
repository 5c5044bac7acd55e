package cloudcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
	"valence/internal/cli/terminal"
)

// record is an execution record of the platform API.
type record struct {
	ID         string          `json:"executionId"`
	Time       string          `json:"executionTime"`
	Status     string          `json:"status"`
	Type       string          `json:"executionType"`
	Process    string          `json:"processName"`
	Atom       string          `json:"atomName"`
	Took       json.RawMessage `json:"executionDuration"` // milliseconds: n, "n" or [type, n]
	Message    string          `json:"message"`
	Request    string          `json:"requestId"`
	OnAtom     string          `json:"atomExecutionId"`
	OriginalID string          `json:"originalExecutionId"`
	Again      string          `json:"resubmittedExecutionId"`
	Document   string          `json:"document"`
}

// ended reports whether the execution has ended.
func (r *record) ended() bool {
	return r.Status != "" && (&cloud.ExecutionRecord{Status: r.Status}).Ended()
}

// mark returns the status, and whether a failed execution has been resubmitted.
func (r *record) mark() string {
	if r.Again != "" {
		return r.Status + ", resubmitted"
	}
	return r.Status
}

// detail returns the message or, without one, the execution that this one
// repeats.
func (r *record) detail() string {
	if r.Message == "" && r.OriginalID != "" {
		return "resubmission of " + r.OriginalID
	}
	return terminal.Truncate(r.Message, 80)
}

// duration returns how long the execution took; empty if it has not ended.
func (r *record) duration() string {
	var typed []any
	text := string(r.Took)
	if json.Unmarshal(r.Took, &typed) == nil && len(typed) == 2 {
		text = fmt.Sprint(typed[1])
	}
	n, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
	if err != nil || r.Status == cloud.InProcess || r.Status == cloud.Enqueued || r.Status == cloud.Started {
		return ""
	}
	if n == 0 {
		return "<1ms"
	}
	return terminal.Duration(time.Duration(n) * time.Millisecond)
}

// printRecord prints a record with one line per field, and how to continue
// after a failure.
func printRecord(w io.Writer, text []byte, asJSON bool) error {
	if asJSON {
		return terminal.PrintJSON(w, text)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	for _, line := range [][2]string{
		{"execution", r.ID}, {"request", r.Request}, {"repeats", r.OriginalID}, {"process", r.Process}, {"atom", r.Atom}, {"status", r.Status}, {"resubmitted", r.Again},
		{"began by", r.Type}, {"began", r.Time}, {"took", r.duration()}, {"error", r.Message}, {"document", r.Document}, {"on the atom", r.OnAtom},
	} {
		if line[1] != "" {
			if _, err := io.WriteString(w, terminal.Field(line[0], line[1])); err != nil {
				return err
			}
		}
	}
	ran := r.OnAtom != "" && !strings.HasPrefix(r.OnAtom, "none-") && !strings.HasPrefix(r.OnAtom, "withdrawn-")
	if r.Status != cloud.Failed || !ran || r.Again != "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "run it again: valence cloud executions resubmit %s\nshow its steps, on the machine of %s: valence executions show %s\n", r.ID, r.Atom, r.OnAtom)
	return err
}
