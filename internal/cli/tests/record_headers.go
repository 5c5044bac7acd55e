package tests

import (
	"bytes"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/processes"
)

// headers returns the headers that the expressions of the project name.
func (d *draft) headers(h http.Header) *yaml.Node {
	n := mapping()
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if credential.MatchString(name) || len(h[name]) == 0 {
			continue
		}
		if namesHeader(d.expressions, name) {
			add(n, name, scalar(d.hide.text(h.Get(name))))
		}
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}

// namesHeader reports whether an expression has the name of a header, also with _
// in place of -: in quotes, or anywhere if it reads headers.
func namesHeader(expressions []string, name string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(name), "-", "[-_]")
	quoted := regexp.MustCompile(`(?i)["']` + pattern + `["']`)
	word := regexp.MustCompile(`(?i)(^|[^a-z0-9_-])` + pattern + `($|[^a-z0-9_-])`)
	return slices.ContainsFunc(expressions, func(e string) bool {
		return quoted.MatchString(e) || strings.Contains(e, "headers") && word.MatchString(e)
	})
}

// expressionsOf returns the expressions in the texts of YAML files, of which
// comments are no part.
func expressionsOf(files []processes.File) []string {
	var list []string
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			list = append(list, expressionsIn(n.Value)...)
		}
		for _, e := range n.Content {
			visit(e)
		}
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name, ".yaml") && !strings.HasSuffix(f.Name, ".yml") {
			continue
		}
		for d := yaml.NewDecoder(bytes.NewReader(f.Content)); ; {
			var n yaml.Node
			if err := d.Decode(&n); err != nil {
				break // the end: the project was loaded
			}
			visit(&n)
		}
	}
	return list
}

// expressionsIn returns the contents of ${…} in a text.
func expressionsIn(s string) []string {
	var list []string
	for {
		_, rest, found := strings.Cut(s, "${")
		if !found {
			return list
		}
		end := endOfExpression(rest)
		list = append(list, rest[:end])
		s = rest[end:]
	}
}

// endOfExpression returns the position of the brace that ends an expression, or
// else of the end of the text.
func endOfExpression(s string) int {
	depth, quoted := 0, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted != 0 && c == '\\':
			i++
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quoted = c
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return len(s)
}
