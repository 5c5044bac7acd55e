package console_test

import (
	"html"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/console"
	"valence/internal/wire"
)

// evil is a hostile text.
const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{.}}` + "\u202e"

// pages returns the path of every page.
func pages() []string {
	all := []string{"/atoms/{loose}", "/environments/{empty}", "/nowhere"}
	for name, e := range endpoints {
		if strings.HasPrefix(name, "GET ") {
			all = append(all, e.path)
		}
	}
	return all
}

func TestSession(t *testing.T) {
	o := open(t)
	v := &visitor{o: o}
	for _, token := range []string{"", "vt_nothing", o.tokens[cloud.Admin] + "x"} {
		if a := v.send(t, http.MethodPost, "/signin", url.Values{"token": {token}}); a.code != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" {
			t.Errorf(`%q: got %d %v, want code 401 and Set-Cookie ""`, token, a.code, a.header)
		}
	}
	if a := v.get(t, "/atoms/{atom}"); a.code != http.StatusUnauthorized || !strings.Contains(a.text, `name="token"`) || strings.Contains(a.text, "edge-01") {
		t.Errorf("nobody is asked to sign in: %d %s", a.code, a.text)
	}

	token := o.Token(t, cloud.Token{Name: "somebody", Role: cloud.Viewer})
	v = o.signIn(t, token.Secret)
	if c := v.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || strings.Contains(c.Value, token.Secret) {
		t.Errorf("the cookie: %+v", c)
	}
	a := (&visitor{o: o, header: map[string]string{"Origin": "https://" + strings.TrimPrefix(o.URL, "http://")}}).send(t, http.MethodPost, "/signin", url.Values{"token": {token.Secret}})
	if c := a.header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-") || !strings.Contains(c, "Secure") {
		t.Errorf("behind a proxy with TLS: %d %s", a.code, c)
	}

	// After such a proxy, a cookie set by a neighboring host is not a session.
	planted := &visitor{o: o, cookie: v.cookie, header: map[string]string{"Host": "cloud.example", "Sec-Fetch-Site": "none"}}
	if a := planted.get(t, "/"); a.code != http.StatusUnauthorized {
		t.Errorf("a cookie without TLS, over TLS: %d", a.code)
	}

	// Signing out ends the session itself, even for copies of the cookie.
	second := o.signIn(t, token.Secret)
	if a := second.send(t, http.MethodPost, "/signout", nil); a.code != http.StatusForbidden {
		t.Errorf("a forged form signs out: %d", a.code)
	}
	if a := second.do(t, http.MethodPost, "/signout", nil); a.code != http.StatusSeeOther || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("got %d %v, want code 303 and Set-Cookie with Max-Age=0", a.code, a.header)
	}
	if a := second.get(t, "/"); a.code != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", a.code)
	}
	if a := v.get(t, "/"); a.code != http.StatusOK {
		t.Errorf("another session of the token ended, too: %d", a.code)
	}
	if err := o.Accounts.DeleteToken(t.Context(), o.Admin, token.ID); err != nil {
		t.Fatal(err)
	}
	if a := v.get(t, "/"); a.code != http.StatusUnauthorized {
		t.Errorf("after the token was revoked: %d", a.code)
	}

	log, _, err := o.Audit.List(t.Context(), o.Admin, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	seen := encode(log)
	for _, want := range []string{`"who":"somebody","action":"session.create"`, `"who":"somebody","action":"session.delete"`} {
		if !strings.Contains(seen, want) {
			t.Errorf("the audit log has no %s", want)
		}
	}
	if strings.Contains(seen, v.cookie.Value) || strings.Contains(seen, token.Secret) {
		t.Error("a secret is in the audit log")
	}
}

// TestLocalPath checks that sign-in returns to the requested page, on this site
// only.
func TestLocalPath(t *testing.T) {
	for path, want := range map[string]string{
		"/atoms/x?y=1": "/atoms/x?y=1", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "/signout": "/", "/a\r\nb": "/", "/\t/evil.example": "/",
	} {
		if got := console.LocalPath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// TestLinkFromAnotherSite checks that a link from another site, which comes
// without the cookie, is followed through a page of our own.
func TestLinkFromAnotherSite(t *testing.T) {
	o := open(t)
	v := &visitor{o: o, header: map[string]string{"Sec-Fetch-Site": "cross-site"}}
	if a := v.get(t, "/atoms/{atom}?a=b"); a.code != http.StatusOK || !strings.Contains(a.text, `http-equiv="refresh"`) || !strings.Contains(a.text, o.ids.Replace(`href="/atoms/{atom}?a=b"`)) {
		t.Errorf("%d %s", a.code, a.text)
	}
}

var (
	inlineScript = regexp.MustCompile(`(?i)<script(?: [^>]*)?>[^<]`)
	inlineStyle  = regexp.MustCompile(`(?i)<[a-z][^<>]* style=|<style`)
	handler      = regexp.MustCompile(`(?i)<[a-z][^<>]* on[a-z]+=`)
	foreign      = regexp.MustCompile(`(?i)(?:src|href|action)="(?:https?:)?//`)
)

// TestEveryPageIsStrict checks that only the program's own files run or load.
func TestEveryPageIsStrict(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	answers := map[string]answer{"sign in": (&visitor{o: o}).get(t, "/"), "an error": v.get(t, "/atoms/none")}
	for _, path := range pages() {
		answers[path] = v.get(t, path)
	}
	for _, file := range regexp.MustCompile(`/static/[^"]+`).FindAllString(answers["sign in"].text, -1) {
		a := v.get(t, file)
		if answers[file] = a; a.code != http.StatusOK || !strings.Contains(a.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: got %d %v, want code 200 and Cache-Control with immutable", file, a.code, a.header)
		}
	}
	if len(answers) < 20 {
		t.Fatal("pages are missing")
	}
	for path, a := range answers {
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"} {
			if got := a.header.Get(header); got != want {
				t.Errorf("%s: got %s: %q, want %q", path, header, got, want)
			}
		}
		policy := a.header.Get("Content-Security-Policy")
		if a.header.Get("Content-Type") == "image/svg+xml" && !strings.HasPrefix(path, "/static/") { // shown by pages as an image, which can load nothing
			if policy != "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox" || handler.MatchString(a.text) || strings.Contains(a.text, "<script") {
				t.Errorf("%s: the drawing could run something: %s", path, policy)
			}
			continue
		}
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy has no %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: %s", path, policy)
		}
		if strings.HasPrefix(path, "/static/") {
			continue
		}
		for name, bad := range map[string]*regexp.Regexp{"a script": inlineScript, "a style": inlineStyle, "a handler": handler, "another site": foreign} {
			if found := bad.FindString(a.text); found != "" {
				t.Errorf("%s has %s in it: %s", path, name, found)
			}
		}
		if !strings.Contains(a.text, `<html lang="en"`) || !strings.Contains(a.text, "<h1") || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: no page, or one that is kept: %v", path, a.header)
		}
	}
}

// TestHostileTexts checks that texts chosen by atoms, callers and users are
// shown as text everywhere.
func TestHostileTexts(t *testing.T) {
	o := open(t)
	ctx := t.Context()
	e, err := o.Environments.Create(ctx, o.Admin, cloud.Environment{Name: evil})
	if err != nil {
		t.Fatal(err)
	}
	bad := cloudtest.Join(t, o.URL, o.InstallToken(t, e.ID), evil)
	bad.Heartbeat = func(h *wire.Heartbeat) { h.Version, h.Host, h.Health = evil, evil, evil }
	pack, deployment := o.Deploy(t, e.ID, strings.ReplaceAll(evil, "/", ""), "1", "process: another\nsteps:\n  - log: ${env.SHOP_URL}\n")
	if err := o.Environments.SetExtensions(ctx, o.Admin, e.ID, []cloud.Extension{{Name: "env.SHOP_URL", Set: true, Value: evil}}); err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Poll(ctx, 0, 0); err != nil {
		t.Fatal(err)
	}
	request, err := o.Executions.Execute(ctx, o.Admin, cloud.ExecutionRequest{AtomID: bad.ID, ProcessID: pack.Components[0], Props: []byte(encode(map[string]string{evil: evil}))})
	if err != nil {
		t.Fatal(err)
	}
	err = bad.Report(ctx, wire.Reports{
		Executions: []wire.ExecutionReport{
			{Execution: evil, Request: request, Process: evil, Kind: evil, Status: "failed", Received: time.Now(), Error: evil, Original: evil, Document: []byte(encode(evil))},
		},
		Deployments: []wire.DeploymentReport{{Package: pack.SHA256, State: evil, Detail: evil, At: time.Now()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Executions.WaitRecord(ctx, o.Admin, request, 0)
	if err != nil {
		t.Fatal(err)
	}
	o.Token(t, cloud.Token{Name: strings.ReplaceAll(evil, ":", ""), Role: cloud.Viewer, Environments: []string{e.ID}})
	v := o.signIn(t, o.tokens[cloud.Admin])
	all := append(pages(), "/environments/"+e.ID, "/atoms/"+bad.ID, "/atoms/"+bad.ID+"/revoke", "/deployments/"+deployment.ID, "/executions/"+r.ID, "/requests/"+request, "/execute?atom="+bad.ID,
		"/environments/"+e.ID+"?field="+url.QueryEscape(evil), "/?q="+url.QueryEscape(evil), "/executions?status="+url.QueryEscape(evil), "/executions?process="+url.QueryEscape(evil),
		"/executions?atom="+url.QueryEscape(evil), "/execute?atom="+url.QueryEscape(evil+"x"), "/atoms/"+url.PathEscape(evil), "/"+url.PathEscape(evil), "/?done="+url.QueryEscape(evil),
		"/deploy?environment="+e.ID+"&package="+pack.ID)
	shown := 0
	for _, path := range all {
		a := v.get(t, path)
		text := strings.ReplaceAll(a.text, `<img src="/packages/`, "") // the page of a process shows its drawing
		if strings.Contains(text, "<script>") || strings.Contains(text, "<img") || strings.Contains(text, `"'>`) {
			t.Errorf("%s takes it for markup: %s", path, a.text)
		}
		if strings.Contains(html.UnescapeString(a.text), "<script>alert(1)</script>") {
			shown++
		}
		if a.code >= 500 {
			t.Errorf("%s: got %d %s, want less than 500", path, a.code, a.text)
		}
	}
	if shown < 12 {
		t.Errorf("it is shown on %d pages only: the test has lost its object", shown)
	}
}

// TestFresh checks that an unchanged page costs one line and a changed page is
// sent.
func TestFresh(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Viewer])
	live := func(path, tag string) answer {
		v.header = map[string]string{"Valence-Live": "1", "If-None-Match": tag}
		return v.get(t, path)
	}
	if _, err := o.atom.Poll(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/atoms/{atom}", "/environments/{prod}", "/executions", "/requests/{request}"} {
		same := false
		for range 3 { // a minute may end between two requests
			a := live(path, live(path, "").header.Get("ETag"))
			same = same || a.code == http.StatusNotModified && a.text == ""
		}
		if !same {
			t.Errorf("%s is another each time", path)
		}
	}
	before := live("/executions", "").header.Get("ETag")
	o.tell(t, wire.ExecutionReport{Execution: "x2", Process: "relay", Kind: "listener", Status: "failed", Received: time.Now(), Error: "the shop said no"})
	if a := live("/executions", before); a.code != http.StatusOK || !strings.Contains(a.text, "the shop said no") {
		t.Errorf(`got %d %s, want code 200 and text with "the shop said no"`, a.code, a.text)
	}
	v.cookie = nil
	if a := live("/", ""); a.code != http.StatusUnauthorized || strings.Contains(a.text, "<form") {
		t.Errorf("a page that is over is not told: %d %s", a.code, a.text)
	}
}

// TestLimitedToAnEnvironment checks that a principal limited to one environment
// sees no other, and no actions on the whole account.
func TestLimitedToAnEnvironment(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.limited)
	for _, path := range []string{"/", "/environments", "/executions", "/execute"} {
		a := v.get(t, path)
		if a.code != http.StatusOK || strings.Contains(a.text, "edge-01") || strings.Contains(a.text, ">prod<") {
			t.Errorf("%s: got %d %s, want code 200, text without edge-01 and text without >prod<", path, a.code, a.text)
		}
		for _, hidden := range []string{`href="/tokens"`, `href="/audit"`, `action="/environments"`} {
			if strings.Contains(a.text, hidden) {
				t.Errorf("%s: got a page that offers %q, want one without", path, hidden)
			}
		}
	}
	if found, _, err := o.Executions.Records(t.Context(), cloud.Principal{Account: cloud.DefaultAccount, Role: cloud.Viewer, Environments: []string{o.ids.Replace("{prod}"), o.ids.Replace("{empty}")}},
		cloud.RecordFilter{Environments: []string{o.ids.Replace("{empty}")}}, cloud.Cursor{}, 10); err != nil || len(found) != 0 {
		t.Errorf("of two environments that one may see, the one that was asked for: %v, %v", found, err)
	}
	for _, path := range []string{"/atoms/{atom}", "/environments/{prod}", "/deployments/{deployment}", "/executions/{record}", "/requests/{request}", "/executions/{record}/cancel", "/executions/{failed}/resubmit"} {
		if a := v.get(t, path); a.code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, a.code)
		}
	}
	for _, path := range []string{"/tokens", "/audit"} {
		if a := v.get(t, path); a.code != http.StatusForbidden {
			t.Errorf("%s: got %d, want 403", path, a.code)
		}
	}
}

// TestSecretsAreNotShown checks that no page shows a stored secret.
func TestSecretsAreNotShown(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	const secret = "correct horse battery staple"
	if a := v.do(t, http.MethodPost, "/environments/{prod}/fields", url.Values{"name": {"secret.SHOP_KEY"}, "value": {secret}}); a.code != http.StatusSeeOther || strings.Contains(a.header.Get("Location"), "horse") {
		t.Fatalf("got %d %v, want code 303 and Location without horse", a.code, a.header)
	}
	if a := v.get(t, "/environments/{prod}?field=secret.SHOP_KEY"); !strings.Contains(a.text, "set, hidden") || !strings.Contains(a.text, "No deployed package reads it.") {
		t.Errorf(`got %q, want text with "set, hidden" and text with "No deployed package reads it."`, a.text)
	}
	for _, path := range append(pages(), "/environments/{prod}?field=secret.SHOP_KEY") {
		if strings.Contains(v.get(t, path).text, secret) {
			t.Errorf("%s shows it", path)
		}
	}
}

// TestInstallToken checks that the join command is shown once and is safe in a
// shell for any name.
func TestInstallToken(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	v.header = map[string]string{"Origin": o.URL}
	a := v.do(t, http.MethodPost, "/join", url.Values{"environment": {"{prod}"}, "minutes": {"15"}, "name": {evil}})
	command := html.UnescapeString(regexp.MustCompile(`(?s)<pre id="command"[^>]*>(.*?)</pre>`).FindStringSubmatch(a.text)[1])
	token := regexp.MustCompile(`vi_[A-Za-z0-9_-]+`).FindString(command)
	if want := "valence join " + o.URL + " --token " + token + " --name " + console.Quoted(evil) + " --data /var/lib/valence"; command != want {
		t.Errorf("%s\nwant %s", command, want)
	}
	words, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\n' `+strings.TrimPrefix(command, "valence ")).Output()
	if got := strings.Split(strings.TrimSuffix(string(words), "\n"), "\n"); err != nil || len(got) != 8 || got[5] != evil {
		t.Errorf("got %q, %v, want len(got) 8, %v and no error", got, err, evil)
	}
	follow := regexp.MustCompile(`data-from="([^"]+)"`).FindStringSubmatch(a.text)[1]
	if a := v.get(t, follow); !strings.Contains(a.text, "for the atom to join") || strings.Contains(a.text, token) {
		t.Errorf(`got %s, want text with "for the atom to join" and text without %q`, a.text, token)
	}
	joined := cloudtest.Join(t, o.URL, token, "joined")
	if a := v.get(t, follow); !strings.Contains(a.text, "has joined. It is not running yet") {
		t.Errorf(`got %s, want text with "has joined. It is not running yet"`, a.text)
	}
	if _, err := joined.Poll(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	if a := v.get(t, follow); !strings.Contains(a.text, "is connected") || !strings.Contains(a.text, `data-every="0"`) {
		t.Errorf(`got %s, want text with "is connected" and text with data-every="0"`, a.text)
	}
}

// TestExecuteTwice checks that a form sent twice runs once.
func TestExecuteTwice(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Operator])
	form := url.Values{"atom": {"{atom}"}, "process": {"{process}"}, "name": {"id", "", "city"}, "value": {"4711", "", "Köln"}, "document": {`{"a":1}`}, "type": {"application/json"}, "key": {"one"}}
	first := v.do(t, http.MethodPost, "/execute", form).header.Get("Location")
	if again := v.do(t, http.MethodPost, "/execute", form).header.Get("Location"); first == "" || again != first {
		t.Errorf("got %q, %q, want first set and again %q", first, again, first)
	}
	if a := v.get(t, first); !strings.Contains(html.UnescapeString(a.text), `"city": "Köln"`) || !strings.Contains(a.text, "WAITING") {
		t.Errorf(`got %s, want text with "city": "Köln" and text with WAITING`, a.text)
	}
	form.Set("document", `{"a":`)
	if a := v.do(t, http.MethodPost, "/execute", form); a.code != http.StatusBadRequest || !strings.Contains(a.text, "not valid JSON") || !strings.Contains(a.text, `value="4711"`) {
		t.Errorf(`got %d %s, want code 400, text with "not valid JSON" and text with value="4711"`, a.code, a.text)
	}
}

// TestManyAtoms checks that the overview of many atoms starts with the problems,
// groups those of a kind, and shows one page of a hundred.
func TestManyAtoms(t *testing.T) {
	dir := t.TempDir()
	if _, err := cloudtest.NewFleet(t.Context(), dir, 250); err != nil {
		t.Fatal(err)
	}
	o := &office{ids: strings.NewReplacer()}
	o.Plane = cloudtest.Start(t, cloudtest.Options{Dir: dir, Handler: func(s *cloud.Service) http.Handler { return console.New(console.Options{Service: s}) }})
	v := o.signIn(t, o.Token(t, cloud.Token{Name: "viewer", Role: cloud.Viewer}).Secret)
	a := v.get(t, "/")
	if n := strings.Count(a.text, `<tr id="a-`); n != 100 || !strings.Contains(a.text, "250 atoms have joined but never polled") || strings.Count(a.text, `class="problem `) != 1 {
		t.Errorf("%d rows: got %s, want 100, text with \"250 atoms have joined but never polled\" and `class=\"problem ` 1", n, a.text)
	}
	if !strings.Contains(a.text, "1–100 of 250") || !strings.Contains(a.text, `href="/?page=2"`) {
		t.Errorf(`got %s, want text with "1–100 of 250" and text with href="/?page=2"`, a.text)
	}
	if a := v.get(t, "/?page=3"); strings.Count(a.text, `<tr id="a-`) != 50 || !strings.Contains(a.text, `href="/?page=2"`) {
		t.Errorf("got %s, want `<tr id=\"a-` 50 and text with href=\"/?page=2\"", a.text)
	}
	if a := v.get(t, "/?q=ATOM-00042"); strings.Count(a.text, `<tr id="a-`) != 1 {
		t.Errorf("got %s, want 1", a.text)
	}
}
