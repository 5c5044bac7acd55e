package atom_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/steps"
	"valence/atom/store/storetest"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
)

// shelf is a system whose records come in pages.
type shelf struct {
	*system
	records, size int
	broken        map[string]int // pages by token, and how often they fail
	asked         []string
	circle        map[string]string // the next page by page
}

type shelfWith struct{ Pages *shelfPages }

type shelfPages struct{ Max int }

func (w *shelfWith) MaxPages() int { return w.Pages.Max }

func (s *shelf) connector() *connectors.Connector {
	c := s.system.connector()
	c.Operations = append(c.Operations, connectors.Define(connectors.Operation{Name: "list", Safe: true, Paged: true,
		With: []spec.Field{spec.Optional("pages", func(w *shelfWith) **shelfPages { return &w.Pages }, "Pages.",
			spec.Int("max", func(p *shelfPages) *int { return &p.Max }, "Maximum."))}}, list))
	c.Open = func(any, *access.Policy) (connectors.Connection, error) { return s, nil }
	return c
}

func list(_ context.Context, s *shelf, _ *shelfWith, c *connectors.Call) (*connectors.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, c.Page)
	if s.broken[c.Page] > 0 {
		s.broken[c.Page]--
		return nil, down()
	}
	if next, ok := s.circle[c.Page]; ok {
		return &connectors.Result{Doc: document.FromValue([]any{document.Number(strconv.Itoa(len(s.asked)))}), Status: 200, Next: next}, nil
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

// everyOnce checks that each record was processed once, in order.
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

func TestPages(t *testing.T) {
	s := &shelf{system: newSystem(), records: 10, size: 3, broken: map[string]int{"6": 1}}
	kept := storetest.NewStore()
	r := startWith(t, s.system, s.connector(), kept, paged)
	ack := r.accept("sync", `{}`)
	v := r.ended(ack.Execution)
	if v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v.Error)
	}
	everyOnce(t, s, 10)
	if got := strings.Join(s.asked, " "); got != " 3 6 6 9" {
		t.Errorf("pages asked for: got %s, want  3 6 6 9", got)
	}
	seq, at, _ := r.atom.ParseID(ack.Execution)
	x, err := kept.Get(context.Background(), seq, at)
	if err != nil || len(x.Journal) != 2 {
		t.Errorf("the journal holds more than the loop and the last call: got %+v %v, want no error and 2 journal", x.Journal, err)
	}
}

// A loop interrupted in the middle of a page continues there. Finished elements
// are not repeated, and the page is not fetched again.
func TestInterruptedPagesContinue(t *testing.T) {
	s := &shelf{system: newSystem(), records: 9, size: 3}
	kept := storetest.NewStore()
	s.answers["post /4/4"] = func(n int) (*document.Document, error) {
		if n == 1 {
			return nil, &fault.Failure{Code: fault.CodeConnect, Source: fault.FromConnector, Retryable: true, RetryAfter: 0}
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	r := startWith(t, s.system, s.connector(), kept, paged)
	if v := r.ended(r.accept("sync", `{}`).Execution); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v.Error)
	}
	if got := strings.Join(s.asked, " "); got != " 3 6" {
		t.Errorf("pages asked for: got %s, want  3 6", got)
	}
	if n := len(s.seen()); n != 9+1+1 {
		t.Errorf("got %d calls %v, want %d", n, s.paths(), 9+1+1)
	}
}

// More elements than a journal may have entries.
func TestManyPages(t *testing.T) {
	s := &shelf{system: newSystem(), records: 60_000, size: 1000}
	yaml := strings.Replace(paged, "    steps:\n", "    parallel: 8\n    steps:\n", 1)
	r := startWith(t, s.system, s.connector(), nil, yaml)
	v := r.ended(r.accept("sync", `{}`).Execution)
	if v.Status != "completed" || len(s.seen()) != 60_001 {
		t.Fatalf("got %d calls: %s %+v, want status completed and 60001 calls", len(s.seen()), v.Status, v.Error)
	}
}

// Paging that runs in a circle, or has too many pages, is an error after the
// records that were read.
func TestPagesThatDoNotEnd(t *testing.T) {
	for name, c := range map[string]struct {
		circle map[string]string
		max    string
		asked  string
		want   string
	}{
		"circle of two":   {map[string]string{"": "a", "a": "b", "b": "a"}, "", " a b", "page 3 leads back to a page that was read before: the other system's paging runs in a circle"},
		"circle of three": {map[string]string{"": "a", "a": "b", "b": "c", "c": "d", "d": "b"}, "", " a b c d", "page 5 leads back to a page that was read before: the other system's paging runs in a circle"},
		"too many":        {nil, "max: 3", " 3 6", "there are more than 3 pages, the maximum that `max:` of `pages:` allows"},
		"just enough":     {nil, "max: 4", " 3 6 9", ""},
	} {
		s := &shelf{system: newSystem(), records: 10, size: 3, circle: c.circle}
		r := startWith(t, s.system, s.connector(), nil, strings.Replace(paged, "pages: {}", "pages: { "+c.max+" }", 1))
		v := r.ended(r.accept("sync", `{}`).Execution)
		got := ""
		if v.Error != nil {
			got = v.Error.Message
		}
		if asked := strings.Join(s.asked, " "); asked != c.asked || got != c.want {
			t.Errorf("%s: asked for %q, want %q\n got %s\nwant %s", name, asked, c.asked, got, c.want)
		}
	}
}

// A circle is noticed although the atom restarts after every page.
func TestCircleAcrossRestarts(t *testing.T) {
	s := &shelf{system: newSystem(), circle: map[string]string{"": "a", "a": "b", "b": "c", "c": "a"}}
	kept := storetest.NewStore()
	once := map[string]bool{}
	for i := range 30 { // the first element of each page waits for the next run
		s.answers[fmt.Sprintf("post /%d/%d", i, i+1)] = func(int) (*document.Document, error) {
			path := fmt.Sprint(i)
			if !once[path] {
				once[path] = true
				return nil, &fault.Failure{Code: fault.CodeConnect, Source: fault.FromConnector, Retryable: true}
			}
			return document.FromJSON([]byte(`{}`)), nil
		}
	}
	r := startWith(t, s.system, s.connector(), kept, paged)
	v := r.ended(r.accept("sync", `{}`).Execution)
	if v.Error == nil || !strings.Contains(v.Error.Message, "runs in a circle") || len(s.asked) > 12 {
		t.Errorf("got %+v after %v, want an error about the circle", v.Error, s.asked)
	}
}

func TestPagesWithFailures(t *testing.T) {
	for on, want := range map[string]string{
		"":                                    "failed 5 calls",
		"on_error: continue":                  "failed 10 calls 3 of 10 elements failed, the first: sys.post: 422",
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
		"for_each: { call: sys.get, with: { path: /x } }":                      "has no pages",
		"for_each: {}": "the loop has no list",
		"for_each: { call: sys.list, in: \"${doc}\", with: { pages: {} } }": "exclude each other",
		"for_each: { in: \"${doc}\" }":                                      "",
	} {
		yaml := "process: p\nsteps:\n  - " + step + "\n    steps: [{ log: \"${item}\" }]\n" + connection
		_, problems := loader.Load([]processes.File{{Name: "p.yaml", Content: []byte(yaml)}}, &processes.Catalog{Steps: steps.Kinds(), Connectors: connectors.Registry{"fake": s.connector()}})
		if text := problems.Error(); !strings.Contains(text, want) || want == "" && text != "" {
			t.Errorf("%s: %s, want %s", step, text, want)
		}
	}
}

// A failed paged loop is resubmitted from the failed element. It continues at its
// page, and earlier pages are not fetched again.
func TestResubmittedPagesContinueAtTheirPage(t *testing.T) {
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
		t.Fatalf("got %+v %v, want status failed", v.Error, s.paths())
	}
	before := len(s.seen())
	down = false
	if v := r.resubmit(id, atom.Resubmission{From: atom.FromFailedStep}); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v.Error)
	}
	if got := strings.Join(s.asked, " "); got != " 3 6" {
		t.Errorf("pages asked for: got %s, want  3 6", got)
	}
	if got := strings.Join(s.paths()[before:], " "); got != "post /5/5 post /6/6 post /7/7 post /8/8 get /end" {
		t.Errorf("again: got %s, want post /5/5 post /6/6 post /7/7 post /8/8 get /end", got)
	}
}
