package dataplane

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

// routeTable maps requests to listeners. It is immutable once built.
type routeTable struct {
	literal   map[string]*pathMethods // paths without captures
	routers   map[routerKey]*mux.Router
	routes    map[*mux.Route]*pathMethods
	endpoints []*endpoint

	openAPI func() []byte // the OpenAPI document
}

// routerKey groups path templates by segment count and first segment, because a
// mux router tries its routes one by one.
type routerKey struct {
	segments int
	first    string // "" if the first segment is a capture
}

// pathMethods are the listeners of one path by method.
type pathMethods struct {
	endpoints map[string]*endpoint
	allow     string // the methods, for the Allow header
}

const captureShape = "{}" // replaces captures in the shape of a template

// pathShape returns the decoded segments of a template, with captures replaced
// by captureShape, and the names of the captures.
func pathShape(template string) (segments, names []string) {
	for s := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
		if len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' {
			segments, names = append(segments, captureShape), append(names, s[1:len(s)-1])
			continue
		}
		if decoded, err := url.PathUnescape(s); err == nil && !strings.Contains(decoded, "/") {
			s = decoded
		}
		segments = append(segments, s)
	}
	return segments, names
}

// newRouteTable builds the table. If two listeners have the same method and
// path, the first wins and the other is returned in conflicts; lint rejects
// such projects.
func newRouteTable(endpoints []*endpoint) (t *routeTable, conflicts []*endpoint) {
	t = &routeTable{literal: map[string]*pathMethods{}, routers: map[routerKey]*mux.Router{}, routes: map[*mux.Route]*pathMethods{}, endpoints: endpoints}
	shapes := map[string]*pathMethods{}
	var captures [][]string
	for _, e := range endpoints {
		segments, names := pathShape(e.listen.Path)
		e.params = names
		key := "/" + strings.Join(segments, "/")
		p := shapes[key]
		if p == nil {
			p = &pathMethods{endpoints: map[string]*endpoint{}}
			shapes[key] = p
			if len(names) == 0 {
				t.literal[key] = p
			} else {
				captures = append(captures, segments)
			}
		}
		for _, m := range e.listen.Methods {
			if p.endpoints[m] != nil {
				conflicts = append(conflicts, e)
				continue
			}
			p.endpoints[m] = e
		}
	}
	for _, p := range shapes {
		methods := make([]string, 0, len(p.endpoints))
		for m := range p.endpoints {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		p.allow = strings.Join(methods, ", ")
	}
	slices.SortStableFunc(captures, literalFirst)
	for _, segments := range captures {
		t.route(segments, shapes["/"+strings.Join(segments, "/")])
	}
	t.openAPI = sync.OnceValue(func() []byte { return buildOpenAPI(endpoints) })
	return t, conflicts
}

// literalFirst orders templates: at the first segment where only one is a
// capture, the literal sorts first.
func literalFirst(a, b []string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := a[i] == captureShape, b[i] == captureShape; x != y {
			if x {
				return 1
			}
			return -1
		}
	}
	return slices.Compare(a, b)
}

func (t *routeTable) route(segments []string, p *pathMethods) {
	at := routerKey{len(segments), segments[0]}
	if at.first == captureShape {
		at.first = ""
	}
	var template strings.Builder
	n := 0
	for _, s := range segments {
		template.WriteByte('/')
		if s == captureShape {
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

// find returns the listeners at the request's path and the values of the
// captures. Paths are compared segment by segment, each decoded separately:
// nothing is cleaned, joined or redirected, and an encoded slash belongs to its
// segment. One trailing slash is ignored, because some senders append it to the
// address they were given: /hook/ is /hook.
func (t *routeTable) find(u *url.URL) (p *pathMethods, values []string) {
	u = withoutTrailingSlash(u)
	slash := u.RawPath != "" && (strings.Contains(u.RawPath, "%2F") || strings.Contains(u.RawPath, "%2f"))
	if !slash {
		if p := t.literal[u.Path]; p != nil {
			return p, nil
		}
	}
	if len(t.routers) == 0 || len(u.Path) == 0 || u.Path[0] != '/' {
		return nil, nil
	}
	path := u.Path
	if u.RawPath != "" || !isUnreserved(path) {
		path = escapePath(u)
	}
	first, _, _ := strings.Cut(path[1:], "/")
	at := routerKey{strings.Count(path, "/"), first}
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

func withoutTrailingSlash(u *url.URL) *url.URL {
	n := len(u.Path) - 1
	if n < 1 || u.Path[n] != '/' || u.RawPath != "" && !strings.HasSuffix(u.RawPath, "/") {
		return u
	}
	return &url.URL{Path: u.Path[:n], RawPath: strings.TrimSuffix(u.RawPath, "/")}
}

// isUnreserved reports whether a path consists of characters that are never
// percent-encoded.
func isUnreserved(path string) bool {
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '/' || c == '-' || c == '_' || c == '.' || c == '~' {
			continue
		}
		return false
	}
	return true
}

// escapePath returns the path of u in the canonical encoding of templates.
func escapePath(u *url.URL) string {
	segments := strings.Split(u.EscapedPath(), "/")
	for i, s := range segments {
		if decoded, err := url.PathUnescape(s); err == nil {
			segments[i] = url.PathEscape(decoded)
		}
	}
	return strings.Join(segments, "/")
}

// isMalformedPath reports whether a path contains control characters, invalid
// UTF-8 or dot segments.
func isMalformedPath(u *url.URL) bool {
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
