package loader

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

func load(t *testing.T, text string) *processes.Project {
	t.Helper()
	p, problems := Load([]processes.File{{Name: "p.yaml", Content: []byte(text)}}, testCatalog())
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return p
}

// walk calls f for every step of a block.
func walk(b processes.Block, f func(*processes.Step)) {
	for _, s := range b {
		f(s)
		for _, l := range s.Lists {
			walk(l.Steps, f)
		}
	}
}

func TestPaths(t *testing.T) {
	p := load(t, `process: p
steps:
  - if: ${true}
    then: [{ log: a }]
    else: [{ log: a }, { log: b }]
  - switch: ${doc.x}
    cases: { PT: [{ log: a }], "a.b [0]": [{ log: a }] }
    default: [{ log: a }]
  - branch: { erp: [{ log: a }] }
  - for_each: ${doc.x}
    steps: [{ repeat: { max: 2, until: "${true}", steps: [{ log: a }] } }]
  - try: [{ log: a }]
    catch: { codes: [409], steps: [{ log: a }] }
    finally: [{ log: a }]
  - try: [{ log: a }]
    catch: [{ log: a }]
`).Processes["p"]
	var got []string
	walk(p.Steps, func(s *processes.Step) { got = append(got, s.Path) })
	want := "0 0.then.0 0.else.0 0.else.1 1 1.cases.PT.0 1.cases.#1.0 1.default.0 2 2.branch.erp.0 3 3.steps.0 3.steps.0.repeat.0 " +
		"4 4.try.0 4.catch.0 4.finally.0 5 5.try.0 5.catch.0"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestPatterns(t *testing.T) {
	for text, want := range map[string]processes.Pattern{
		"steps: [{ log: x }]":                                                     processes.Called,
		"listen: { auth: none }\nsteps: [{ log: x }]":                             processes.FireAndForget,
		"listen: { auth: none, output: json }\nsteps: [{ reply: x }]":             processes.RequestReply,
		"listen: { auth: none, output: json }\nsteps: [{ reply: x }, { log: y }]": processes.EarlyReply,
		"listen: { auth: none, output: json }\nsteps: [{ if: '${true}', then: [{ reply: x }, { log: y }], else: [{ throw: x }] }]": processes.EarlyReply,
	} {
		if got := load(t, "process: p\n"+text+"\n").Processes["p"].Pattern; got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// TestHash checks that the hash depends on the meaning of a process, not on its
// formatting.
func TestHash(t *testing.T) {
	const base = `process: p
profile: o
steps:
  - map: { a: 1, b: "x" }
  - process: q
---
process: q
steps: [{ process: r, mode: handoff }]
---
process: r
steps: [{ log: r }]
---
profile: o
schema: { type: object }
`
	hash := func(text string) string { return load(t, text).Processes["p"].Hash }
	want := hash(base)
	for name, text := range map[string]string{
		"comments, quotes, position": "# hello\n\n" + strings.Replace(base, `- map: { a: 1, b: "x" }`, "- map:\n      a: 1 # one\n      b: x", 1),
		"a handed-off process":       strings.Replace(base, "log: r", "log: s", 1),
		"another process":            base + "---\nprocess: z\nsteps: [{ log: x }]\n",
	} {
		if got := hash(text); got != want {
			t.Errorf("%s: got a different hash, want the same", name)
		}
	}
	for name, change := range map[string][2]string{
		"a value":            {"a: 1", "a: 2"},
		"a number as string": {"a: 1", `a: "1"`},
		"a called process":   {"process: r, mode: handoff", "log: q"},
		"a profile":          {"type: object", "type: array"},
		"the order":          {`a: 1, b: "x"`, `b: "x", a: 1`},
	} {
		if hash(strings.Replace(base, change[0], change[1], 1)) == want {
			t.Errorf("%s: got the same hash, want a different one", name)
		}
	}
}

func TestFingerprints(t *testing.T) {
	text := "process: p\nsteps:\n  - if: ${true}\n    then: [{ log: a }]\n  - log: b\n"
	steps := func(text string) processes.Block { return load(t, text).Processes["p"].Steps }
	old := steps(text)
	now := steps(strings.Replace(text, "log: a", "log: c", 1))
	if old[0].Fingerprint == now[0].Fingerprint {
		t.Error("nested change: got the same fingerprint of the outer step, want a different one")
	}
	if old[1].Fingerprint != now[1].Fingerprint || old[1].Fingerprint == old[0].Fingerprint {
		t.Error("unchanged step: got a different fingerprint, want the same")
	}
}

func TestDefaults(t *testing.T) {
	p := load(t, `project: x
retention: { records: 10d }
redact: [a.b]
retry: { max_attempts: 3 }
---
process: p
listen: { object: Order, auth: none, output: json }
redact: [c]
steps: [{ reply: x }]
---
process: q
retention: { records: 5d, documents: 8d }
steps: [{ log: x }]
---
process: get
listen: { path: /x, method: GET, auth: none }
steps: [{ log: x }]
`)
	day := 24 * time.Hour
	d := p.Processes["p"].Delivery
	if want := (processes.Retention{Documents: 10 * day, Records: 10 * day}); d.Retention != want {
		t.Errorf("got retention %v, want %v", d.Retention, want)
	}
	if want := (processes.Retention{Documents: 5 * day, Records: 5 * day}); p.Processes["q"].Delivery.Retention != want {
		t.Errorf("got retention %v, want %v", p.Processes["q"].Delivery.Retention, want)
	}
	if got := fmt.Sprint(d.Redact, d.Workers, d.Backlog); got != "[a.b c] 16 1000000" {
		t.Errorf("got %s, want [a.b c] 16 1000000", got)
	}
	l := p.Processes["p"].Listen
	if got := fmt.Sprintf("%s %s %s %s %s %d", l.Path, l.Methods, l.Input, l.Timeout, l.TimeoutAction, l.Limits.Body); got != "/ws/simple/executeOrder [POST] json 30s cancel 10485760" {
		t.Errorf(`got %q, want "/ws/simple/executeOrder [POST] json 30s cancel 10485760"`, got)
	}
	if in := p.Processes["get"].Listen.Input; in != "none" {
		t.Errorf("input of GET: got %s, want none", in)
	}
	if want := (&processes.Retry{MaxAttempts: 3, Backoff: 10 * time.Second, MaxBackoff: 10 * time.Minute, Jitter: true}); !reflect.DeepEqual(p.Defaults.Retry, want) {
		t.Errorf("got retry policy %+v, want %+v", p.Defaults.Retry, want)
	}
	if got := load(t, "process: p\nsteps: [{ log: x }]\n").Defaults.Retention; got != (processes.Retention{Documents: 30 * day, Records: 30 * day}) {
		t.Errorf("without a project: got %v, want 30 days each", got)
	}
}

func TestNeeds(t *testing.T) {
	p := load(t, `connection: shop
connector: web
url: ${env.SHOP_URL}
headers: { K: "${secret.KEY}" }
---
process: p
steps:
  - call: shop.get
    with: { path: "/${env.TENANT}", query: { k: "${secret.QUERY}" } }
  - log: ${hmac("sha256", secret.SIGN, raw)}
`)
	var got []string
	for _, n := range p.Needs {
		got = append(got, fmt.Sprintf("%s.%s@%d", n.Kind, n.Name, n.Pos.Line))
	}
	const want = "env.SHOP_URL@3 secret.KEY@4 env.TENANT@9 secret.QUERY@9 secret.SIGN@10"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

type fixed map[string]any

func (f fixed) Name(root string) (any, bool) { v, ok := f[root]; return v, ok }

func TestResolve(t *testing.T) {
	p := load(t, `connection: shop
connector: web
url: ${env.URL}
headers: { A: "${secret.KEY}", N: 5, Gone: "${env.NONE ?? omit}" }
timeout: ${env.WAIT}
concurrency: 8
---
environment: prod
connections: { shop: { concurrency: 2, auth: { user: "${env.USER}" } } }
---
auth: a
scheme: hmac
header: X-Sig
secret: ["${secret.KEY}", "${secret.OLD}"]
`)
	env := &expression.Env{Ctx: context.Background(), Names: fixed{
		"env":    document.FromPlain(map[string]any{"URL": "http://x", "WAIT": "5s", "USER": "u", "NONE": nil}),
		"secret": document.FromPlain(map[string]any{"KEY": "s3cret", "OLD": "0ld"}),
	}}
	limits, settings, err := p.Connections["shop"].Resolve(env, p.Environments["prod"].Connections["shop"], nil)
	if err != nil {
		t.Fatal(err)
	}
	if limits != (processes.ConnectionLimits{Timeout: 5 * time.Second, Concurrency: 2, Circuit: processes.Circuit{Failures: 5, Probe: 10 * time.Second}}) {
		t.Errorf("got limits %+v, want a timeout of 5s, concurrency 2 and the default circuit", limits)
	}
	want := &webSettings{URL: "http://x", Headers: []spec.KV{{Name: "A", Value: "s3cret"}, {Name: "N", Value: "5"}}, Auth: webAuth{User: "u"}, Max: 10 << 20}
	if !reflect.DeepEqual(settings, want) {
		t.Errorf("got settings %+v, want %+v", settings, want)
	}
	got, err := p.Auths["a"].Resolve(env)
	if err != nil || fmt.Sprint(got) != "map[header:X-Sig secret:[s3cret 0ld]]" {
		t.Errorf("got %v, %v; want header and both secrets", got, err)
	}

	env.Names = fixed{"env": document.FromPlain(map[string]any{"URL": "http://x", "WAIT": "s3cret", "NONE": ""}), "secret": document.FromPlain(map[string]any{"KEY": "k"})}
	_, _, err = p.Connections["shop"].Resolve(env, nil, nil)
	problem, ok := err.(*fault.Problem)
	if !ok || problem.Pos.Line != 1 || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v, want a problem in line 1 without the secret", err)
	}
}

// TestSettings checks that settings preserve the types and digits of the file.
func TestSettings(t *testing.T) {
	p := load(t, `process: p
steps:
  - map: { a: 12345678901234567890, b: 0.10, c: 02134, d: yes, e: null, f: 1_000, g: .5, h: 0x1F, i: ~, j: True, k: 1e5, l: -0 }
`)
	text, err := p.Processes["p"].Steps[0].Settings.(*tMap).Template.Append(nil, &expression.Env{})
	want := `{"a":12345678901234567890,"b":0.10,"c":"02134","d":"yes","e":null,"f":"1_000","g":".5","h":"0x1F","i":"~","j":"True","k":1e5,"l":-0}`
	if err != nil || string(text) != want {
		t.Errorf("got %s, %v; want %s", text, err, want)
	}
}

// TestPathEscape checks that the value of an expression in a path is one segment.
func TestPathEscape(t *testing.T) {
	p := load(t, `connection: shop
connector: web
url: http://x
---
process: p
steps:
  - call: shop.get
    with: { path: "/a/${doc.id}", query: { q: "${doc.id}" } }
`)
	c := p.Processes["p"].Steps[0].Settings.(*tCall)
	v, err := c.With.Value(&expression.Env{Names: fixed{"doc": document.FromPlain(map[string]any{"id": "../x y"})}})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(document.AppendJSON(nil, v)); got != `{"path":"/a/..%2Fx%20y","query":{"q":"../x y"}}` {
		t.Errorf("got %s, want an escaped path", got)
	}
	if c.Operation.Connection != "shop" || c.Operation.Operation.Name != "get" || c.Mode != "wait" {
		t.Errorf("got %+v, want shop.get with mode wait", c.Operation)
	}
}

// TestIdempotency checks that a call may override its connection's declaration.
func TestIdempotency(t *testing.T) {
	p := load(t, `connection: erp
connector: web
url: http://localhost
idempotent: key
---
connection: crm
connector: web
url: http://localhost
---
process: p
steps:
  - call: erp.post
    with: { path: / }
  - call: erp.post
    with: { path: /, idempotent: no }
  - call: crm.post
    with: { path: / }
  - call: crm.post
    with: { path: /, idempotent: natural }
  - call: crm.get
    with: { path: / }
`)
	var got []string
	walk(p.Processes["p"].Steps, func(s *processes.Step) {
		got = append(got, string(p.IdempotencyOf(s, s.Settings.(processes.ExternalCaller).ExternalCall())))
		if keys := s.Settings.(*tCall).With.Keys(); len(keys) != 1 {
			t.Errorf("%s: got the settings %v, want only path", s.Path, keys)
		}
	})
	if s := strings.Join(got, " "); s != "key no no natural natural" {
		t.Errorf("got %s, want key no no natural natural", s)
	}
}
