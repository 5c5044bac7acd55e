package operate

import (
	"testing"

	"valence/atom"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct{ status, how, want string }{
		{"completed", "", "completed"},
		{"failed", "", "failed"},
		{"failed", "resubmitted", "failed, resubmitted"},
		{"failed", "deleted", "failed, deleted"},
		{"superseded", "superseded", "superseded"},
	} {
		v := &atom.ExecutionView{Status: c.status}
		if c.how != "" {
			v.Resolution = &atom.ResolutionView{How: c.how, Execution: "2"}
		}
		if got := status(v); got != c.want {
			t.Errorf("status %q resolved as %q: got %q, want %q", c.status, c.how, got, c.want)
		}
	}
}
