package replay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/sandbox"
	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
	"valence/processes/loader"
)

// TestMaskedHeaders: an execution is not replayed if the project reads the headers
// of answers, and the record does not show one of them.
func TestMaskedHeaders(t *testing.T) {
	for _, test := range []struct {
		name, file, cookie string
		want               unable
	}{
		{"read", "map: { c: \"${response.headers['set-cookie']}\" }", "session=[secret]", "the header Set-Cookie of an answer is a credential, which its record does not show, and the project reads headers"},
		{"not read", "map: { s: \"${response.status}\" }", "session=[secret]", ""},
		{"sent", "with: { headers: { X-Shop: a } }", "session=[secret]", ""},
		{"shown", "map: { c: \"${response.headers.etag}\" }", "", ""},
	} {
		v := New([]processes.File{{Content: []byte(test.file)}}, &processes.Process{Name: "p"}, nil, nil)
		then := &atom.ExecutionView{Durable: true}
		then.Steps = []atom.StepView{{Kind: "call", Operation: "shop.get", Outcome: "ok", Headers: http.Header{"Set-Cookie": {test.cookie}}}}
		if _, got := v.scenario(then, newAnswers(then)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestMemoryOfAReplay: a run that makes too many documents is stopped, and is not
// compared.
func TestMemoryOfAReplay(t *testing.T) {
	const file = `process: p
listen: { path: /p, input: json, output: json, auth: none }
steps:
  - set: { i: 0 }
  - repeat:
      max: %[1]d
      until: ${vars.i >= %[1]d}
      steps:
        - set: { i: "${vars.i + 1}" }
        - map: { t: "${doc.t}", i: "${vars.i}" }
  - reply: { i: "${doc.i}" }
`
	input := json.RawMessage(`{"t":"` + strings.Repeat("x", 1<<20) + `"}`)
	for times, want := range map[int]unable{2: "", 100: "its replay made more than 64 MiB of steps and documents"} {
		files := []processes.File{{Name: "p.yaml", Content: fmt.Appendf(nil, file, times)}}
		p, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")})
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		v := New(files, p.Processes["p"], sandbox.New(p), nil)
		then := &atom.ExecutionView{Input: &atom.DocumentView{MediaType: "application/json", Data: input}}
		if got := v.Replay(t.Context(), then).unable; got != want {
			t.Errorf("%d documents of 1 MiB: got %q, want %q", times, got, want)
		}
	}
}
