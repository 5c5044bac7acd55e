package listener

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"valence/atom"
)

// table finds the listener of a request. It is never changed after it is built.
type table struct {
	points  map[string]*point // paths without captures
	routers map[bucket]*mux.Router
	routes  map[*mux.Route]*point
	all     []*endpoint

	described func() []byte // the OpenAPI document
}

// bucket holds the templates with as many segments and the same first one, so
// that a router has few templates to try: mux tries one after the other.
type bucket struct {
	segments int
	first    string // "" where the first segment is a capture
}

// point is everything that listens at one path.
type point struct {
	methods map[string]*endpoint
	allow   string // the methods, for Allow
}

const capture = "{}" // stands for any captured segment in the shape of a template

// pathShape takes a template apart: its segments, decoded, with captures as
// capture, and the captures' names.
func pathShape(template string) (segments, names []string) {
	for s := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
		if len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' {
			segments, names = append(segments, capture), append(names, s[1:len(s)-1])
			continue
		}
		if decoded, err := url.PathUnescape(s); err == nil && !strings.Contains(decoded, "/") {
			s = decoded
		}
		segments = append(segments, s)
	}
	return segments, names
}

// build makes the table of endpoints. Where two claim one method and path,
// the first keeps it; the language refuses that, so it is not expected.
func build(endpoints []*endpoint) (t *table, conflicts []*endpoint) {
	t = &table{points: map[string]*point{}, routers: map[bucket]*mux.Router{}, routes: map[*mux.Route]*point{}, all: endpoints}
	shapes := map[string]*point{}
	var captures [][]string
	for _, e := range endpoints {
		segments, names := pathShape(e.listen.Path)
		e.params = names
		key := "/" + strings.Join(segments, "/")
		p := shapes[key]
		if p == nil {
			p = &point{methods: map[string]*endpoint{}}
			shapes[key] = p
			if len(names) == 0 {
				t.points[key] = p
			} else {
				captures = append(captures, segments)
			}
		}
		for _, m := range e.listen.Methods {
			if p.methods[m] != nil {
				conflicts = append(conflicts, e)
				continue
			}
			p.methods[m] = e
		}
	}
	for _, p := range shapes {
		methods := make([]string, 0, len(p.methods))
		for m := range p.methods {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		p.allow = strings.Join(methods, ", ")
	}
	slices.SortStableFunc(captures, literalFirst)
	for _, segments := range captures {
		t.route(segments, shapes["/"+strings.Join(segments, "/")])
	}
	t.described = sync.OnceValue(func() []byte { return describe(endpoints) })
	return t, conflicts
}

// literalFirst orders templates so that at the first segment in which they
// differ in kind, the literal comes first.
func literalFirst(a, b []string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := a[i] == capture, b[i] == capture; x != y {
			if x {
				return 1
			}
			return -1
		}
	}
	return slices.Compare(a, b)
}

func (t *table) route(segments []string, p *point) {
	at := bucket{len(segments), segments[0]}
	if at.first == capture {
		at.first = ""
	}
	var template strings.Builder
	n := 0
	for _, s := range segments {
		template.WriteByte('/')
		if s == capture {
			template.WriteString("{p" + strconv.Itoa(n) + "}")
			n++
			continue
		}
		template.WriteString(url.PathEscape(s))
	}
	r := t.routers[at]
	if r == nil {
		r = mux.NewRouter()
		t.routers[at] = r
	}
	t.routes[r.NewRoute().Path(template.String())] = p
}

// find gives what listens at the request's path, and the values of captures.
// Paths are compared segment by segment, each decoded by itself: nothing is
// cleaned, joined or redirected, and an encoded slash is part of its segment.
func (t *table) find(u *url.URL) (p *point, values []string) {
	slash := u.RawPath != "" && (strings.Contains(u.RawPath, "%2F") || strings.Contains(u.RawPath, "%2f"))
	if !slash {
		if p := t.points[u.Path]; p != nil {
			return p, nil
		}
	}
	if len(t.routers) == 0 || len(u.Path) == 0 || u.Path[0] != '/' {
		return nil, nil
	}
	path := u.Path
	if u.RawPath != "" || !plain(path) {
		path = escaped(u)
	}
	first, _, _ := strings.Cut(path[1:], "/")
	at := bucket{strings.Count(path, "/"), first}
	if decoded, err := url.PathUnescape(first); err == nil {
		at.first = decoded
	}
	request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}
	for range 2 {
		var match mux.RouteMatch
		if r := t.routers[at]; r != nil && r.Match(request, &match) {
			values = make([]string, 0, len(match.Vars))
			for i := range len(match.Vars) {
				value, err := url.PathUnescape(match.Vars["p"+strconv.Itoa(i)])
				if err != nil {
					return nil, nil
				}
				values = append(values, value)
			}
			return t.routes[match.Route], values
		}
		at.first = ""
	}
	return nil, nil
}

// plain reports whether a path is the same encoded and decoded.
func plain(path string) bool {
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '/' || c == '-' || c == '_' || c == '.' || c == '~' {
			continue
		}
		return false
	}
	return true
}

// escaped writes every segment in the one encoding that templates are written in.
func escaped(u *url.URL) string {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, s := range segments {
		if decoded, err := url.PathUnescape(s); err == nil {
			segments[i] = url.PathEscape(decoded)
		}
	}
	return strings.Join(segments, "/")
}

// badPath reports whether a path is one that nobody sends in good faith:
// NUL and other control characters, broken UTF-8, and dots that climb.
func badPath(u *url.URL) bool {
	if !utf8.ValidString(u.Path) {
		return true
	}
	for i := 0; i < len(u.Path); i++ {
		if c := u.Path[i]; c < 0x20 || c == 0x7f {
			return true
		}
	}
	for s := range strings.SplitSeq(u.Path, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

func params(names, values []string) []atom.KV {
	if len(values) == 0 {
		return nil
	}
	out := make([]atom.KV, len(values))
	for i, v := range values {
		out[i] = atom.KV{Name: names[i], Value: v}
	}
	return out
}
