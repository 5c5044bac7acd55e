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

// assets holds the style sheet, the script and the icon. Their path contains a
// hash of all of them, so browsers cache them until the program changes.
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
		panic(err) // embedded in the program
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

// pageTemplate is one page within the shared frame.
type pageTemplate struct{ t *template.Template }

// parsePages parses every page. Files of the frame and of shared parts begin
// with an underscore.
func parsePages() map[string]*pageTemplate {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(pageFiles, "pages/_*.html"))
	names, err := fs.Glob(pageFiles, "pages/[a-z]*.html")
	if err != nil {
		panic(err) // the pattern is valid
	}
	all := map[string]*pageTemplate{}
	for _, name := range names {
		t := template.Must(template.Must(shared.Clone()).ParseFS(pageFiles, name))
		all[strings.TrimSuffix(path.Base(name), ".html")] = &pageTemplate{t}
	}
	return all
}

// shell is the data shared by all pages.
type shell struct {
	Title   string
	Path    string // of this page, with its query
	Version string
	Done    string // message about the last action
	Problem string
	P       cloud.Principal // "" without a session
	CSRF    string
	Every   int64 // milliseconds
	Now     time.Time
	Data    any
	assets  assets
}

// Asset returns the path of one of the console's files.
func (s *shell) Asset(file string) string { return s.assets.path(file) }

// May reports whether the role allows an action. Pages hide the actions that it
// does not allow.
func (s *shell) May(action string) bool { return s.P.May(cloud.Action(action)) }

// MakesAccounts reports whether the principal may create accounts.
func (s *shell) MakesAccounts() bool { return makesAccounts(s.P) }

// At reports whether the page belongs to a section of the navigation.
func (s *shell) At(prefix string) bool {
	p, _, _ := strings.Cut(s.Path, "?")
	return p == prefix || prefix != "/" && strings.HasPrefix(p, prefix+"/")
}

// Ago pairs a time with the time of the page, for templates.
func (s *shell) Ago(t time.Time) moment { return moment{t.UTC(), s.Now} }

// moment is a time as pages show it: in UTC, and relative to now.
type moment struct{ At, now time.Time }

// ISO returns the time in RFC 3339 format.
func (m moment) ISO() string { return m.At.Format("2006-01-02T15:04:05Z") }

// UTC returns the time for people, with the date unless it is today.
func (m moment) UTC() string {
	if m.At.Format(time.DateOnly) == m.now.UTC().Format(time.DateOnly) {
		return m.At.Format("15:04:05 UTC")
	}
	return m.At.Format("2006-01-02 15:04 UTC")
}

// Ago returns the distance from now in words.
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

// span returns a duration in its largest unit.
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

// starts describes the triggers of executions.
var starts = map[string]string{
	"exec_manual": "a request", "exec_listener": "its listener", "exec_sched": "its schedule", "retry_manual": "a resubmission", "sub_process": "another process",
}

// triggers describes the triggers of processes.
var triggers = map[string]string{"listen": "web service", "schedule": "schedule", "subscribe": "subscription"}

// cut shortens a text to n characters.
func cut(n int, text string) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	r := []rune(text)
	return strings.TrimRightFunc(string(r[:n]), unicode.IsSpace) + "…"
}

// number formats a number with thousands separators.
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

// done holds the messages shown after an action. The URL contains only the key.
var done = map[string]string{
	"pause": "Paused. The atom follows at its next poll, usually within a second.", "resume": "Resumed. The atom follows at its next poll, usually within a second.",
	"restart": "The atom restarts it at its next poll.", "renamed": "Renamed.", "attached": "Attached. The atom is loading the environment's deployments.",
	"detached": "Detached.", "revoked": "Revoked. Requests of the atom are rejected.", "retired": "The atom retires at its next poll. Revoke it afterwards.",
	"made": "Created.", "policy": "Policy changed. Atoms apply it at their next poll.", "set": "Saved. Atoms apply it at their next poll.", "removed": "Removed.", "deleted": "Deleted.",
	"deployed": "Deployed. The result on each atom appears here.", "undeployed": "Removed.", "cancelled": "Cancellation requested.", "resubmitted": "Resubmission requested. Its progress appears here.",
	"token-revoked": "Revoked. The token no longer works.",
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
	if a.image != nil {
		showImage(w, v, a.image)
		return
	}
	// Rounded to the minute, so that pages that differ only in the clock are
	// equal.
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
	if v.Method != http.MethodPost && status == http.StatusOK && unchanged(w, v, b) {
		return
	}
	write(w, status, b)
}

// unchanged answers 304 if the browser has the content already.
func unchanged(w http.ResponseWriter, v *visit, b []byte) bool {
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	w.Header().Set("ETag", tag)
	if v.Header.Get("If-None-Match") != tag {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}

// showImage writes an SVG document. Its style sheet is part of it, and nothing
// else is allowed if it is opened as a page.
func showImage(w http.ResponseWriter, v *visit, svg []byte) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox")
	h.Set("Cache-Control", "private, no-cache")
	if unchanged(w, v, svg) {
		return
	}
	h.Set("Content-Type", assetTypes[".svg"])
	_, _ = w.Write(svg) // an error means that the client has gone
}

func write(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // an error means that the client has gone
}

// render writes a page without a session.
func (c *console) render(w http.ResponseWriter, status int, page string, s *shell) {
	if b, ok := c.make(w, page, s); ok {
		write(w, status, b)
	}
}

// make renders a complete page before anything is sent.
func (c *console) make(w http.ResponseWriter, page string, s *shell) ([]byte, bool) {
	var b bytes.Buffer
	if err := c.pages[page].t.ExecuteTemplate(&b, page+".html", s); err != nil {
		c.Log.Error("cannot render page", "page", page, "error", err)
		http.Error(w, "The page cannot be rendered; see the log of the control plane.", http.StatusInternalServerError)
		return nil, false
	}
	return b.Bytes(), true
}
