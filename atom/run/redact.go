package run

import (
	"strings"

	"valence/internal/document"
)

const redactedText = "[redacted]"

// redacted returns a document without the values at the paths, such as
// card.number. A path applies to every element of a list. Documents without a
// data view are returned unchanged.
func redacted(d *document.Document, paths []string) *document.Document {
	if len(paths) == 0 || d == nil || d.Data() == "" {
		return d
	}
	v, changed := d.Value(), false
	for _, p := range paths {
		var hit bool
		v, hit = redactPath(v, strings.Split(p, "."))
		changed = changed || hit
	}
	if !changed {
		return d
	}
	if d.IsJSON() {
		return document.FromValue(v)
	}
	return document.New([]byte(redactedText), d.MediaType(), string(document.AppendJSON(nil, v)))
}

func redactPath(v any, path []string) (any, bool) {
	switch v := document.Decode(v).(type) {
	case []any:
		hit := false
		for i, e := range v {
			if r, ok := redactPath(e, path); ok {
				v[i], hit = r, true
			}
		}
		return v, hit
	case *document.Object:
		child, ok := v.Get(path[0])
		if !ok {
			return v, false
		}
		if len(path) == 1 {
			v.Set(path[0], redactedText)
			return v, true
		}
		r, hit := redactPath(child, path[1:])
		if hit {
			v.Set(path[0], r)
		}
		return v, hit
	}
	return v, false
}
