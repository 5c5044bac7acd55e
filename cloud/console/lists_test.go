package console_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// TestRecords checks that the server filters records and that a list continues
// on the next page.
func TestRecords(t *testing.T) {
	o := open(t)
	begin := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	var all []wire.ExecutionReport
	for n := range 120 {
		status := map[bool]string{true: "failed", false: "completed"}[n%10 == 0]
		all = append(all, wire.ExecutionReport{Execution: fmt.Sprint("r", n), Process: "relay", Kind: "listener", Status: status, Received: begin.Add(time.Duration(n) * time.Minute), Ended: begin.Add(time.Duration(n)*time.Minute + time.Second)})
	}
	o.tell(t, all...)
	v := o.signIn(t, o.tokens[cloud.Viewer])
	rows := func(path string) (int, string) {
		a := v.get(t, path)
		older := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(a.text)
		if older == nil {
			older = []string{"", ""}
		}
		return strings.Count(a.text, `<tr id="x-`), html.UnescapeString(older[1])
	}
	total, path := 0, "/executions"
	for path != "" {
		var n int
		n, path = rows(path)
		total += n
	}
	if total != 122 { // plus the running one and the failed one
		t.Errorf("got %d records, want 122", total)
	}
	for path, want := range map[string]int{
		"/executions?status=ERROR":                                 13,
		"/executions?process=relay&atom=edge-01&status=ERROR":      13,
		"/executions?process=none":                                 0,
		"/executions?from=2026-01-02T03:10&to=2026-01-02T03:20":    10,
		"/executions?environment={empty}":                          0,
		"/executions?id={request}":                                 1,
		"/executions?id={record}":                                  1,
		"/executions?status=ERROR&from=2026-01-02T04:00&atom=gone": 0,
	} {
		if n, _ := rows(path); n != want {
			t.Errorf("%s: %d records, want %d", path, n, want)
		}
	}
}

// TestListenersOfAnEnvironment checks that pausing a process in an environment
// pauses it on each atom.
func TestListenersOfAnEnvironment(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Operator])
	if a := v.get(t, "/listeners/change?environment={prod}&process=relay&action=pause"); !strings.Contains(a.text, "on 2 atoms of prod") {
		t.Errorf(`got %d %s, want text with "on 2 atoms of prod"`, a.code, a.text)
	}
	for action, want := range map[string]string{"pause": cloud.Paused, "resume": cloud.Running} {
		a := v.do(t, http.MethodPost, "/listeners", url.Values{"environment": {"{prod}"}, "process": {"relay"}, "action": {action}})
		if a.code != http.StatusSeeOther {
			t.Fatalf("got %d %s, want 303", a.code, a.text)
		}
		for _, atom := range []string{"edge-01", "never-started"} {
			all, err := o.Triggers.States(t.Context(), o.Admin, atom)
			if err != nil || len(all) != 1 || all[0].Wanted != want {
				t.Errorf("got %s, %s: %+v, %v, want len(all) 1, Wanted %q and no error", action, atom, all, err, want)
			}
		}
		if a := v.get(t, a.header.Get("Location")); a.code != http.StatusOK || !strings.Contains(a.text, `id="done"`) {
			t.Errorf(`got %d %s, want code 200 and text with id="done"`, a.code, a.text)
		}
	}
	if a := v.do(t, http.MethodPost, "/listeners", url.Values{"environment": {"{prod}"}, "process": {"none"}, "action": {"pause"}}); a.code != http.StatusNotFound {
		t.Errorf("got %d %s, want 404", a.code, a.text)
	}
	a := v.do(t, http.MethodPost, "/atoms/{atom}/listener", url.Values{"action": {"restart"}, "process": {"{process}"}, "back": {"/listeners?state=paused"}})
	if to := a.header.Get("Location"); to != "/listeners?state=paused&done=restart" {
		t.Errorf("got %d, to %s, want /listeners?state=paused&done=restart", a.code, to)
	}
}

// TestAudit checks that the audit log can be searched and continues on the next
// page.
func TestAudit(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	for n := range 130 {
		if err := o.Environments.SetExtensions(t.Context(), o.Admin, "prod", []cloud.Extension{{Name: fmt.Sprintf("env.V%d", n), Set: true, Value: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int{"/audit": -1, "/audit?q=SET%20ENV.V": 130, "/audit?q=set%20env.V12": 11, "/audit?q=nobody-did-this": 0} {
		total, last := 0, path
		for ; last != ""; total++ {
			a := v.get(t, last)
			n := strings.Count(a.text, `<tr id="l-`)
			if n > 100 || a.code != http.StatusOK {
				t.Fatalf("%s: got %d, %d entries, want at most 100 and code 200", last, a.code, n)
			}
			older := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(a.text)
			if total += n - 1; older == nil {
				last = ""
				continue
			}
			last = html.UnescapeString(older[1])
		}
		if want >= 0 && total != want || want < 0 && total < 140 {
			t.Errorf("%s: %d entries, want %d", path, total, want)
		}
	}
}

// TestResubmit checks that a failed execution is resubmitted once, after
// confirmation, and then followed.
func TestResubmit(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Operator])
	if a := v.get(t, "/executions/{record}"); strings.Contains(a.text, "/resubmit") {
		t.Error("got a resubmit form for a running execution, want none")
	}
	if a := v.get(t, "/executions/{failed}/resubmit?from=failed_step"); a.code != http.StatusOK || !strings.Contains(a.text, "continues at the failed step") || !strings.Contains(a.text, `name="from" value="failed_step"`) {
		t.Errorf(`got %d %s, want code 200, text with "continues at the failed step" and text with name="from" value="failed_step"`, a.code, a.text)
	}
	a := v.do(t, http.MethodPost, "/executions/{failed}/resubmit", url.Values{"from": {"failed_step"}})
	if a.code != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/requests/executionrecord-") {
		t.Fatalf("got %d %v %s, want code 303 and Location beginning with /requests/executionrecord-", a.code, a.header, a.text)
	}
	page := v.get(t, a.header.Get("Location")).text
	if !strings.Contains(page, o.ids.Replace("/executions/{failed}")) || strings.Contains(page, "Execute again") {
		t.Errorf("%s", page)
	}
	if a := v.do(t, http.MethodPost, "/executions/{failed}/resubmit", nil); a.code != http.StatusConflict || !strings.Contains(a.text, "has not accepted it yet") {
		t.Errorf(`got %d %s, want code 409 and text with "has not accepted it yet"`, a.code, a.text)
	}
}
