package console

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"valence/cloud"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// assets are the style, the script and the icon, under a path that holds the
// hash of all of them: browsers keep them for good, and get new ones with a
// new program.
type assets struct {
	hash  string
	files map[string][]byte
}

func readAssets() assets {
	a := assets{files: map[string][]byte{}}
	sum := sha256.New()
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := assetFiles.ReadFile(name)
		a.files[path.Base(name)] = content
		sum.Write(content)
		return err
	})
	if err != nil {
		panic(err) // they are part of the program
	}
	a.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	return a
}

func (a assets) path(file string) string { return "/static/" + a.hash + "/" + file }

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (c *console) static(w http.ResponseWriter, r *http.Request) {
	content, ok := c.assets.files[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", assetTypes[path.Ext(r.PathValue("file"))])
	if r.PathValue("hash") == c.assets.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(content)
}

// pageTemplate is one page within the frame that all share.
type pageTemplate struct{ t *template.Template }

// parsePages reads every page. The frame and the parts are in files whose
// names begin with an underscore.
func parsePages() map[string]*pageTemplate {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(pageFiles, "pages/_*.html"))
	names, err := fs.Glob(pageFiles, "pages/[a-z]*.html")
	if err != nil {
		panic(err) // the pattern is right
	}
	all := map[string]*pageTemplate{}
	for _, name := range names {
		t := template.Must(template.Must(shared.Clone()).ParseFS(pageFiles, name))
		all[strings.TrimSuffix(path.Base(name), ".html")] = &pageTemplate{t}
	}
	return all
}

// shell is what every page is made of.
type shell struct {
	Title   string
	Path    string // of this page, with its query
	Version string
	Done    string // what was done just now
	Problem string
	P       cloud.Principal // "" where nobody has signed in
	CSRF    string
	Every   int64 // milliseconds
	Now     time.Time
	Data    any
	assets  assets
}

// Asset gives the path of a file that belongs to the console.
func (s *shell) Asset(file string) string { return s.assets.path(file) }

// May reports whether the role allows an action: what it does not is not shown.
func (s *shell) May(action string) bool { return s.P.May(cloud.Action(action)) }

// MakesAccounts reports whether it is one who may make accounts.
func (s *shell) MakesAccounts() bool { return makesAccounts(s.P) }

// At marks the place in the navigation.
func (s *shell) At(prefix string) bool {
	p, _, _ := strings.Cut(s.Path, "?")
	return p == prefix || prefix != "/" && strings.HasPrefix(p, prefix+"/")
}

// Ago gives a time and when the page was made, for the template of a time.
func (s *shell) Ago(t time.Time) moment { return moment{t.UTC(), s.Now} }

// moment is a time as pages show it: in UTC, and how long ago.
type moment struct{ At, now time.Time }

// ISO is for programs, UTC for people.
func (m moment) ISO() string { return m.At.Format("2006-01-02T15:04:05Z") }

// UTC gives the date only where it is another than today.
func (m moment) UTC() string {
	if m.At.Format(time.DateOnly) == m.now.UTC().Format(time.DateOnly) {
		return m.At.Format("15:04:05 UTC")
	}
	return m.At.Format("2006-01-02 15:04 UTC")
}

// Ago tells how long ago it was, or how long until it is.
func (m moment) Ago() string {
	d := m.now.Sub(m.At)
	if d < 0 && d > -time.Minute || d >= 0 && d < time.Minute {
		return "just now"
	}
	text := span(max(d, -d))
	if d < 0 {
		return "in " + text
	}
	return text + " ago"
}

// span gives a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

var functions = template.FuncMap{
	"span": span,
	"cut":  cut,
	"n":    number,
	"path": url.PathEscape,
	"short": func(id string) string {
		if len(id) > 12 {
			return id[:8]
		}
		return id
	},
	"list":      func(items ...any) []any { return items },
	"plural":    plural,
	"trigger":   func(kind string) string { return cmp.Or(triggers[kind], kind) },
	"startedBy": func(kind string) string { return cmp.Or(starts[kind], kind) },
	"lower":     strings.ToLower,
	"millis":    func(generation int64) time.Time { return time.UnixMilli(generation) },
	"dict": func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i+1 < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	},
}

// starts says in words what began an execution.
var starts = map[string]string{
	"exec_manual": "a request", "exec_listener": "its listener", "exec_sched": "its schedule", "retry_manual": "a resubmission", "exec_handoff": "another process",
}

// triggers says in words what starts a process.
var triggers = map[string]string{"listen": "web service", "schedule": "schedule", "subscribe": "subscription"}

// cut shortens a text that may be of any length to so many characters.
func cut(n int, text string) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	r := []rune(text)
	return strings.TrimRightFunc(string(r[:n]), unicode.IsSpace) + "…"
}

// number writes a number with its thousands apart.
func number(v any) string {
	text := fmt.Sprint(v)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// done are the texts that a page may begin with after something was done: the
// address only holds which.
var done = map[string]string{
	"pause": "Paused. The atom does so when it asks next, usually within a second.", "resume": "Resumed. The atom does so when it asks next, usually within a second.",
	"restart": "The atom restarts it when it asks next.", "renamed": "Renamed.", "attached": "Attached. What is deployed to the environment comes to the atom now.",
	"detached": "Detached.", "revoked": "Revoked: no request of the atom is answered any more.", "retired": "The atom retires when it asks next. Revoke it afterwards.",
	"made": "Made.", "policy": "The policy is changed. Atoms take it when they ask next.", "set": "Set. Atoms take it when they ask next.", "removed": "Removed.", "deleted": "Deleted.",
	"deployed": "Deployed. What becomes of it on each atom is shown here.", "undeployed": "Taken out.", "cancelled": "The atom is asked to cancel it.", "resubmitted": "The atom is asked to run it again. What becomes of it is shown here.",
	"token-revoked": "Revoked: the token is good for nothing any more.",
}

// show writes an answer.
func (c *console) show(w http.ResponseWriter, v *visit, a *answer) {
	if a.to != "" {
		to, part, _ := strings.Cut(a.to, "#")
		if a.done != "" {
			to += map[bool]string{true: "&", false: "?"}[strings.Contains(to, "?")] + "done=" + a.done
		}
		if part != "" {
			to += "#" + part
		}
		http.Redirect(w, v.Request, to, http.StatusSeeOther)
		return
	}
	// To the minute, so that a page of which only the clock is another is the same.
	s := &shell{Title: a.title, Path: v.URL.RequestURI(), Version: c.Version, P: v.p, CSRF: v.csrf, Every: a.every.Milliseconds(),
		Now: time.Now().UTC().Truncate(time.Minute), Data: a.data, assets: c.assets}
	if v.Method == http.MethodGet {
		s.Done = done[v.URL.Query().Get("done")]
	}
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	b, ok := c.make(w, a.page, s)
	if !ok {
		return
	}
	if v.Method != http.MethodPost && status == http.StatusOK {
		sum := sha256.Sum256(b)
		tag := `"` + hex.EncodeToString(sum[:12]) + `"`
		w.Header().Set("ETag", tag)
		if v.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	write(w, status, b)
}

func write(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // an error means that the browser is gone
}

// render writes a page of nobody.
func (c *console) render(w http.ResponseWriter, status int, page string, s *shell) {
	if b, ok := c.make(w, page, s); ok {
		write(w, status, b)
	}
}

// make makes a page whole before anything of it is sent.
func (c *console) make(w http.ResponseWriter, page string, s *shell) ([]byte, bool) {
	var b bytes.Buffer
	if err := c.pages[page].t.ExecuteTemplate(&b, page+".html", s); err != nil {
		c.Log.Error("a page cannot be made", "page", page, "error", err)
		http.Error(w, "This page cannot be made; the log of the control plane tells why.", http.StatusInternalServerError)
		return nil, false
	}
	return b.Bytes(), true
}
