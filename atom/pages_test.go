package atom_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/atomtest"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"

	"valence/atom/steps"
)

// shelf is a system whose records come in pages.
type shelf struct {
	*system
	records, size int
	broken        map[string]int // pages by token, and how often they fail
	asked         []string
}

type shelfWith struct{ Pages *struct{} }

func (s *shelf) connector() *connectors.Connector {
	c := s.system.connector()
	c.Operations = append(c.Operations, connectors.Operation{Name: "list", Safe: true, Paged: true, NewWith: func() any { return &shelfWith{} },
		With: []spec.Field{spec.Optional("pages", func(w *shelfWith) **struct{} { return &w.Pages }, "Pages.")}})
	c.Open = func(any) (connectors.Connection, error) { return s, nil }
	return c
}

func (s *shelf) Call(ctx context.Context, c *connectors.Call) (*connectors.Result, error) {
	if c.Operation != "list" {
		return s.system.Call(ctx, c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, c.Page)
	if s.broken[c.Page] > 0 {
		s.broken[c.Page]--
		return nil, down()
	}
	from, _ := strconv.Atoi(c.Page)
	list := []any{}
	for i := from; i < min(from+s.size, s.records); i++ {
		list = append(list, document.Number(strconv.Itoa(i)))
	}
	r := &connectors.Result{Doc: document.FromValue(list), Status: 200, Headers: http.Header{}}
	if from+s.size < s.records {
		r.Next = strconv.Itoa(from + s.size)
	}
	return r, nil
}

const paged = `
process: sync
listen: { path: /sync, input: json, auth: none }
retry: { max_attempts: 3, backoff: 10ms }
steps:
  - for_each: { call: sys.list, with: { pages: {} } }
    steps:
      - call: sys.post
        with: { path: "/${index}/${item}" }
  - call: sys.get
    with: { path: /end }
`

// everyOnce checks that each record was worked on once, in order.
func everyOnce(t *testing.T, s *shelf, n int) {
	t.Helper()
	var got []string
	for _, c := range s.seen() {
		if c.op == "post" {
			got = append(got, c.path)
		}
	}
	for i, path := range got {
		if want := fmt.Sprintf("/%d/%d", i, i); path != want {
			t.Fatalf("call %d: %s, want %s", i, path, want)
		}
	}
	if len(got) != n {
		t.Errorf("%d records, want %d", len(got), n)
	}
}

func TestPagesAreGoneThrough(t *testing.T) {
	s := &shelf{system: newSystem(), records: 10, size: 3, broken: map[string]int{"6": 1}}
	store := atomtest.NewStore()
	r := startWith(t, s.system, s.connector(), store, paged)
	ack := r.accept("sync", `{}`)
	v := r.ended(ack.Execution)
	if v.Status != "completed" {
		t.Fatalf("%+v", v.Error)
	}
	everyOnce(t, s, 10)
	if got := strings.Join(s.asked, " "); got != " 3 6 6 9" {
		t.Errorf("pages asked for: %s", got)
	}
	seq, at, _ := r.atom.ParseID(ack.Execution)
	x, err := store.Get(context.Background(), seq, at)
	if err != nil || len(x.Journal) != 2 {
		t.Errorf("the journal holds more than the loop and the last call: %+v %v", x.Journal, err)
	}
}

// Interrupted in the middle of a page, it goes on there: what is done is not
// done again, and the page is not fetched again.
func TestPagesGoOn(t *testing.T) {
	s := &shelf{system: newSystem(), records: 9, size: 3}
	store := atomtest.NewStore()
	s.answers["post /4/4"] = func(n int) (*document.Document, error) {
		if n == 1 {
			return nil, &fault.Failure{Code: fault.CodeConnect, Origin: fault.FromConnector, Retryable: true, RetryAfter: 0}
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	r := startWith(t, s.system, s.connector(), store, paged)
	if v := r.ended(r.accept("sync", `{}`).Execution); v.Status != "completed" {
		t.Fatalf("%+v", v.Error)
	}
	if got := strings.Join(s.asked, " "); got != " 3 6" {
		t.Errorf("pages asked for: %s", got)
	}
	if n := len(s.seen()); n != 9+1+1 {
		t.Errorf("%d calls: %v", n, s.paths())
	}
}

// More elements than a journal may have entries.
func TestManyPages(t *testing.T) {
	s := &shelf{system: newSystem(), records: 60_000, size: 1000}
	yaml := strings.Replace(paged, "    steps:\n", "    parallel: 8\n    steps:\n", 1)
	r := startWith(t, s.system, s.connector(), nil, yaml)
	v := r.ended(r.accept("sync", `{}`).Execution)
	if v.Status != "completed" || len(s.seen()) != 60_001 {
		t.Fatalf("%d calls: %s %+v", len(s.seen()), v.Status, v.Error)
	}
}

func TestPagesWithFailures(t *testing.T) {
	for on, want := range map[string]string{
		"":                                    "failed 5 calls",
		"on_error: continue":                  "failed 10 calls 3 of 10 elements failed, the first: 422",
		"on_error: continue\n    errors: bad": "completed_with_warnings 11 calls",
	} {
		s := &shelf{system: newSystem(), records: 10, size: 3}
		for _, i := range []int{4, 5, 9} {
			s.answers[fmt.Sprintf("post /%d/%d", i, i)] = failing(9, refused, "{}")
		}
		r := startWith(t, s.system, s.connector(), nil, strings.Replace(paged, "    steps:\n", "    "+on+"\n    steps:\n", 1))
		v := r.ended(r.accept("sync", `{}`).Execution)
		got := fmt.Sprintf("%s %d calls", v.Status, len(s.seen()))
		if v.Error != nil && on != "" {
			got += " " + v.Error.Message
		}
		if got != want {
			t.Errorf("%q: %s, want %s", on, got, want)
		}
	}
}

func TestPagedLint(t *testing.T) {
	s := &shelf{system: newSystem()}
	for step, want := range map[string]string{
		"for_each: { call: sys.list, with: { pages: {} } }\n    collect: true": "would hold the results of all pages",
		"for_each: { call: sys.list }":                                         "a loop over a call needs `pages:`",
		"for_each: { call: sys.get, with: { path: /x } }":                      "gives no pages to go through",
		"for_each: {}": "there is nothing to go through",
		"for_each: { call: sys.list, in: \"${doc}\", with: { pages: {} } }": "exclude each other",
		"for_each: { in: \"${doc}\" }":                                      "",
	} {
		yaml := "process: p\nsteps:\n  - " + step + "\n    steps: [{ log: \"${item}\" }]\n" + connection
		_, problems := processes.Load([]processes.File{{Name: "p.yaml", Content: []byte(yaml)}}, &processes.Catalog{Steps: steps.Kinds(), Connectors: connectors.Registry{"fake": s.connector()}})
		if text := problems.Error(); !strings.Contains(text, want) || want == "" && text != "" {
			t.Errorf("%s: %s, want %s", step, text, want)
		}
	}
}

// A streaming loop that failed is resubmitted from the element that failed: it
// goes on at its page, and what its journal has let go of is not asked for.
func TestResubmittedPagesGoOnAtTheirPage(t *testing.T) {
	s := &shelf{system: newSystem(), records: 9, size: 3}
	down := true
	s.answers["post /5/5"] = func(int) (*document.Document, error) {
		if down {
			return nil, refused()
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	r := startWith(t, s.system, s.connector(), nil, paged)
	id := r.accept("sync", `{}`).Execution
	if v := r.ended(id); v.Status != "failed" {
		t.Fatalf("%+v %v", v.Error, s.paths())
	}
	before := len(s.seen())
	down = false
	if v := r.resubmit(id, atom.Resubmission{From: atom.FromFailedStep}); v.Status != "completed" {
		t.Fatalf("%+v", v.Error)
	}
	if got := strings.Join(s.asked, " "); got != " 3 6" {
		t.Errorf("pages asked for: %s", got)
	}
	if got := strings.Join(s.paths()[before:], " "); got != "post /5/5 post /6/6 post /7/7 post /8/8 get /end" {
		t.Errorf("again: %s", got)
	}
}
