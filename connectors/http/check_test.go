package http

import "testing"

func TestPathsThatLintRefuses(t *testing.T) {
	for path, want := range map[string]string{
		"":                        "",
		"/orders/4711":            "",
		"orders?from=../x":        "",
		"/orders/${doc.id}":       "",
		"${doc.path}":             "",
		"/v1.${env.MINOR}/orders": "",
		"/../x":                   "path must not contain . or .. segments",
		"/a/./b":                  "path must not contain . or .. segments",
		"/../x/${doc.id}":         "path must not contain . or .. segments",
		"/a//${doc.id}":           "path has an empty segment (//)",
		"http://other.example/x":  "path has an empty segment (//)",
		"/a#b":                    "path contains a fragment (#…)",
	} {
		got := ""
		for _, g := range checkPath(&with{Path: path}) {
			got = g
		}
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
