package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"valence/processes"
)

// Limits of the parts of a report that leaves the atom.
const (
	maxExample = 2 << 10 // bytes of one value of an example
	maxItems   = 50      // of a list in an example
	maxReasons = 20      // why executions were not replayed
	maxFields  = 5       // names of changed fields
)

// Shorten masks the examples and the reasons, and bounds their size.
func (r *Report) Shorten(mask func(string) string) {
	for _, g := range r.Changes {
		g.Example.Was, g.Example.Now = shorten(g.Example.Was, mask), shorten(g.Example.Now, mask)
	}
	if len(r.Skipped) > maxReasons {
		others := &Group{Kind: "other reasons", Example: r.Skipped[maxReasons].Example}
		for _, g := range r.Skipped[maxReasons:] {
			others.Count += g.Count
		}
		r.Skipped = append(r.Skipped[:maxReasons:maxReasons], others)
	}
	for _, g := range r.Skipped {
		g.Kind = cut(mask(g.Kind), maxExample)
	}
}

// DropExamples removes the values of the examples.
func (r *Report) DropExamples() {
	for _, g := range r.Changes {
		g.Example.Was, g.Example.Now = nil, nil
	}
}

func shorten(v any, mask func(string) string) any {
	switch v := v.(type) {
	case string:
		return cut(mask(v), maxExample)
	case []string:
		short := make([]string, 0, min(len(v), maxItems)+1)
		for _, s := range v[:min(len(v), maxItems)] {
			short = append(short, cut(mask(s), maxExample))
		}
		if len(v) > maxItems {
			short = append(short, fmt.Sprintf("and %d more", len(v)-maxItems))
		}
		return short
	}
	return v
}

// cut returns the first bytes of a text, without a part of a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// WithholdDocuments replaces the documents in the examples by the names of the
// fields that changed. A name that the files of the new version do not have is
// withheld too, because it may be data.
func (r *Report) WithholdDocuments(files []processes.File) {
	known := func(name string) bool {
		return slices.ContainsFunc(files, func(f processes.File) bool { return strings.Contains(string(f.Content), name) })
	}
	for _, g := range r.Changes {
		was, isText := g.Example.Was.(string)
		now, alsoText := g.Example.Now.(string)
		if !isText || !alsoText {
			continue
		}
		var step string
		switch g.Kind {
		case Documents:
			var ok bool
			if step, was, ok = strings.Cut(was, ": "); !ok {
				was = ""
			}
			step += ": "
			if _, now, ok = strings.Cut(now, ": "); !ok {
				now = ""
			}
		case Reply:
		default:
			continue
		}
		g.Example.Was, g.Example.Now = step+kept(was), step+outline(was, now, known)
	}
}

// kept stands for a document; one that was not made has no content to withhold.
func kept(text string) string {
	if text == none || text == "" {
		return text
	}
	return "(stays on the atom)"
}

// outline describes how a document changed, without its values.
func outline(was, now string, known func(string) bool) string {
	a, isJSON := decode(was)
	b, alsoJSON := decode(now)
	if !isJSON || !alsoJSON {
		return kept(now)
	}
	var fields []string
	differences("", a, b, known, func(field string) bool {
		if !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
		return len(fields) <= maxFields
	})
	if len(fields) > maxFields {
		fields[maxFields] = "…"
	}
	return "changed " + strings.Join(fields, ", ") + " (the values stay on the atom)"
}

// differences calls field with the name of every field that differs, until that
// returns false.
func differences(at string, a, b any, known func(string) bool, field func(string) bool) bool {
	x, isObject := a.(map[string]any)
	y, alsoObject := b.(map[string]any)
	if isObject && alsoObject {
		names := slices.Collect(maps.Keys(x))
		for name := range y {
			if _, ok := x[name]; !ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			shown := name
			if !known(name) {
				shown = "(a field)"
			}
			if !differences(strings.TrimPrefix(at+"."+shown, "."), x[name], y[name], known, field) {
				return false
			}
		}
		return true
	}
	v, isList := a.([]any)
	w, alsoList := b.([]any)
	if isList && alsoList && len(v) == len(w) {
		for i := range v {
			if !differences(at+"[]", v[i], w[i], known, field) {
				return false
			}
		}
		return true
	}
	if same(a, b) {
		return true
	}
	if at == "" {
		at = "the whole document"
	}
	return field(at)
}

func same(a, b any) bool {
	x, err := json.Marshal(a)
	y, errB := json.Marshal(b)
	return err == nil && errB == nil && string(x) == string(y)
}
