package deploy

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	core "valence/atom/replay"
	"valence/internal/cli/terminal"
	"valence/internal/wire"
)

// TestFailOnChange refuses a version whose replay found a change, or compared
// nothing, or did not come to its end.
func TestFailOnChange(t *testing.T) {
	skipped := []*core.Group{{Kind: "its documents are no longer stored", Count: 3}, {Kind: "it has more steps than its record", Count: 1}}
	for _, test := range []struct {
		name  string
		out   core.Outcome
		done  int
		total int
		want  string // of the error; "": the version is deployed
	}{
		{"no history", core.Outcome{}, 0, 0, ""},
		{"unchanged", core.Outcome{Reports: []*core.Report{{Process: "p", Replayed: 2}}}, 2, 2, ""},
		{"some were compared", core.Outcome{Reports: []*core.Report{{Process: "p", Replayed: 2}, {Process: "q", Skipped: skipped}}}, 6, 6, ""},
		{"changed", core.Outcome{Reports: []*core.Report{{Process: "p", Replayed: 2, Changed: 1}}}, 2, 2, "1 execution of shop would change, and nothing was deployed"},
		{"none was compared", core.Outcome{Reports: []*core.Report{{Process: "p", Skipped: skipped}}}, 4, 4, "4 executions were not compared, and nothing was deployed"},
		{"stopped", core.Outcome{Reports: []*core.Report{{Process: "p", Replayed: 2, Skipped: skipped}}, Stopped: "the replay stopped"}, 6, 10, "8 executions were not compared, and nothing was deployed"},
	} {
		result, err := json.Marshal(test.out)
		if err != nil {
			t.Fatal(err)
		}
		for _, fail := range []bool{true, false} {
			r := &rollout{c: &Command{FailOnChange: fail}, s: &terminal.Streams{Out: io.Discard}, project: "shop"}
			err = r.judgeReplay(replayState{Atom: "edge", State: wire.ReplayFinished, Done: test.done, Total: test.total, Result: result})
			switch {
			case !fail || test.want == "":
				if err != nil {
					t.Errorf("%s, --fail-on-change %v: got %v, want it deployed", test.name, fail, err)
				}
			case err == nil || !strings.Contains(err.Error(), test.want):
				t.Errorf("%s: got %v, want %q", test.name, err, test.want)
			}
		}
	}
}
