package examples

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// hostileName is an atom name that contains markup.
const hostileName = `<script>pwned=1</script>"'><img src=x onerror="pwned=1">`

// consoleProject has a process that greets, and one that fails with markup in
// its message.
const consoleProject = `process: greet
steps:
  - map: { greeting: "Hello ${props.name}" }
---
process: refuse
steps:
  - throw: "there is no customer <script>pwned=1</script> ${props.name}"
---
process: orders
listen: { path: /orders, method: POST, auth: none }
steps:
  - log: an order
`

// consoleUser uses the console in a real browser.
type consoleUser struct {
	*page
	plane *controlPlane
}

func (d *consoleUser) open(path string) {
	d.t.Helper()
	d.do("open "+path, chromedp.Navigate(d.plane.url+path), chromedp.WaitReady("#main"))
}

// text returns the text of an element.
func (d *consoleUser) text(sel string) string {
	d.t.Helper()
	text, err := chromedp.Run(d.ctx, chromedp.TextContent(sel))
	if err != nil {
		d.t.Fatalf("read %s: %v", sel, err)
	}
	return strings.TrimSpace(text)
}

// evaluate runs a script in the page.
func (d *consoleUser) evaluate(script string) string {
	d.t.Helper()
	result, err := chromedp.Run(d.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		d.t.Fatalf("%s: %v", script, err)
	}
	return result
}

func (d *consoleUser) is(what, want, script string) {
	d.t.Helper()
	if got := d.evaluate(script); got != want {
		d.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (d *consoleUser) signIn(token string) {
	d.t.Helper()
	d.do("sign in", chromedp.WaitVisible("#token"), chromedp.SendKeys("#token", token), chromedp.Click(".signin button", chromedp.NodeVisible), chromedp.WaitVisible("#who"))
}

// harmless checks that no foreign markup has become part of the page.
func (d *consoleUser) harmless() {
	d.t.Helper()
	d.is("a script has run", "undefined", `typeof window.pwned`)
	d.is("elements of somebody else", "0", `String(document.querySelectorAll("body script, img:not(#drawing img), iframe, object").length)`)
}

// TestConsoleInABrowser uses the console of a real control plane with a real
// atom, as an operator and as an attacker.
func TestConsoleInABrowser(t *testing.T) {
	p := startPlane(t)
	admin, err := os.ReadFile(filepath.Join(p.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	d := &consoleUser{&page{t, browser(t, p.url+"/executions?status=ERROR")}, p}
	d.do("bring a wrong token", chromedp.SendKeys("#token", "vt_nobody-has-this\n"))
	d.shows("problem", "This token is unknown")
	d.signIn(strings.TrimSpace(string(admin)))
	d.is("where one wanted to go", "/executions?status=ERROR", `location.pathname + location.search`)
	d.shows("who", "admin in default")
	d.is("the cookie as scripts see it", "", `document.cookie`)

	atom, id := d.joins()
	d.sets()
	d.deploys(id)
	drawn := d.draws()
	d.executes(id)
	d.listens(atom, id)
	d.harmless()
	d.fits(id, drawn)
	d.refreshes()
	d.outage()
	d.attacked(id)
	d.views(id)
}

// joins lets an atom with a hostile name join, with the command that the page
// shows, and waits until the page shows it.
func (d *consoleUser) joins() (a *atom, id string) {
	d.t.Helper()
	d.open("/environments")
	d.do("make an environment", chromedp.SendKeys("input[name=name]", "prod"), chromedp.Click("form.inline button", chromedp.NodeVisible))
	d.shows("main", "Created.")
	d.do("change the policy", chromedp.SetValue("input[name=percent]", "20"), chromedp.Click("form[action$=policy] button", chromedp.NodeVisible))
	d.shows("main", "Policy changed.")

	d.open("/join")
	d.do("make an install token", chromedp.SendKeys("input[name=name]", hostileName), chromedp.Click("form.stack button", chromedp.NodeVisible))
	d.shows("joined", "for the atom to join")
	d.harmless()
	data := d.t.TempDir()
	command := strings.Replace(strings.Replace(d.text("#command"), "/var/lib/valence", data, 1), "valence", binary, 1)
	if out, err := exec.CommandContext(d.t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	d.shows("joined", "It is not running yet") // the page was not reloaded
	cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data)
	a = startUntil(d.t, cmd, data, "/healthz")
	d.shows("joined", "ONLINE")
	id = strings.TrimPrefix(d.evaluate(`document.querySelector("#joined a").pathname`), "/atoms/")
	d.open("/")
	d.is("the atom's name", hostileName, `document.querySelector("#atom-table td[data-label=Atom] bdi").textContent`)
	d.is("the atom's state", "ONLINE", `document.querySelector("#atom-table .state").textContent`)
	return a, id
}

// sets sets a secret and checks that the page never shows it.
func (d *consoleUser) sets() {
	d.t.Helper()
	d.open("/environments/prod")
	d.do("name a secret", chromedp.SendKeys("#set [name=name]", "secret.KEY"))
	d.is("how its value is shown", "disc", `getComputedStyle(document.querySelector("#set textarea")).webkitTextSecurity`)
	d.do("set it", chromedp.SendKeys("#set textarea", "open sesame"), chromedp.Click("#set button", chromedp.NodeVisible))
	d.shows("main", "set, hidden")
	d.is("whether it is on the page", "false", `String(document.documentElement.outerHTML.includes("sesame"))`)
}

// deploys follows a deployment while it runs.
func (d *consoleUser) deploys(id string) {
	d.t.Helper()
	project := filepath.Join(d.t.TempDir(), "office")
	if err := os.MkdirAll(project, 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(project, "office.yaml"), []byte(consoleProject), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.open("/atoms/" + id)
	d.shows("main", "Nothing is deployed.")
	d.plane.valence("", "deploy", project, "--to", d.plane.url, "--environment", "prod", "--version", "1.0.0")
	d.shows("live-atom", "active") // without a reload
	d.shows("live-atom", "orders")
	d.open("/environments/prod")
	d.shows("live-deployments", "1 runs it")
	d.do("see the results", chromedp.Click("#live-deployments td.actions a", chromedp.NodeVisible), chromedp.WaitVisible("#results"))
	d.is("what became of it", "active", `document.querySelector("#results .state").textContent`)
	d.harmless()
}

// draws looks at the drawing of a process in a light and in a dark page, and
// returns the path of its page.
func (d *consoleUser) draws() string {
	d.t.Helper()
	d.do("look at a process", chromedp.Click(`#processes a[href*="name=orders"]`, chromedp.NodeVisible), chromedp.WaitVisible("#drawing img"))
	d.until("the drawing does not load", `document.querySelector("#drawing img").complete && document.querySelector("#drawing img").naturalWidth > 300`)
	d.is("the drawing as text", "true", `String(document.getElementById("mermaid").textContent.includes("flowchart"))`)
	for scheme, light := range map[string]string{"light": "true", "dark": "false"} {
		d.is("whether the drawing is light in a "+scheme+" page", light, `(async () => {
			const img = document.querySelector("#drawing img"), canvas = document.createElement("canvas"), context = canvas.getContext("2d");
			img.style.colorScheme = "`+scheme+`";
			await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
			context.drawImage(img, 0, 0);
			return String(context.getImageData(4, 4, 1, 1).data[0] > 200);
		})()`)
	}
	d.harmless()
	return d.evaluate(`location.pathname + location.search`)
}

// execute fills in the form that executes a process.
func (d *consoleUser) execute(id, process, name, value string) {
	d.t.Helper()
	d.open("/execute?atom=" + id)
	d.do("execute "+process, chromedp.SendKeys("#process", process), chromedp.SendKeys(".pair:nth-child(1) [name=name]", name), chromedp.SendKeys(".pair:nth-child(1) [name=value]", value),
		chromedp.Click("form.stack button.primary", chromedp.NodeVisible), chromedp.WaitVisible("#status"))
}

// executes executes processes and follows them until they end.
func (d *consoleUser) executes(id string) {
	d.t.Helper()
	d.execute(id, "greet", "name", hostileName)
	d.shows("status", "COMPLETE")
	d.shows("props", `"name": "<script>pwned=1</script>`)
	d.harmless()

	d.execute(id, "refuse", "name", "Müller")
	d.shows("status", "ERROR")
	d.shows("message", "there is no customer <script>pwned=1</script> Müller")
	d.open("/executions?status=ERROR")
	d.shows("live-records", "there is no customer <script>")
	d.is("executions that are found", "1", `String(document.querySelectorAll(".records tbody tr").length)`)
	d.open("/")
	d.shows("live-head", "Failed in the last 24 hours")
	d.harmless()
}

// listens pauses and resumes a listener and checks that the atom reports it.
func (d *consoleUser) listens(a *atom, id string) {
	d.t.Helper()
	press := func(text string) {
		d.do(text, chromedp.Click(`button[aria-label="`+text+` orders"]`, chromedp.NodeVisible), chromedp.WaitReady("#done"))
	}
	d.open("/atoms/" + id)
	press("Pause")
	d.shows("live-atom", "PAUSED")
	press("Resume")
	d.shows("live-atom", "RUNNING")
	d.do("ask for the log", chromedp.Click("form[action*=log] button", chromedp.NodeVisible), chromedp.WaitVisible("#lines"))
}

// fits checks that every page works on a phone, with a keyboard, and with a
// screen reader: nothing is wider than the window, and every control has a name.
func (d *consoleUser) fits(id, drawn string) {
	d.t.Helper()
	for width, scrolls := range map[int64]string{390: "nav, .unseen, .drawing", 1280: "nav, .unseen, .drawing, .scroll"} {
		d.do("change the window", chromedp.EmulateViewport(width, 844))
		for _, path := range []string{"/", "/environments", "/environments/prod", "/listeners", "/executions", "/execute", "/execute?atom=" + id, "/join", "/tokens", "/audit", "/accounts", "/atoms/" + id, "/atoms/" + id + "/revoke", drawn} {
			d.open(path)
			d.is(fmt.Sprintf("elements wider than %d on %s", width, path), "", `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("`+scrolls+`")).map(e => e.outerHTML.slice(0, 80)).slice(0, 3).join("\n")`)
			d.is("what has no name on "+path, "", `[...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter(e => !e.labels.length && !e.ariaLabel).concat([...document.querySelectorAll("button:not([hidden]), a")].filter(e => !e.textContent.trim() && !e.ariaLabel)).map(e => e.outerHTML).join("\n")`)
			d.is("headings of "+path, "1", `String(document.querySelectorAll("h1").length)`)
		}
	}
}

// refreshes checks that new rows replace old ones without moving the focus, and
// that no button becomes that of another row.
func (d *consoleUser) refreshes() {
	d.t.Helper()
	d.open("/")
	d.is("rows after a refresh", "c: C, b: B2, d: D; focus on b, which is the same; a is gone", `(() => {
		const list = rows => {
			const all = document.createElement("div");
			for (const [id, text] of rows) {
				const row = document.createElement("p"), button = document.createElement("button");
				row.id = id;
				button.textContent = text;
				row.append("\n", button);
				all.append("\n", row);
			}
			return all;
		};
		const shown = list([["a", "A"], ["b", "B"], ["c", "C"]]);
		document.body.append(shown);
		const button = shown.querySelector("#b button"), gone = shown.querySelector("#a");
		button.focus();
		renew(shown, list([["c", "C"], ["b", "B2"], ["d", "D"]]));
		const rows = [...shown.children].map(r => r.id + ": " + r.textContent.trim()).join(", ");
		const focus = document.activeElement.parentNode.id + (document.activeElement === button ? ", which is the same" : "");
		const result = rows + "; focus on " + focus + "; a is " + (gone.isConnected ? "there" : "gone");
		shown.remove();
		return result;
	})()`)
}

// outage restarts the control plane while a page is open: the page reports the
// outage, recovers by itself, and the session continues.
func (d *consoleUser) outage() {
	d.t.Helper()
	d.open("/")
	d.plane.stop()
	d.until("the page does not report the outage", `document.getElementById("stale").textContent.includes("is not responding") && !document.getElementById("stale").hidden`)
	d.plane.start()
	d.until("the page does not recover", `document.getElementById("stale").hidden`)
	d.shows("who", "admin")
}

// attacked tries attacks from other sites and from a script in the page.
func (d *consoleUser) attacked(id string) {
	d.t.Helper()
	var target string
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/form":
			fmt.Fprintf(w, `<form method="post" action="%s/environments"><input name="name" value="forged"><button id="go">go</button></form>`, target)
		case "/link":
			fmt.Fprintf(w, `<a id="go" href="%s/atoms/%s">go</a>`, target, id)
		case "/frame":
			fmt.Fprintf(w, `<iframe id="in" src="%s/"></iframe>`, target)
		}
	}))
	d.t.Cleanup(site.Close)
	target = d.plane.url
	elsewhere := strings.Replace(site.URL, "127.0.0.1", "localhost", 1)

	// Another port of the same host is the same site: the browser sends the
	// cookie with its form.
	for name, from := range map[string]string{"the same site": site.URL, "another site": elsewhere} {
		d.do("send a form from "+name, chromedp.Navigate(from+"/form"), chromedp.Click("#go", chromedp.NodeVisible), chromedp.WaitReady("body"))
		d.until("the forged form is not refused", `["/environments"].includes(location.pathname) && !document.body.textContent.includes("Created.")`)
	}
	d.open("/environments")
	d.is("what a forged form has made", "false", `String(document.body.textContent.includes("forged"))`)

	// A link from another site works, although the cookie is not sent with it.
	d.do("follow a link from another site", chromedp.Navigate(elsewhere+"/link"), chromedp.Click("#go", chromedp.NodeVisible), chromedp.WaitVisible("#who"))
	d.is("where it leads", "/atoms/"+id, `location.pathname`)

	// An injected script does not run.
	d.is("a script of somebody else", "refused", `(() => { const s = document.createElement("script"); try { s.text = "window.pwned=1"; document.body.append(s); } catch { } s.remove(); return window.pwned ? "ran" : "refused" })()`)
	d.is("markup of somebody else", "refused", `(() => { try { document.createElement("div").innerHTML = "<img src=x>"; return "made" } catch { return "refused" } })()`)
	d.is("to call another site", "refused", `fetch("`+elsewhere+`/", { mode: "no-cors" }).then(() => "called", () => "refused")`)
	d.harmless()
}

// until waits until a script returns true, across page loads.
func (d *consoleUser) until(what, script string) {
	d.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		ok, err := chromedp.Run(d.ctx, chromedp.Evaluate[bool](script))
		if ok {
			return
		}
		if time.Now().After(end) {
			text, _ := chromedp.Run(d.ctx, chromedp.Evaluate[string](`document.body.textContent`))
			d.t.Fatalf("%s: %v\nthe page:\n%s", what, err, text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// shows waits until an element exists and contains a text.
func (d *consoleUser) shows(id, text string) {
	d.t.Helper()
	d.until(fmt.Sprintf("#%s does not show %q", id, text), fmt.Sprintf(`!!document.getElementById(%q)?.textContent.includes(%q)`, id, text))
}

// views checks what a viewer sees and is refused, and how sessions end.
func (d *consoleUser) views(id string) {
	d.t.Helper()
	d.open("/tokens")
	d.do("make a viewer's token", chromedp.SendKeys("input[name=name]", hostileName[:15]), chromedp.Click("form.stack button", chromedp.NodeVisible), chromedp.WaitVisible("#secret"))
	secret := d.text("#secret")
	d.harmless()
	d.open("/audit")
	d.shows("audit", "token.create")
	d.do("sign out", chromedp.Click("#signout", chromedp.NodeVisible))
	d.shows("main", "You have signed out.")
	d.do("come back", chromedp.Navigate(d.plane.url+"/atoms/"+id), chromedp.WaitVisible("#token"))

	d.signIn(secret)
	d.is("where one wanted to go", "/atoms/"+id, `location.pathname`)
	d.shows("who", "viewer")
	for _, path := range []string{"/atoms/" + id, "/", "/environments", "/environments/prod", "/executions"} {
		d.open(path)
		d.is("what a viewer may do on "+path, "/signout", `[...document.querySelectorAll("form[method=post]")].map(f => f.getAttribute("action")).join()`)
	}
	post := `fetch("%s", { method: "POST", headers: { "Content-Type": "application/x-www-form-urlencoded" }, body: "typed=x&action=pause_all&csrf=" + document.querySelector("[name=csrf]").value }).then(r => String(r.status))`
	for _, path := range []string{"/atoms/" + id + "/revoke", "/atoms/" + id + "/listener", "/tokens", "/execute"} {
		d.is("a viewer's form to "+path, "403", fmt.Sprintf(post, path))
	}

	d.plane.valence("", "cloud", "token", "revoke", hostileName[:15])
	d.do("come back after the token was revoked", chromedp.Navigate(d.plane.url+"/"), chromedp.WaitVisible("#token"))
}
