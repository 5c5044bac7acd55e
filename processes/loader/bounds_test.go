package loader

import (
	"strings"
	"testing"
	"time"

	"valence/processes"
	"valence/processes/analysis"
)

// TestBounds checks the bound of each kind of step. <a> is a call of 1s, <b> a call
// of 10s, and <r> a call of 2s with 3 attempts and waits of 1s and 2s.
func TestBounds(t *testing.T) {
	calls := strings.NewReplacer(
		"<a>", `{ call: shop.get, with: { path: / }, timeout: 1s, retry: { max_attempts: 1 } }`,
		"<b>", `{ call: shop.get, with: { path: / }, timeout: 10s, retry: { max_attempts: 1 } }`,
		"<r>", `{ call: shop.get, with: { path: / }, timeout: 2s, retry: { max_attempts: 3, backoff: 1s..1m } }`,
		"<h>", `{ call: shop.post, with: { path: / }, mode: handoff }`)
	for name, c := range map[string]struct {
		steps string
		known time.Duration
		open  string
	}{
		"sequence":                  {`[<a>, <b>, <r>]`, 20 * time.Second, ""},
		"a hand-off":                {`[<a>, <h>]`, time.Second, ""},
		"decision":                  {`[{ if: "${doc.x}", then: [<a>, <b>], else: [<r>] }, <a>]`, 12 * time.Second, ""},
		"a path that ends":          {`[{ if: "${doc.x}", then: [<b>, { reply: x }] }, <a>]`, 10 * time.Second, ""},
		"the other path":            {`[{ if: "${doc.x}", then: [<a>, { reply: x }] }, <b>, <a>]`, 11 * time.Second, ""},
		"after the reply":           {`[<a>, { reply: x }, <b>]`, time.Second, ""},
		"conditional reply":         {`[<a>, { when: "${doc.x}", reply: x }, <b>]`, 11 * time.Second, ""},
		"branch":                    {`[{ branch: { x: [<a>], y: [<b>] } }]`, 10 * time.Second, ""},
		"branch, sequential":        {`[{ branch: { x: [<a>], y: [<b>] }, sequential: true }]`, 11 * time.Second, ""},
		"try that fails at its end": {`[{ try: [<a>, <b>], catch: { codes: [404], steps: [<r>] }, finally: [<a>] }, <a>]`, 22 * time.Second, ""},
		"repeat":                    {`[{ repeat: { max: 5, until: "${doc.x}", steps: [<r>] } }]`, 45 * time.Second, ""},
		"for_each":                  {`[<a>, { for_each: "${doc.x}", steps: [<b>, <r>] }]`, time.Second, "each element of this for_each 19s"},
		"for_each without calls":    {`[<a>, { for_each: "${doc.x}", steps: [{ log: x }] }]`, time.Second, ""},
		"wait":                      {`[{ wait: w, key: k, timeout: 1m, on_timeout: [<a>] }, <a>]`, 62 * time.Second, ""},
		"wait that ends":            {`[{ wait: w, key: k, timeout: 1m, on_timeout: [<b>, { throw: late }] }, <a>]`, 71 * time.Second, ""},
		"wait without a timeout":    {`[{ wait: w, key: k }, <a>]`, time.Second, "the wait w, which has no timeout 0s"},
		"sleep":                     {`[{ sleep: 1m }, <a>]`, 61 * time.Second, ""},
		"computed sleep":            {`[{ sleep: "${doc.x}" }, <a>]`, time.Second, "this sleep 0s"},
		"called":                    {`[<a>, { process: called }]`, 11 * time.Second, ""},
		"over the maximum":          {`[{ repeat: { max: 10000, until: "${doc.x}", steps: [{ repeat: { max: 10000, until: "${doc.x}", steps: [{ sleep: 365d }] } }] } }]`, processes.Endless, ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := calls.Replace("process: p\nsteps: " + c.steps + "\n---\nprocess: called\nsteps: [<b>]\n---\nconnection: shop\nconnector: web\nidempotent: key\nurl: http://x\n")
			p, problems := Load([]processes.File{{Name: "p.yaml", Content: []byte(text)}}, testCatalog())
			for _, problem := range problems {
				if problem.Code != processes.CodeReplyNowhere && problem.Code != processes.CodeUnknownWait {
					t.Fatal(problems)
				}
			}
			got := analysis.NewBounds(p).UntilReply(p.Processes["p"], true)
			var open []string
			for _, o := range got.Open {
				open = append(open, o.What+" "+o.Each.String())
			}
			if got.Known != c.known || strings.Join(open, ", ") != c.open {
				t.Errorf("got %v and %q, want %v and %q", got.Known, open, c.known, c.open)
			}
		})
	}
}

// TestBoundsLinear checks that each process of a chain is visited once, although
// 2^200 paths lead through it.
func TestBoundsLinear(t *testing.T) {
	var text strings.Builder
	const chain = 200
	for i := range chain {
		next := "p" + string(rune('0'+(i+1)/100)) + string(rune('0'+(i+1)/10%10)) + string(rune('0'+(i+1)%10))
		this := "p" + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
		text.WriteString("process: " + this + "\nlisten: { path: /" + this + ", output: json, auth: none, timeout: 5s }\nsteps: [{ process: " + next + " }, { process: " + next + " }, { reply: x }]\n---\n")
	}
	text.WriteString("process: p200\nsteps: [{ log: x }]\n")
	if _, problems := Load([]processes.File{{Name: "p.yaml", Content: []byte(text.String())}}, testCatalog()); problems != nil {
		t.Fatalf("got %v, want no problems", problems)
	}
}
