package lsp

import (
	"regexp"
	"strings"

	"valence/internal/spec"
	"valence/processes/language"
)

// topKey matches a key of the outermost map of a document, with its value.
var topKey = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?$`)

// componentsIn returns the kinds of the components in a YAML file. Other programs
// have keys such as `project:` and `environment:` too: a document is a component
// if its first key is a kind with a name, and it has another key of that kind or
// no other key.
func componentsIn(content string) (kinds []string) {
	var keys []string
	named := false
	end := func() {
		if len(keys) > 0 && named && isComponent(keys[0], keys[1:]) {
			kinds = append(kinds, keys[0])
		}
		keys = nil
	}
	for line := range strings.Lines(content) {
		line = strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), " \t\r\n")
		if line == "---" || strings.HasPrefix(line, "--- ") || line == "..." {
			end()
			continue
		}
		m := topKey.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if len(keys) == 0 {
			value := strings.TrimSpace(m[2])
			named = !strings.ContainsAny(value[:min(1, len(value))], "{[|>&*!")
		}
		keys = append(keys, m[1])
	}
	end()
	return kinds
}

// isComponent reports whether the keys after the first one are those of a kind.
// A mistyped key counts.
func isComponent(kind string, others []string) bool {
	k := language.Kinds[kind]
	if k == nil || k.Later {
		return false
	}
	if len(others) == 0 {
		return true
	}
	var known []string
	for _, f := range k.Fields {
		if key := f.Info().Key; key != kind && key != "description" {
			known = append(known, key)
		}
	}
	for _, key := range others {
		if spec.Find(k.Fields, key) != nil && key != kind && key != "description" || spec.Nearest(key, known) != "" {
			return true
		}
	}
	return false
}
