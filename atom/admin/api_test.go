package admin_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/admin"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
)

const token = "test-token-0123456789-0123456789-0123456789"

// fake is an atom that records its calls.
type fake struct {
	err     error
	filter  store.Filter
	cursor  string
	limit   int
	pages   map[string]string // cursor → next cursor
	views   []*atom.ExecutionView
	props   *document.Object
	doc     *document.Document
	request *atom.Request
	calls   []string
	status  string // of the shown execution; "" is failed
}

func TestFailedOne(t *testing.T) {
	for status, want := range map[string]int{"failed": 200, "expired": 200, "completed": 404, "running": 404} {
		rec := ask(serve(&fake{status: status}), "GET", "/api/v1/failed/e1", "")
		if rec.Code != want {
			t.Errorf("got %q %v, want %v", status, rec.Code, want)
		}
		if want != 200 {
			continue
		}
		var v atom.ExecutionView
		if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || v.Execution != "e1" || v.Status != status || len(v.Steps) != 1 {
			t.Errorf("got %+v, %v, want no error, Execution \"e1\", Status status, len v.Steps 1", v, err)
		}
	}
	if rec := ask(serve(&fake{err: store.ErrUnknown}), "GET", "/api/v1/failed/e1", ""); rec.Code != 404 {
		t.Errorf("got %v, want status 404", rec.Code)
	}
	if rec := ask(serve(&fake{}), "GET", "/api/v1/failed/e1?x=1", ""); rec.Code != 400 {
		t.Errorf("got %v, want status 400", rec.Code)
	}
}

func (f *fake) Processes() []*atom.DeployedProcess              { return nil }
func (f *fake) Process(string) (*atom.DeployedProcess, bool)    { return nil, false }
func (f *fake) Load(context.Context, string) (atom.Load, error) { return atom.Load{}, nil }
func (f *fake) Problems(context.Context) (map[string]store.Problems, error) {
	return nil, nil
}
func (f *fake) SubscriptionStatus(*atom.DeployedProcess) (atom.SubscriptionStatus, bool) {
	return atom.SubscriptionStatus{}, false
}
func (f *fake) ScheduleStatus(*atom.DeployedProcess) atom.ScheduleStatus {
	return atom.ScheduleStatus{}
}
func (f *fake) Pause(_ context.Context, p string) error {
	f.calls = append(f.calls, "pause "+p)
	return f.err
}
func (f *fake) Resume(_ context.Context, p string) error {
	f.calls = append(f.calls, "resume "+p)
	return f.err
}
func (f *fake) PauseProcessing(_ context.Context, p string) error {
	f.calls = append(f.calls, "pause processing "+p)
	return f.err
}
func (f *fake) ResumeProcessing(_ context.Context, p string) error {
	f.calls = append(f.calls, "resume processing "+p)
	return f.err
}
func (f *fake) Execute(_ context.Context, p string, in atom.Input) (*atom.Acknowledgement, error) {
	f.calls, f.props, f.doc, f.request = append(f.calls, "execute "+p), in.Props, in.Document, in.Request
	return &atom.Acknowledgement{Execution: "e1", Process: p, Status: "accepted", ReceivedAt: time.Unix(0, 0).UTC()}, f.err
}
func (f *fake) Show(_ context.Context, id string) (*atom.ExecutionView, error) {
	return &atom.ExecutionView{Execution: id, Process: "p", Status: cmp.Or(f.status, "failed"), Steps: []atom.StepView{{
		Path: "0", Kind: "call", Position: "p.yaml:3:5", Outcome: "failed",
	}}}, f.err
}
func (f *fake) List(_ context.Context, filter store.Filter, cursor string, limit int) ([]*atom.ExecutionView, string, error) {
	f.filter, f.cursor, f.limit = filter, cursor, limit
	return slices.Clone(f.views), f.pages[cursor], f.err
}
func (f *fake) Cancel(_ context.Context, id string) error {
	f.calls = append(f.calls, "cancel "+id)
	return f.err
}

func serve(f *fake) http.Handler {
	return admin.New(admin.Options{
		Processes: f, Triggers: f, Executions: f, Token: token, MaxBody: 1000,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "counted") }),
	})
}

func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

func TestEverythingAsksForTheToken(t *testing.T) {
	h := serve(&fake{})
	for _, call := range []string{
		"GET /metrics", "GET /api/v1/processes", "GET /api/v1/processes/p", "POST /api/v1/processes/p/pause",
		"POST /api/v1/processes/p/resume", "POST /api/v1/processes/p/pause-processing", "POST /api/v1/processes/p/resume-processing", "POST /api/v1/processes/p/executions", "GET /api/v1/executions",
		"GET /api/v1/executions/e", "POST /api/v1/executions/e/cancel", "POST /api/v1/backup",
		"GET /nothing", "DELETE /api/v1/executions", "GET /api/v1/executions/",
	} {
		method, path, _ := strings.Cut(call, " ")
		for _, credentials := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + token, token, "Bearer " + token + "x", "Bearer " + token[:20]} {
			rec := ask(h, method, path, "", "Authorization", credentials)
			if rec.Code != http.StatusUnauthorized || !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s with %q: status %d, want 401 with a challenge", call, credentials, rec.Code)
			}
		}
	}
}

func TestTokenIsNotTakenFromElsewhere(t *testing.T) {
	h := serve(&fake{})
	for name, change := range map[string]func(*http.Request){
		"cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "token", Value: token}) },
		"query":  func(r *http.Request) { r.URL.RawQuery = "token=" + token + "&access_token=" + token },
		"header": func(r *http.Request) { r.Header.Set("X-Api-Key", token) },
	} {
		req := httptest.NewRequest("GET", "/api/v1/processes", nil)
		change(req)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != http.StatusUnauthorized {
			t.Errorf("token in a %s: status %d, want 401", name, rec.Code)
		}
	}
}

func TestLandingPageShowsNothingOfTheAtom(t *testing.T) {
	rec := ask(serve(&fake{}), "GET", "/", "", "Authorization", "")
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf(`got status %d, %s, want status 200 and Content-Type "text/html; charset=utf-8"`, rec.Code, rec.Header().Get("Content-Type"))
	}
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(rec.Body.String(), token) {
		t.Error("the page holds the token")
	}
}

func TestAnswers(t *testing.T) {
	unavailable := fmt.Errorf("accept: %w", store.ErrUnavailable)
	invalid := &fault.Failure{Code: fault.CodeInvalid, Problems: []fault.Violation{{Pointer: "/id", Detail: "must be a number"}}}
	for name, c := range map[string]struct {
		err                error
		method, path, body string
		header             []string
		status             int
		want               string // in the body
	}{
		"metrics":            {method: "GET", path: "/metrics", status: 200, want: "counted"},
		"no such path":       {method: "GET", path: "/api/v2/x", status: 404, want: `"detail":"No such path. The API starts at /api/v1/."`},
		"no such process":    {method: "GET", path: "/api/v1/processes/x", status: 404, want: `"detail":"No such process."`},
		"no processes":       {method: "GET", path: "/api/v1/processes", status: 200, want: `{"processes":[]}`},
		"unknown parameter":  {method: "GET", path: "/api/v1/processes?all=1", status: 400, want: "Unknown parameter all."},
		"method":             {method: "DELETE", path: "/api/v1/executions/e", status: 405, want: "does not support DELETE"},
		"show":               {method: "GET", path: "/api/v1/executions/e9", status: 200, want: `"position":"p.yaml:3:5"`},
		"show unknown":       {err: store.ErrUnknown, method: "GET", path: "/api/v1/executions/e9", status: 404, want: "No such execution."},
		"cancel":             {method: "POST", path: "/api/v1/executions/e9/cancel", status: 202, want: `"execution":"e9"`},
		"cancel ended":       {err: store.ErrEnded, method: "POST", path: "/api/v1/executions/e9/cancel", status: 409, want: "has already ended"},
		"pause unknown":      {err: atom.ErrNoSuch, method: "POST", path: "/api/v1/processes/x/pause", status: 404, want: "No such process."},
		"list":               {method: "GET", path: "/api/v1/executions", status: 200, want: `{"executions":[]}`},
		"list, store away":   {err: unavailable, method: "GET", path: "/api/v1/executions", status: 503, want: "the store is unavailable."},
		"list, defect":       {err: errors.New("row 7 is odd"), method: "GET", path: "/api/v1/executions", status: 500, want: "Row 7 is odd."},
		"bad status":         {method: "GET", path: "/api/v1/executions?status=done", status: 400, want: "Unknown status done"},
		"bad since":          {method: "GET", path: "/api/v1/executions?since=yesterday", status: 400, want: "must be a time such as"},
		"bad limit":          {method: "GET", path: "/api/v1/executions?limit=501", status: 400, want: "from 1 to 500"},
		"bad cursor":         {method: "GET", path: "/api/v1/executions?cursor=abc", status: 400, want: "The cursor is not from"},
		"bad filter":         {method: "GET", path: "/api/v1/executions?proces=x", status: 400, want: "Unknown parameter proces;"},
		"twice":              {method: "GET", path: "/api/v1/executions?q=x&q=y", status: 400, want: "occurs more than once"},
		"execute":            {method: "POST", path: "/api/v1/processes/p/executions", body: `{}`, status: 202, want: `"location":"/api/v1/executions/e1"`},
		"execute, no body":   {method: "POST", path: "/api/v1/processes/p/executions", status: 202, want: `"status":"accepted"`},
		"execute, unknown":   {err: atom.ErrNoSuch, method: "POST", path: "/api/v1/processes/x/executions", status: 404, want: "No such process"},
		"execute, busy":      {err: atom.ErrBusy, method: "POST", path: "/api/v1/processes/x/executions", status: 503, want: "backlog"},
		"execute, invalid":   {err: invalid, method: "POST", path: "/api/v1/processes/p/executions", body: `{"document":{"id":"x"}}`, status: 400, want: `[{"pointer":"/document/id","detail":"must be a number"}]`},
		"execute, failure":   {err: &fault.Failure{Code: fault.CodeExpression, Message: "the key is nil"}, method: "POST", path: "/api/v1/processes/p/executions", status: 422, want: "Expression: the key is nil."},
		"execute, request":   {err: &atom.InvalidRequest{Pointer: "/params/id", Detail: "the path needs it"}, method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":{}}`, status: 400, want: `"pointer":"/request/params/id"`},
		"request no object":  {method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":1}`, status: 400, want: `"pointer":"/request"`},
		"request unknown":    {method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":{"path":"/x"}}`, status: 400, want: "use method, params, query, headers"},
		"method odd":         {method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":{"method":"a b"}}`, status: 400, want: `"pointer":"/request/method"`},
		"header odd":         {method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":{"headers":{"a b":"x"}}}`, status: 400, want: `"pointer":"/request/headers/a b"`},
		"header number":      {method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":{"headers":{"a":["x",1]}}}`, status: 400, want: "must be a string or a list of strings"},
		"query no object":    {method: "POST", path: "/api/v1/processes/p/executions", body: `{"request":{"query":"a=b"}}`, status: 400, want: `"pointer":"/request/query"`},
		"not JSON":           {method: "POST", path: "/api/v1/processes/p/executions", body: `{"document":`, status: 400, want: "The body is not valid JSON."},
		"trailing":           {method: "POST", path: "/api/v1/processes/p/executions", body: `{} x`, status: 400, want: "The body is not valid JSON."},
		"duplicate key":      {method: "POST", path: "/api/v1/processes/p/executions", body: `{"props":{},"props":{}}`, status: 400, want: "The body is not valid JSON."},
		"unknown key":        {method: "POST", path: "/api/v1/processes/p/executions", body: `{"doc":1}`, status: 400, want: "Unknown key doc;"},
		"no object":          {method: "POST", path: "/api/v1/processes/p/executions", body: `[1]`, status: 400, want: "The body must be a JSON object."},
		"props no object":    {method: "POST", path: "/api/v1/processes/p/executions", body: `{"props":[1]}`, status: 400, want: `"pointer":"/props"`},
		"media type of body": {method: "POST", path: "/api/v1/processes/p/executions", body: `{}`, header: []string{"Content-Type", "text/plain"}, status: 415, want: "must be application/json"},
		"charset of body":    {method: "POST", path: "/api/v1/processes/p/executions", body: `{}`, header: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, want: "in UTF-8"},
		"too large":          {method: "POST", path: "/api/v1/processes/p/executions", body: `{"document":"` + strings.Repeat("x", 1000) + `"}`, status: 413, want: "exceeds the size limit"},
		"media type odd":     {method: "POST", path: "/api/v1/processes/p/executions", body: `{"document":"x","media_type":"/"}`, status: 400, want: "the media_type is not valid"},
		"XML as object":      {method: "POST", path: "/api/v1/processes/p/executions", body: `{"document":{},"media_type":"application/xml"}`, status: 400, want: "must be a string"},
		"XML broken":         {method: "POST", path: "/api/v1/processes/p/executions", body: `{"document":"<a>","media_type":"application/xml"}`, status: 400, want: `"pointer":"/document"`},
		"no backup here":     {method: "POST", path: "/api/v1/backup", body: `{"folder":"/tmp/x"}`, status: 501, want: "tools of PostgreSQL"},
		"backup relative":    {method: "POST", path: "/api/v1/backup", body: `{"folder":"x"}`, status: 501, want: "tools of PostgreSQL"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := ask(serve(&fake{err: c.err}), c.method, c.path, c.body, c.header...)
			if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
				t.Fatalf("status %d: %s\nwant %d with %s", rec.Code, rec.Body, c.status, c.want)
			}
			if rec.Code < 400 {
				return
			}
			var p struct {
				Type, Title, Detail string
				Status              int
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || !regexp.MustCompile(`^urn:valence:problem:[a-z_]+$`).MatchString(p.Type) || p.Title != http.StatusText(c.status) || p.Status != c.status {
				t.Errorf("no problem document: %s", rec.Body)
			}
			if got := rec.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("got content type %s, want application/problem+json", got)
			}
			if c.status == 503 && rec.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

func TestAllowNamesTheMethods(t *testing.T) {
	rec := ask(serve(&fake{}), "PUT", "/api/v1/processes/p/executions", "")
	if got := rec.Header().Get("Allow"); rec.Code != 405 || got != "POST" {
		t.Errorf("status %d, Allow %q; want 405 and POST", rec.Code, got)
	}
}

func TestFilterReachesTheAtom(t *testing.T) {
	f := &fake{}
	rec := ask(serve(f), "GET", "/api/v1/executions?process=p&status=failed,held&status=expired&since=2026-01-02T03:04:05Z&track.order=4711&q=x&limit=7", "")
	if rec.Code != 200 {
		t.Fatalf("got %v, want status 200", rec.Body)
	}
	want := store.Filter{
		Process: "p", Statuses: []string{"failed", "held", "expired"}, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Track: map[string]string{"order": "4711"}, Text: "x",
	}
	if fmt.Sprint(f.filter) != fmt.Sprint(want) || f.limit != 7 || f.cursor != "" {
		t.Errorf("the atom was asked for %v, limit %d", f.filter, f.limit)
	}
}

// Running executions are accepted in the store; only the atom knows that they
// run.
func TestStatusRunning(t *testing.T) {
	f := &fake{views: []*atom.ExecutionView{{Execution: "a", Status: "accepted"}, {Execution: "b", Status: "running"}}}
	rec := ask(serve(f), "GET", "/api/v1/executions?status=running", "")
	if got := fmt.Sprint(f.filter.Statuses); got != "[accepted waiting held]" {
		t.Errorf("the store was asked for %s", got)
	}
	if body := rec.Body.String(); strings.Contains(body, `"a"`) || !strings.Contains(body, `"b"`) {
		t.Errorf("listed: %s, want body without '\"a\"', body with '\"b\"'", body)
	}
}

func TestCursorHoldsForItsFilter(t *testing.T) {
	f := &fake{pages: map[string]string{"": "second", "second": ""}}
	h := serve(f)
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	next := func(query string) int {
		rec := ask(h, "GET", "/api/v1/executions?"+query, "")
		page.NextCursor = ""
		if rec.Code == 200 {
			if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
		}
		return rec.Code
	}
	next("process=p")
	cursor := page.NextCursor
	if code := next("process=p&limit=3&cursor=" + cursor); code != 200 || f.cursor != "second" || page.NextCursor != "" {
		t.Errorf("status %d, the atom was asked for page %q", code, f.cursor)
	}
	if code := next("process=q&cursor=" + cursor); code != 400 {
		t.Errorf("with another filter: status %d, want 400", code)
	}
	if code := next("process=p&cursor=" + cursor + "A"); code != 400 {
		t.Errorf("a changed cursor: status %d, want 400", code)
	}
}

func TestExecutePassesDocumentsOnExactly(t *testing.T) {
	for _, c := range []struct{ body, media, text, data string }{
		{`{"document":{"b":1.10,"a":12345678901234567890}}`, "application/json", `{"b":1.10,"a":12345678901234567890}`, `{"b":1.10,"a":12345678901234567890}`},
		{`{"document":null}`, "application/json", `null`, `null`},
		{`{"document":"<a><b>1</b></a>","media_type":"application/xml"}`, "application/xml", `<a><b>1</b></a>`, `{"a":{"b":"1"}}`},
		{`{"document":"n\n1\n","media_type":"text/csv"}`, "text/csv", "n\n1\n", `[{"n":"1"}]`},
		{`{"document":"hello","media_type":"text/plain"}`, "text/plain", "hello", `"hello"`},
		{`{}`, "", "", "null"},
	} {
		f := &fake{}
		if rec := ask(serve(f), "POST", "/api/v1/processes/p/executions", c.body); rec.Code != 202 {
			t.Errorf("%s: got %s, want status 202", c.body, rec.Body)
			continue
		}
		if f.doc.MediaType() != c.media || string(f.doc.Body()) != c.text || f.doc.Data() != c.data {
			t.Errorf("%s became %q of %s with data %s", c.body, f.doc.Body(), f.doc.MediaType(), f.doc.Data())
		}
	}
	f := &fake{}
	ask(serve(f), "POST", "/api/v1/processes/p/executions", `{"props":{"n":0.10}}`)
	if v, _ := f.props.Get("n"); v != document.Number("0.10") {
		t.Errorf("property n is %v", v)
	}
}

func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	first, err := admin.Token(dir)
	if err != nil || len(first) != 43 {
		t.Fatalf("token %q: %v, want no error, 43 characters", first, err)
	}
	path := filepath.Join(dir, admin.TokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want mode 0o600 and no error", info.Mode(), err)
	}
	if again, err := admin.Token(dir); err != nil || again != first {
		t.Errorf("the second start gives %q, %v", again, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Token(dir); err == nil || !strings.Contains(err.Error(), "is readable by other users") {
		t.Errorf("a token that others may read: %v, want an error with \"is readable by other users\"", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Token(dir); err == nil || !strings.Contains(err.Error(), "at least 32 characters") {
		t.Errorf("a short token: %v, want an error with \"at least 32 characters\"", err)
	}
}

func TestAllowedAddresses(t *testing.T) {
	for _, c := range []struct {
		addr        string
		tls, beyond bool
		ok          bool
	}{
		{"127.0.0.1", false, false, true},
		{"127.8.9.1", false, false, true},
		{"::1", false, false, true},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"192.0.2.7", false, false, false},
		{"192.0.2.7", true, false, true},
		{"0.0.0.0", false, true, true},
	} {
		err := admin.CheckExposure(&net.TCPAddr{IP: net.ParseIP(c.addr), Port: 9091}, c.tls, c.beyond)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, admin.ErrExposed) {
			t.Errorf("%s, TLS %v, beyond %v: %v", c.addr, c.tls, c.beyond, err)
		}
	}
}

func TestExecuteWithRequest(t *testing.T) {
	f := &fake{}
	rec := ask(serve(f), "POST", "/api/v1/processes/p/executions",
		`{"request":{"method":"put","params":{"id":"7"},"query":{"tag":["a","b"],"q":"c"},"headers":{"x-event-id":"e1"}}}`)
	if rec.Code != http.StatusAccepted {
		t.Fatalf("got %d %s, want 202", rec.Code, rec.Body)
	}
	r := f.request
	if got, want := fmt.Sprintf("%s %v %s %v", r.Method, r.Params, r.Query.Encode(), r.Header), "PUT [{id 7}] q=c&tag=a&tag=b map[X-Event-Id:[e1]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
