package replay

import (
	"net/http"
	"testing"

	"valence/atom"
	"valence/processes"
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
