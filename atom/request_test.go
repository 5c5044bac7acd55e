package atom_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
	"valence/internal/fault"
)

func itoa(i int) string { return strconv.Itoa(i) }

func (r *rig) count(call string) int {
	n := 0
	for _, c := range r.sys.paths() {
		if c == call {
			n++
		}
	}
	return n
}

// tick lets the atom's goroutines run.
func (r *rig) tick() { <-time.After(time.Millisecond) }

// steps runs a list of steps as a request/reply process that replies with the
// final document, and returns the reply.
func runSteps(t *testing.T, sys *system, list, input string) (string, error) {
	t.Helper()
	if sys == nil {
		sys = newSystem()
	}
	r := start(t, sys, nil, "process: p\nlisten: { path: /p, input: json, output: json, auth: none }\nsteps:\n"+list+"  - reply:\n"+extra)
	reply, err := r.atom.Request(context.Background(), r.process("p"), arrival(input))
	if err != nil {
		return "", err
	}
	return string(reply.Doc.Body()), nil
}

const extra = `---
process: doubled
steps:
  - map: { twice: "${doc.n * 2}", from: "${props.from}" }
  - reply: ${doc}
---
profile: order
schema: { type: object, required: [id], properties: { id: { type: integer } } }
`

func TestSteps(t *testing.T) {
	for _, c := range []struct{ name, steps, input, want string }{
		{"map keeps what it carries", "  - map: { b: \"${doc.b}\", a: \"${doc.a}\" }\n", `{"a":12345678901234567890,"b":0.10}`, `{"b":0.10,"a":12345678901234567890}`},
		{"set and exact sums", "  - set: { total: \"${sum(doc, .p * .q)}\" }\n  - map: { total: \"${vars.total}\" }\n", `[{"p":0.1,"q":1},{"p":0.2,"q":1}]`, `{"total":0.3}`},
		{"if then", "  - if: ${doc.n > 1}\n    then:\n      - map: { big: true }\n    else:\n      - map: { big: false }\n", `{"n":2}`, `{"big":true}`},
		{"if without else", "  - if: ${doc.n > 1}\n    then:\n      - map: { big: true }\n", `{"n":1}`, `{"n":1}`},
		{"switch", "  - switch: ${doc.c}\n    cases:\n      PT: [{ map: { at: home } }]\n      \"7\": [{ map: { at: seven } }]\n    default:\n      - map: { at: abroad }\n", `{"c":7}`, `{"at":"seven"}`},
		{"switch on 1", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":1}`, `{"is":"one"}`},
		{"switch on '1'", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":"1"}`, `{"is":"one"}`},
		{"switch on 1.0", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":1.0}`, `{"is":"one"}`},
		{"switch on 20.00", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":20.00}`, `{"is":"twenty"}`},
		{"switch on 2e1", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":2e1}`, `{"is":"twenty"}`},
		{"switch on 1.5", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":1.5}`, `{"is":"other"}`},
		{"switch on null", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":null}`, `{"is":"other"}`},
		{"switch on '1.0'", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":"1.0"}`, `{"is":"other"}`},
		{"switch on true", "  - switch: ${doc.v}\n    cases:\n      \"1\": [{ map: { is: one } }]\n      \"20\": [{ map: { is: twenty } }]\n      \"true\": [{ map: { is: \"yes\" } }]\n    default: [{ map: { is: other } }]\n", `{"v":true}`, `{"is":"yes"}`},
		{"branch", "  - branch:\n      one:\n        - map: { x: \"${doc.n}\" }\n      two:\n        - set: { y: 1 }\n", `{"n":1}`, `{"one":{"x":1},"two":{"n":1}}`},
		{"for_each leaves the document", "  - for_each: ${doc.l}\n    steps:\n      - map: { v: \"${item}\" }\n", `{"l":[1]}`, `{"l":[1]}`},
		{"for_each collects in order", "  - for_each: ${doc.l}\n    as: e\n    parallel: 3\n    collect: true\n    steps:\n      - if: ${e == 2}\n        then:\n          - stop: two\n      - map: { v: \"${e}\", i: \"${index}\", d: \"${doc}\" }\n", `{"l":[1,2,3]}`, `[{"v":1,"i":0,"d":1},{"v":3,"i":2,"d":3}]`},
		{"for_each batches", "  - for_each: ${doc}\n    batch: 2\n    collect: true\n    steps:\n      - map: { n: \"${len(doc)}\" }\n", `[1,2,3]`, `[{"n":2},{"n":1}]`},
		{"for_each takes one element", "  - for_each: ${doc.one}\n    collect: true\n    steps:\n      - log: x\n", `{"one":{"a":1}}`, `[{"a":1}]`},
		{"for_each keeps failures", "  - for_each: ${doc}\n    on_error: continue\n    errors: bad\n    steps:\n      - if: ${doc == 2}\n        then:\n          - throw: no two\n            code: two\n  - map: { n: \"${len(vars.bad)}\", code: \"${vars.bad[0].error.code}\", index: \"${vars.bad[0].index}\" }\n", `[1,2,3]`, `{"n":1,"code":"two","index":1}`},
		{"vars of an element stay inside", "  - set: { v: 0 }\n  - for_each: ${doc}\n    steps:\n      - set: { v: \"${item}\" }\n  - map: { v: \"${vars.v}\" }\n", `[1,2]`, `{"v":0}`},
		{"repeat", "  - set: { n: 0 }\n  - repeat:\n      max: 5\n      until: ${vars.n == 3}\n      steps:\n        - set: { n: \"${vars.n + 1}\" }\n  - map: { n: \"${vars.n}\" }\n", `{}`, `{"n":3}`},
		{"try catches", "  - try:\n      - map: { lost: true }\n      - throw: no\n        code: mine\n    catch:\n      codes: [mine]\n      handled: true\n      steps:\n        - map: { n: \"${doc.n}\", code: \"${error.code}\", msg: \"${error.message}\" }\n", `{"n":1}`, `{"n":1,"code":"mine","msg":"no"}`},
		{"process", "  - process: doubled\n    body: { n: \"${doc.n}\" }\n    props: { from: here }\n    into: d\n  - map: { d: \"${vars.d}\", n: \"${doc.n}\" }\n", `{"n":4}`, `{"d":{"twice":8,"from":"here"},"n":4}`},
		{"validate", "  - validate: order\n", `{"id":1}`, `{"id":1}`},
		{"convert to XML and back", "  - convert: { to: xml, root: o }\n  - map: { text: \"${raw}\", a: \"${doc.o.a}\" }\n", `{"a":"x<y"}`, ""},
		{"convert CSV", "  - convert: { from: csv, to: json }\n", `"a,b\n1,2\n"`, `[{"a":"1","b":"2"}]`},
		{"steps and when", "  - name: first\n    map: { v: 1 }\n  - name: second\n    when: ${false}\n    map: { v: 2 }\n  - map: { first: \"${steps.first.v}\", second: \"${steps.second}\" }\n", `{}`, `{"first":1,"second":null}`},
		{"call into", "  - call: sys.get\n    with: { path: /x }\n    into: got\n  - map: { n: \"${doc.n}\", ok: \"${vars.got.ok}\", status: \"${response.status}\" }\n", `{"n":1}`, `{"n":1,"ok":true,"status":200}`},
		{"env and request", "  - map: { place: \"${env.PLACE}\", id: \"${request.headers['x-event-ID']}\", cid: \"${request.correlation_id}\" }\n", `{}`, `{"place":"test","id":"e-1","cid":"c-1"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := runSteps(t, nil, c.steps, c.input)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if !strings.Contains(got, `"a":"x<y"`) || !strings.Contains(got, `x&lt;y`) {
					t.Errorf("got %s, want the escaped and the unescaped text", got)
				}
			} else if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestStepsThatFail(t *testing.T) {
	for _, c := range []struct{ name, steps, input, code, message string }{
		{"reading inside nil", "  - map: { a: \"${doc.customer.name}\" }\n", `{}`, fault.CodeExpression, "customer"},
		{"for_each over null", "  - for_each: ${doc.lines}\n    steps:\n      - log: x\n", `{}`, fault.CodeExpression, "?? []"},
		{"profile", "  - validate: order\n", `{"id":"x"}`, fault.CodeInvalid, "/id"},
		{"throw in a called process", "  - try:\n      - throw: first\n        when: ${doc.x == nil}\n    catch:\n      - throw:\n", `{}`, fault.CodeThrown, "first"},
		{"second failure keeps the first", "  - try:\n      - throw: first\n        when: ${doc.x == nil}\n    catch:\n      - throw: second\n        code: two\n", `{}`, "two", "second"},
		{"elements", "  - for_each: ${doc}\n    on_error: continue\n    steps:\n      - throw: \"no ${item}\"\n", `[1,2]`, fault.CodeThrown, "2 of 2 elements failed"},
		{"branch", "  - branch:\n      a:\n        - throw: a failed\n      b:\n        - log: b\n", `{}`, fault.CodeThrown, "a failed"},
		{"codes that do not match", "  - try:\n      - throw: x\n        code: mine\n    catch:\n      codes: [timeout, 5xx]\n      steps:\n        - log: never\n", `{}`, "mine", "x"},
		{"convert", "  - convert: { from: xml, to: json }\n", `"<a><b></a>"`, fault.CodeConvert, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := runSteps(t, nil, c.steps, c.input)
			f := fault.AsFailure(err)
			if f == nil || f.Code != c.code || !strings.Contains(f.Message, c.message) {
				t.Fatalf("got %v, want code %s with %q", err, c.code, c.message)
			}
			if f.Step == "" || f.Pos.Line == 0 {
				t.Errorf("got failure %+v, want its step and position", f)
			}
		})
	}
}

func TestReplyActsLikeReturn(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, `
process: p
listen: { path: /p, input: json, output: json, auth: none }
steps:
  - if: ${doc.bad == true}
    then:
      - reply: { no: true }
        status: 409
        headers: { X-Why: bad }
  - reply: { yes: true }
`)
	for body, want := range map[string]int{`{"bad":true}`: 409, `{}`: 0} {
		reply, err := r.atom.Request(context.Background(), r.process("p"), arrival(body))
		if err != nil {
			t.Fatal(err)
		}
		if reply.Status != want || want == 409 && (len(reply.Headers) != 1 || reply.Headers[0].Value != "bad") {
			t.Errorf("%s: got %+v, want status %d", body, reply, want)
		}
	}
}

func TestStepsAfterReplyRunDurably(t *testing.T) {
	sys := newSystem()
	sys.answers["post /late"] = failing(1, down, `{}`)
	r := start(t, sys, nil, `
process: early
listen: { path: /e, input: json, output: json, auth: none }
retry: { max_attempts: 5, backoff: 5ms..10ms }
steps:
  - call: sys.get
    with: { path: /first }
  - set: { u: "${uuid()}" }
  - reply: { u: "${vars.u}" }
    status: 202
  - call: sys.post
    with: { path: /late }
    body: { u: "${vars.u}" }
`)
	reply, err := r.atom.Request(context.Background(), r.process("early"), arrival(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if reply.Status != 202 {
		t.Errorf("got %+v, want status 202", reply)
	}
	v := r.ended(reply.Execution)
	if v.Status != "completed" || r.count("get /first") != 1 || r.count("post /late") != 2 {
		t.Errorf("got %+v, calls %v, want status completed, /first once and /late twice", v, sys.paths())
	}
	if late := sys.seen()[1].body; late != string(reply.Doc.Body()) {
		t.Errorf("got reply %s and later call %s, want equal documents", reply.Doc.Body(), late)
	}
}

func TestRepeatedEarlyReplyRunsNothingTwice(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, `
process: early
listen: { path: /e, input: json, output: json, auth: none }
dedupe: { key: "${doc.id}", window: 1h }
steps:
  - reply: { taken: "${uuid()}" }
  - call: sys.post
    with: { path: /late }
`)
	var replies [2]string
	for i := range replies {
		reply, err := r.atom.Request(context.Background(), r.process("early"), arrival(`{"id":1}`))
		if err != nil {
			t.Fatal(err)
		}
		replies[i] = string(reply.Doc.Body())
		if i == 0 {
			r.ended(reply.Execution)
		} else if !reply.Duplicate {
			t.Error("it is not said to be a duplicate")
		}
	}
	if replies[0] != replies[1] || r.count("post /late") != 1 {
		t.Errorf("got replies %q, calls %v, want equal replies and one late call", replies, sys.paths())
	}
}

func TestRepeatedRequestReceivesStoredReply(t *testing.T) {
	sys := newSystem()
	sys.answers["get /x"] = func(n int) (*document.Document, error) {
		if n == 1 {
			return nil, refused()
		}
		return document.FromJSON([]byte(`{"n":` + itoa(n) + `}`)), nil
	}
	r := start(t, sys, nil, `
process: p
listen: { path: /p, input: json, output: json, auth: none }
dedupe: { key: "${doc.id}", window: 1h }
steps:
  - call: sys.get
    with: { path: /x }
  - reply:
`)
	ask := func() (string, error) {
		reply, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{"id":1}`))
		if err != nil {
			return "", err
		}
		return string(reply.Doc.Body()), nil
	}
	if _, err := ask(); fault.AsFailure(err).Status != 422 {
		t.Fatalf("the first attempt: got %v, want status 422", err)
	}
	for range 2 {
		if got, err := ask(); err != nil || got != `{"n":2}` {
			t.Errorf("got %s, %v, want {\"n\":2}", got, err)
		}
	}
	sys.block, sys.entered = make(chan struct{}), make(chan string, 1)
	first := make(chan error)
	in := arrival(`{"id":2}`)
	go func() {
		_, err := r.atom.Request(context.Background(), r.process("p"), in)
		first <- err
	}()
	<-sys.entered
	_, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{"id":2}`))
	if f := fault.AsFailure(err); f == nil || f.Code != "in_progress" {
		t.Errorf("while it runs: got %v, want a failure with code in_progress", err)
	}
	close(sys.block)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestDeadlineIsNotCaught(t *testing.T) {
	sys := newSystem()
	sys.block = make(chan struct{})
	defer close(sys.block)
	r := start(t, sys, nil, `
process: p
listen: { path: /p, input: json, output: json, auth: none }
steps:
  - try:
      - call: sys.get
        with: { path: /x }
    catch:
      - map: { caught: true }
  - reply:
`)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := r.atom.Request(ctx, r.process("p"), arrival(`{}`))
	if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeDeadline {
		t.Errorf("got %v, want a failure with code deadline", err)
	}
}

func TestUnavailableStoreIsNotARecordedFailure(t *testing.T) {
	kept := storetest.NewStore()
	r := start(t, newSystem(), kept, "process: p\nlisten: { path: /p, output: json, auth: none }\nsteps:\n  - reply: { ok: true }\n  - call: sys.post\n    with: { path: /x }\n")
	kept.Fail(errors.New("the disk is gone"))
	_, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{}`))
	if !atom.IsUnavailable(err) {
		t.Fatalf("got %v, want an unavailable error", err)
	}
	kept.Fail(nil)
	if list, _, err := r.atom.Failed(context.Background(), store.Filter{}, "", 10); err != nil || len(list) != 0 {
		t.Fatalf("kept as failed: got %v, %v, want no error and no failures", list, err)
	}
}
