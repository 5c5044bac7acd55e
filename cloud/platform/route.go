package platform

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"valence/cloud"
	"valence/cloud/platform/codec"
)

// endpoint is one method of one path.
type endpoint struct {
	method      string
	path        []string // after the account; "{id}" matches any part
	doc         string
	action      cloud.Action // required permission
	object      string       // object it belongs to, for the description
	verb        verb         // of an object
	more        bool         // the body is a token
	raw         bool         // run reads the body itself
	large       bool         // the body may contain a document
	status      int          // of a success; 0 is 200
	schema      string       // of the body, for the description
	answer      string       // likewise
	unavailable string       // reason for responding with 501
	run         func(c *call, id string) (*codec.Object, error)
}

// name returns the endpoint's name in messages and in the description.
func (e endpoint) name() string { return e.method + " " + strings.Join(e.path, "/") }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// endpoints returns every endpoint. Literal paths precede placeholders of the
// same length.
func endpoints() []endpoint {
	all := actions()
	for _, r := range objects() {
		all = append(all, endpointsOf(r)...)
	}
	slices.SortStableFunc(all, func(a, b endpoint) int { return placeholders(a) - placeholders(b) })
	return all
}

func placeholders(e endpoint) int {
	n := 0
	for _, p := range e.path {
		if p == "{id}" {
			n++
		}
	}
	return n
}

// endpointsOf returns the endpoints of one object: one for each verb with a
// rule.
func endpointsOf(r resource) []endpoint {
	d := r.describe()
	var all []endpoint
	add := func(v verb, method, doc string, path ...string) {
		action, ok := d.Rules[v]
		if !ok {
			return
		}
		all = append(all, endpoint{
			method: method, path: append([]string{d.Name}, path...), doc: doc, action: action, object: d.Name, verb: v,
			more: len(path) > 0 && path[len(path)-1] == "queryMore", unavailable: d.Unavailable,
			run: func(c *call, id string) (*codec.Object, error) { return r.serve(c, v, id) },
		})
	}
	add(verbCreate, http.MethodPost, "Creates an object.")
	add(verbGet, http.MethodGet, "Returns an object.", "{id}")
	add(verbUpdate, http.MethodPost, "Updates an object.", "{id}")
	add(verbUpdate, http.MethodPost, "Updates an object.", "{id}", "update")
	add(verbDelete, http.MethodDelete, "Deletes an object.", "{id}")
	add(verbBulk, http.MethodPost, "Returns up to a hundred objects by id.", "bulk")
	add(verbQuery, http.MethodPost, "Returns the objects that match a filter, a hundred at a time.", "query")
	add(verbQuery, http.MethodPost, "Returns the next hundred.", "queryMore")
	return all
}

// find returns the endpoint of a path and the id in it.
func (a *api) find(method string, parts []string) (endpoint, string, error) {
	if method == http.MethodHead { // the server omits the body
		method = http.MethodGet
	}
	var allowed []string
	loose := 0 // placeholders of the first match: a literal is never taken for an id
	for _, e := range a.endpoints {
		id, ok := match(e.path, parts)
		if !ok || len(allowed) > 0 && placeholders(e) > loose {
			continue
		}
		loose = placeholders(e)
		if e.method == method {
			return e, id, nil
		}
		if !slices.Contains(allowed, e.method) {
			allowed = append(allowed, e.method)
		}
	}
	if len(allowed) > 0 {
		return endpoint{}, "", refuse(http.StatusMethodNotAllowed, "%s supports %s, got %s", strings.Join(parts, "/"), list(allowed), method)
	}
	if len(parts) == 1 && method == http.MethodPost {
		for _, r := range objects() {
			if d := r.describe(); strings.EqualFold(d.Name, parts[0]) {
				return endpoint{}, "", refuse(http.StatusMethodNotAllowed, "%s cannot be created here; its operations are %s", d.Name, list(verbsOf(d)))
			}
		}
	}
	return endpoint{}, "", refuse(http.StatusNotFound, "no such endpoint: %s; %sopenapi.json lists all endpoints", strings.Join(parts, "/"), Root)
}

// verbsOf lists the verbs of an object.
func verbsOf(d description) []string {
	var all []string
	for _, v := range []verb{verbGet, verbBulk, verbQuery, verbCreate, verbUpdate, verbDelete} {
		if _, ok := d.Rules[v]; ok {
			all = append(all, string(v))
		}
	}
	return all
}

// match compares a path with its parts, ignoring case: clients write
// changeListenerStatus in both ways.
func match(path, parts []string) (id string, ok bool) {
	if len(path) != len(parts) {
		return "", false
	}
	for i, p := range path {
		if p != "{id}" {
			if !strings.EqualFold(p, parts[i]) {
				return "", false
			}
			continue
		}
		var err error
		if id, err = url.PathUnescape(parts[i]); err != nil {
			return "", false
		}
	}
	return id, true
}

func oneOf(values []string, s string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, s) })
}

func list(values []string) string { return strings.Join(values, ", ") }
