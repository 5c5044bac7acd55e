package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"valence/cloud"
)

// TestDrawing: the page of a process shows its drawing as an image, whose policy
// allows no script and no file.
func TestDrawing(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Deployer])
	if a := v.get(t, "/deployments/{deployment}"); !strings.Contains(a.text, o.ids.Replace(`href="/packages/{package}/process?name=relay"`)) {
		t.Errorf("got %s, want a link to the process", a.text)
	}
	if a := o.signIn(t, o.tokens[cloud.Viewer]).get(t, "/deployments/{deployment}"); strings.Contains(a.text, "/packages/") || !strings.Contains(a.text, "<bdi>relay</bdi>") {
		t.Errorf("a viewer: got %s, want the name of the process without a link", a.text)
	}
	page := v.get(t, "/packages/{package}/process?name=relay")
	src := o.ids.Replace("/packages/{package}/drawing?name=relay")
	if page.code != http.StatusOK || !strings.Contains(page.text, `<img src="`+src+`"`) || !strings.Contains(page.text, "flowchart") || strings.Contains(page.text, "<style") {
		t.Errorf("got %d %s, want the image and its text", page.code, page.text)
	}
	for range 2 { // drawn, and from memory
		a := v.get(t, src)
		if a.code != http.StatusOK || a.header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(a.text, "<svg ") || !strings.Contains(a.text, "POST /relay") {
			t.Errorf("got %d %v %s, want the drawing", a.code, a.header, a.text)
		}
		if policy := a.header.Get("Content-Security-Policy"); policy != "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox" {
			t.Errorf("got the policy %q", policy)
		}
		v.header = map[string]string{"If-None-Match": a.header.Get("ETag")}
		if again := v.get(t, src); again.code != http.StatusNotModified {
			t.Errorf("got %d for a known drawing, want 304", again.code)
		}
		v.header = nil
	}
	if a := v.get(t, "/packages/{package}/drawing?name=nothing"); a.code != http.StatusNotFound || !strings.Contains(a.text, "hop 2 has no process nothing") {
		t.Errorf("got %d %s, want 404", a.code, a.text)
	}
}

// TestDrawingsOfManyProcesses: names are text, the list on the page of a
// deployment is bounded, and so are the drawings in memory.
func TestDrawingsOfManyProcesses(t *testing.T) {
	o := open(t)
	var text strings.Builder
	for i := range 250 {
		fmt.Fprintf(&text, "---\nprocess: p%03d\ndescription: \"</svg><script>alert(%d)</script>\"\nsteps:\n  - log: x\n", i, i)
	}
	e := o.Environment(t, "many")
	x, d := o.Deploy(t, e.ID, "many", "1", strings.TrimPrefix(text.String(), "---\n"))
	v := o.signIn(t, o.tokens[cloud.Deployer])
	a := v.get(t, "/deployments/"+d.ID)
	if n := strings.Count(a.text, "/process?name="); n != 200 || !strings.Contains(a.text, "250 in all") {
		t.Errorf("got %d links, want 200 and the number of all", n)
	}
	for i := range 70 {
		a := v.get(t, "/packages/"+x.ID+"/drawing?name="+url.QueryEscape(fmt.Sprintf("p%03d", i)))
		if a.code != http.StatusOK || strings.Contains(a.text, "<script") {
			t.Fatalf("got %d %s, want a drawing without markup of the process", a.code, a.text)
		}
	}
}
