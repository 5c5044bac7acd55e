package dataplane

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"valence/atom/store"
	"valence/internal/document"
)

func TestCallbacks(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/a"))
	var took []string
	f.callBack = func(token string, d *document.Document) (bool, error) {
		switch token {
		case "again":
			return true, nil
		case "late":
			return false, store.ErrEnded
		case "away":
			return false, fmt.Errorf("signal: %w", store.ErrUnavailable)
		case "broken":
			return false, errors.New("a defect")
		}
		took = append(took, d.MediaType()+" "+d.Data())
		return false, nil
	}
	accepted, duplicate := `{"status":"accepted"}`+"\n", `{"status":"duplicate"}`+"\n"
	for _, c := range []struct {
		name, method, token, kind, body string
		status                          int
		answer, took                    string
	}{
		{"json", "POST", "t", "application/json", `{"paid":1.0}`, 202, accepted, `application/json {"paid":1.0}`},
		{"json of another name", "POST", "t", "application/vnd.pay+json; charset=utf-8", `[1]`, 202, accepted, `application/json [1]`},
		{"no type, json", "POST", "t", "", `{"a":1}`, 202, accepted, `application/json {"a":1}`},
		{"no type, no json", "POST", "t", "", `a=1&b`, 202, accepted, `application/octet-stream `},
		{"form", "POST", "t", "application/x-www-form-urlencoded", `state=paid&n=1`, 202, accepted, `application/x-www-form-urlencoded {"state":"paid","n":"1"}`},
		{"xml", "POST", "t", "text/xml", `<paid n="1"/>`, 202, accepted, `text/xml {"paid":{"@n":"1"}}`},
		{"text", "POST", "t", "text/plain", `yes`, 202, accepted, `text/plain; charset=utf-8 "yes"`},
		{"bytes", "POST", "t", "application/pdf", "%PDF", 202, accepted, `application/pdf `},
		{"nothing", "POST", "t", "application/json", "", 202, accepted, ` null`},
		{"broken json", "POST", "t", "application/json", `{`, 400, "", ""},
		{"broken xml", "POST", "t", "application/xml", `<a>`, 400, "", ""},
		{"an odd charset", "POST", "t", "application/json; charset=klingon", `{}`, 415, "", ""},
		{"too large", "POST", "t", "application/pdf", strings.Repeat("x", maxCallbackBody+1), 413, "", ""},
		{"twice", "POST", "again", "", "{}", 202, duplicate, ""},
		{"late", "POST", "late", "", "{}", 410, "", ""},
		{"made up", "POST", "made-up", "", "{}", 404, "", ""},
		{"long", "POST", strings.Repeat("x", 65), "", "{}", 404, "", ""},
		{"store away", "POST", "away", "", "{}", 503, "", ""},
		{"broken", "POST", "broken", "", "{}", 500, "", ""},
		{"a mail scanner", "GET", "t", "", "", 405, "", ""},
		{"a careful one", "HEAD", "t", "", "", 405, "", ""},
		{"a browser asks first", "OPTIONS", "t", "", "", 405, "", ""},
		{"put", "PUT", "t", "application/json", "{}", 405, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			took = nil
			headers := []string{"Content-Type", c.kind}
			if c.kind == "" {
				headers = nil
			}
			w := send(s, c.method, "/callbacks/"+c.token, c.body, headers...)
			if w.Code != c.status || c.answer != "" && w.Body.String() != c.answer {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if got := strings.Join(took, "|"); got != c.took {
				t.Errorf("taken: %q, want %q", got, c.took)
			}
			if allow := w.Header().Get("Allow"); (allow == "POST") != (c.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
}
