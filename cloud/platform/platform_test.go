package platform

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
)

type result struct {
	Number int               `json:"numberOfResults"`
	Token  string            `json:"queryToken"`
	Result []json.RawMessage `json:"result"`
}

// pages reads all pages of a query and returns the results and the number of
// pages.
func (d *desk) pages(object, body string) (all []string, pages int) {
	d.t.Helper()
	text := d.json(http.StatusOK, "POST", object+"/query", body)
	for {
		var r result
		if err := json.Unmarshal([]byte(text), &r); err != nil || r.Number != len(r.Result) || r.Number > pageSize {
			d.t.Fatalf("%v: %s", err, text)
		}
		pages++
		for _, one := range r.Result {
			all = append(all, string(one))
		}
		if r.Token == "" {
			return all, pages
		}
		text = d.json(http.StatusOK, "POST", object+"/queryMore", r.Token)
	}
}

func TestPages(t *testing.T) {
	d := open(t, cloudtest.Options{})
	for i := range 250 {
		if _, err := d.service.Environments.Create(t.Context(), d.admin, cloud.Environment{Name: fmt.Sprintf("env %03d", i), Classification: []string{cloud.Production, cloud.Test}[i%2]}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		body       string
		all, pages int
	}{
		{``, 250, 3},
		{`{"QueryFilter":{"expression":{"operator":"EQUALS","property":"classification","argument":["test"]}}}`, 125, 2},
		{`{"QueryFilter":{"expression":{"operator":"STARTS_WITH","property":"name","argument":["ENV 0"]}}}`, 100, 1},
	} {
		all, pages := d.pages("Environment", c.body)
		seen := map[string]bool{}
		for _, e := range all {
			seen[e] = true
		}
		if len(seen) != c.all || len(all) != c.all || pages != c.pages {
			t.Errorf("%s: %d different of %d in %d pages, want %d in %d", c.body, len(seen), len(all), pages, c.all, c.pages)
		}
	}
	// The ways in which clients send the token.
	var r result
	if err := json.Unmarshal([]byte(d.json(200, "POST", "Environment/query", "")), &r); err != nil {
		t.Fatal(err)
	}
	for contentType, body := range map[string]string{"text/plain": r.Token, "application/json": r.Token, "application/x-www-form-urlencoded": r.Token,
		"application/json; charset=utf-8": `"` + r.Token + `"`, "application/xml": "<queryMore><queryToken>" + r.Token + "</queryToken></queryMore>", "": r.Token + "\n"} {
		if w := d.ask("POST", "default/Environment/queryMore", body, "Content-Type: "+contentType, "Accept: application/json"); w.Code != 200 || !strings.Contains(w.Body.String(), `"numberOfResults":100`) {
			t.Errorf(`%q: got %d %.200s, want status 200 and body with "numberOfResults":100`, contentType, w.Code, w.Body)
		}
	}
	if w := d.ask("POST", "default/Atom/queryMore", r.Token, "Content-Type: text/plain"); w.Code != 400 {
		t.Errorf("a token of another object: %d", w.Code)
	}
}

func TestPagesOfRecords(t *testing.T) {
	d := open(t, cloudtest.Options{}).furnish()
	for i := range 230 {
		d.report(fmt.Sprintf("run-%d", i), "", []string{"completed", "failed"}[i%2])
	}
	for body, want := range map[string]int{
		``: 231,
		`{"QueryFilter":{"expression":{"operator":"EQUALS","property":"status","argument":["error"]}}}`:                                                   115,
		`{"QueryFilter":{"expression":{"operator":"NOT_EQUALS","property":"status","argument":["error"]}}}`:                                               116,
		`{"QueryFilter":{"expression":{"operator":"GREATER_THAN","property":"executionTime","argument":["2026-01-31T15:32:00Z"]}}}`:                       231,
		`{"QueryFilter":{"expression":{"operator":"LESS_THAN_OR_EQUAL","property":"executionTime","argument":["2026-01-31T15:32:00Z"]}}}`:                 0,
		`{"QueryFilter":{"expression":{"operator":"BETWEEN","property":"executionTime","argument":["2026-01-31T15:32:00.123Z","2026-01-31T15:32:01Z"]}}}`: 231,
	} {
		all, _ := d.pages("ExecutionRecord", body)
		seen := map[string]bool{}
		for _, r := range all {
			seen[r] = true
		}
		if len(all) != want || len(seen) != want {
			t.Errorf("%s: %d different of %d, want %d", body, len(seen), len(all), want)
		}
	}
	if all, _ := d.pages("AuditLog", `{"QueryFilter":{"expression":{"operator":"LIKE","property":"action","argument":["environment.%"]}}}`); len(all) != 2 {
		t.Errorf("got %q, want 2", all)
	}
}

func TestWaitingForTheRecord(t *testing.T) {
	d := open(t, cloudtest.Options{}).furnish()
	var made struct {
		RequestID string `json:"requestId"`
		RecordURL string `json:"recordUrl"`
	}
	body := `{"processId":"` + d.component + `","atomId":"` + d.atom + `","DynamicProcessProperties":{"DynamicProcessProperty":[{"name":"a","value":"1"}]}}`
	if err := json.Unmarshal([]byte(d.json(200, "POST", "ExecutionRequest", body)), &made); err != nil || made.RequestID == "" {
		t.Fatalf("got %v %+v, want RequestID set and no error", err, made)
	}
	path := "default/ExecutionRecord/async/" + made.RequestID
	if w := d.ask("GET", path, ""); w.Code != http.StatusAccepted {
		t.Fatalf("got %d %s, want 202", w.Code, w.Body)
	}
	go d.report("run-1", made.RequestID, "failed")
	began := time.Now()
	w := d.ask("GET", path, "", "Prefer: respond-async, wait=20", "Accept: application/json")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"status":"ERROR"`) || time.Since(began) > 15*time.Second || w.Header().Get("Preference-Applied") != "wait=20" {
		t.Errorf(`got %d %s, want status 200, body with "status":"ERROR", time at most %v and Preference-Applied wait=20`, w.Code, w.Body, 15*time.Second)
	}
	if w := d.ask("POST", "default/ExecutionRequest", strings.Replace(body, `{`, `{"idempotencyKey":"k",`, 1), "Prefer: wait=1", "Content-Type: application/json"); w.Code != 200 || !strings.Contains(w.Body.String(), "requestId") || strings.Contains(w.Body.String(), `"record"`) {
		t.Errorf(`got %d %s, want status 200, body with requestId and body without "record"`, w.Code, w.Body)
	}
}

func TestRateLimit(t *testing.T) {
	d := open(t, cloudtest.Options{Rate: 0.001, Burst: 3})
	for range 3 {
		if w := d.ask("POST", "default/Environment/query", ""); w.Code != 200 {
			t.Fatalf("got %v, want 200", w.Code)
		}
	}
	w := d.ask("POST", "default/Environment/query", "", "Accept: application/json")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"@type":"Error"`) {
		t.Errorf(`got %d %v %s, want status 503, Retry-After set and body with "@type":"Error"`, w.Code, w.Header(), w.Body)
	}
	if w := d.askAs(d.other, "admin", "POST", "other/Environment/query", ""); w.Code != 200 {
		t.Errorf("another account is limited too: %d", w.Code)
	}
}

func TestBounds(t *testing.T) {
	d := open(t, cloudtest.Options{})
	big := `{"name":"` + strings.Repeat("x", maxBody) + `"}`
	if w := d.ask("POST", "default/Environment", big, "Content-Type: application/json"); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %v, want 413", w.Code)
	}
	d.furnish()
	document := strings.Repeat("x", maxBody+1)
	if w := d.ask("POST", "default/ExecutionRequest", `{"atomId":"`+d.atom+`","processId":"`+d.component+`","document":"`+document+`"}`, "Content-Type: application/json"); w.Code != 200 {
		t.Errorf("got %d %.200s, want 200", w.Code, w.Body)
	}
	for _, path := range []string{"", "/", "default", "default/", "default//Environment//query//", "default/%2e%2e/x", "default/Environment/%zz"} {
		r := d.ask("POST", strings.ReplaceAll(path, "%zz", "zz"), "")
		if r.Code >= 500 {
			t.Errorf("%q: got %d %s, want less than 500", path, r.Code, r.Body)
		}
	}
	w := d.ask("POST", "default/Environment/bulk", `{"request":[`+strings.Repeat(`{"id":"x"},`, maxBulk)+`{"id":"x"}]}`, "Content-Type: application/json")
	if w.Code != 400 {
		t.Errorf("got %d %s, want 400", w.Code, w.Body)
	}
}

func TestPackageUpload(t *testing.T) {
	d := open(t, cloudtest.Options{})
	archive := d.archive(project)
	w := d.ask("POST", "default/Package/upload?project=shop&version=1.0.0&notes=first", string(archive), "Content-Type: application/octet-stream")
	var p struct{ PackageID, SHA256, PackageVersion, Notes string }
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 || p.PackageVersion != "1.0.0" || p.Notes != "first" {
		t.Fatalf("got %d %s, want status 200, PackageVersion 1.0.0, Notes first and no error", w.Code, w.Body)
	}
	w = d.ask("GET", "default/Package/"+p.PackageID+"/archive", "")
	if w.Code != 200 || w.Body.String() != string(archive) || w.Header().Get("ETag") != `"`+p.SHA256+`"` {
		t.Errorf("got %d %v, want status 200, body %q and ETag %q", w.Code, w.Header(), string(archive), `"`+p.SHA256+`"`)
	}
	if w := d.ask("POST", "default/Package/upload?project=shop&version=2", "not an archive"); w.Code != 400 {
		t.Errorf("got %d %s, want 400", w.Code, w.Body)
	}
	if w := d.ask("POST", "default/Package/upload?project=shop&version=1.0.0", string(d.archive(project+"#\n"))); w.Code != 409 {
		t.Errorf("got %d %s, want 409", w.Code, w.Body)
	}
}

func TestServes(t *testing.T) {
	for path, want := range map[string]bool{
		"/api/rest/v1/default/Environment": true, "//api/rest//v1/default//Environment/": true, "/api/rest/v1/openapi.json": true,
		"/api/rest/v1": false, "/api/rest/v1/": false, "/api/v1/default/atoms": false, "/": false, "": false, "/x/api/rest/v1/y": false,
	} {
		if Serves(path) != want {
			t.Errorf("%q: got %v, want %v", path, !want, want)
		}
	}
}
