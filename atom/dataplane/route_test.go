package dataplane

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"valence/atom"
)

func TestRoutes(t *testing.T) {
	f := &fake{}
	s := serve(t, f,
		on("/shop/orders"), on("/shop/orders/{id}"), on("/shop/{kind}/new"), on("/shop/orders/new"), on("/shop/orders/{id}/lines/{line}"),
		on("/{any}/x"), on("/größe/{g}"), on("/shop/orders/{order}/put", methods("PUT", "DELETE")), on("/shop/orders/{id}/put", methods("PATCH")), on("/a.b/v1"))
	notFound := problemDoc("not_found", "Not found", "404", "No listener at this path.", "")
	bad := problemDoc("bad_path", "Invalid path", "400", "The path contains control characters, invalid UTF-8 or dot segments.", "")
	for _, c := range []struct {
		method, target string
		status         int
		want           string // path of the listener and the captures, or the problem
	}{
		{"POST", "/shop/orders", 200, "/shop/orders []"},
		{"POST", "/shop/orders?x=1", 200, "/shop/orders []"},
		{"POST", "/shop/%6frders", 200, "/shop/orders []"},
		{"POST", "/shop/orders/", 200, "/shop/orders []"},
		{"POST", "/shop/orders/?x=1", 200, "/shop/orders []"},
		{"POST", "/shop/orders/4711/", 200, "/shop/orders/{id} [{id 4711}]"},
		{"POST", "/gr%C3%B6%C3%9Fe/X%2FL/", 200, "/größe/{g} [{g X/L}]"},
		{"POST", "/shop/orders/4711", 200, "/shop/orders/{id} [{id 4711}]"},
		{"POST", "/shop/orders/new", 200, "/shop/orders/new []"},
		{"POST", "/shop/carts/new", 200, "/shop/{kind}/new [{kind carts}]"},
		{"POST", "/shop/orders/1/lines/2", 200, "/shop/orders/{id}/lines/{line} [{id 1} {line 2}]"},
		{"POST", "/shop/x", 200, "/{any}/x [{any shop}]"},
		{"POST", "/gr%C3%B6%C3%9Fe/XL", 200, "/größe/{g} [{g XL}]"},
		{"PATCH", "/shop/orders/7/put", 200, "/shop/orders/{id}/put [{id 7}]"},
		{"DELETE", "/shop/orders/7/put", 200, "/shop/orders/{order}/put [{order 7}]"},

		{"POST", "/shop/orders/2024%2F17", 200, "/shop/orders/{id} [{id 2024/17}]"},
		{"POST", "/shop/orders/2024%2f17/lines/a%20b", 200, "/shop/orders/{id}/lines/{line} [{id 2024/17} {line a b}]"},
		{"POST", "/shop/orders/%C3%A4%2B%3F", 200, "/shop/orders/{id} [{id ä+?}]"},
		{"POST", "/shop/orders/a+b", 200, "/shop/orders/{id} [{id a+b}]"},
		{"POST", "/shop/orders/...", 200, "/shop/orders/{id} [{id ...}]"},
		{"POST", "/shop%2Forders", 404, notFound},
		{"POST", "/shop%2Forders/4711", 404, notFound},

		{"POST", "/", 404, notFound},
		{"POST", "/shop", 404, notFound},
		{"POST", "/shop/orders//", 404, notFound},
		{"POST", "/shop/orders%2F", 404, notFound},
		{"POST", "/shop/orders/4711//", 404, notFound},
		{"POST", "//shop/orders", 404, notFound},
		{"POST", "/shop//orders", 404, notFound},
		{"POST", "/Shop/orders", 404, notFound},
		{"POST", "/aXb/v1", 404, notFound},
		{"POST", "/shop/orders/1/2/3/4/5", 404, notFound},

		{"POST", "/shop/../shop/orders", 400, bad},
		{"POST", "/shop/./orders", 400, bad},
		{"POST", "/shop/orders/..", 400, bad},
		{"POST", "/shop/orders/%2e%2e", 400, bad},
		{"POST", "/shop/orders/%2e%2e%2f%2e%2e%2fetc", 400, bad},
		{"POST", "/shop/orders/a%2F..%2Fb", 400, bad},
		{"POST", "/shop/orders/%00", 400, bad},
		{"POST", "/shop/orders/a%0d%0ab", 400, bad},
		{"POST", "/shop/orders/%ff", 400, bad},
		{"POST", "/nothing/%00", 400, bad},
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			w := send(s, c.method, c.target, "{}")
			if w.Code != c.status {
				t.Fatalf("got %d %s, want %v", w.Code, w.Body, c.status)
			}
			if w.Header().Get("Location") != "" {
				t.Error("got a redirect, want none")
			}
			got := w.Body.String()
			if c.status == 200 {
				p, _ := s.routes.Load().find(mustURL(t, c.target))
				got = fmt.Sprint(p.endpoints[c.method].listen.Path, " ", f.last().Request.Params)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func mustURL(t *testing.T, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestMethodNotAllowed(t *testing.T) {
	s := serve(t, &fake{}, on("/a", methods("PUT", "GET", "DELETE")), on("/b/{x}"))
	for _, c := range []struct{ method, target, allow string }{
		{"POST", "/a", "DELETE, GET, PUT"},
		{"HEAD", "/a", "DELETE, GET, PUT"},
		{"OPTIONS", "/a", "DELETE, GET, PUT"},
		{"TRACE", "/b/1", "POST"},
		{"get", "/b/1", "POST"},
		{"POST", "/healthz", "GET, HEAD"},
		{"DELETE", "/executions/1", "GET, HEAD"},
	} {
		w := send(s, c.method, c.target, "")
		want := problemDoc("method_not_allowed", "Method not allowed", "405", "This path supports "+c.allow+".", "")
		if w.Code != 405 || w.Header().Get("Allow") != c.allow || w.Body.String() != want {
			t.Errorf("%s %s: got %d, Allow %q, %s, want status 405, Allow %q and body %q", c.method, c.target, w.Code, w.Header().Get("Allow"), w.Body, c.allow, want)
		}
	}
}

func TestOddTargets(t *testing.T) {
	s := serve(t, &fake{}, on("/a"), on("/{x}"))
	for _, u := range []*url.URL{{Path: ""}, {Path: "*"}, {Path: "a"}, {Opaque: "a:b"}} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, &http.Request{Method: "POST", URL: u, Header: http.Header{}, Body: http.NoBody})
		if w.Code != 404 {
			t.Errorf("%+v: got %d, want 404", u, w.Code)
		}
	}
}

// A deployment replaces all listeners at once and removes undeployed ones.
func TestRedeploy(t *testing.T) {
	f := &fake{}
	s := serve(t, f, on("/a"), on("/b"))
	s.Deploy([]*atom.DeployedProcess{on("/b"), on("/c")})
	for path, status := range map[string]int{"/a": 404, "/b": 200, "/c": 200} {
		if w := send(s, "POST", path, "{}"); w.Code != status {
			t.Errorf("%s: got %d, want Code status", path, w.Code)
		}
	}
}

// Two thousand listeners with captures cost no more than a few.
func BenchmarkFind(b *testing.B) {
	var endpoints []*endpoint
	for i := range 2000 {
		endpoints = append(endpoints,
			&endpoint{listen: on(fmt.Sprintf("/system%d/orders/{id}", i)).Process.Listen}, &endpoint{listen: on(fmt.Sprintf("/system%d/orders", i)).Process.Listen})
	}
	table, _ := newRouteTable(endpoints)
	for _, target := range []string{"/system1999/orders", "/system1999/orders/4711"} {
		u := &url.URL{Path: target}
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p, _ := table.find(u); p == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}
