package testrun

import (
	"strconv"

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// difference is a field whose value is not the expected one.
type difference struct {
	path      []string // of the field in the document
	want, got any
}

// compare returns the fields of got that differ from want. Members of objects
// that want does not have may be anything, unless exactly is set; a member that
// is nil may be missing.
func compare(want, got any, exactly bool) []difference {
	var found []difference
	walk(nil, document.Decode(want), document.Decode(got), exactly, func(d difference) { found = append(found, d) })
	return found
}

func walk(path []string, want, got any, exactly bool, report func(difference)) {
	at := func(key string) []string { return append(path[:len(path):len(path)], key) }
	switch w := want.(type) {
	case *document.Object:
		g, ok := got.(*document.Object)
		if !ok {
			report(difference{path, want, got})
			return
		}
		for i := range w.Len() {
			key, v := w.At(i)
			other, _ := g.Get(key)
			walk(at(key), document.Decode(v), document.Decode(other), exactly, report)
		}
		for i := 0; exactly && i < g.Len(); i++ {
			if key, v := g.At(i); v != nil {
				if _, expected := w.Get(key); !expected {
					report(difference{at(key), nil, v})
				}
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			report(difference{path, want, got})
			return
		}
		for i := range max(len(w), len(g)) {
			switch index := at(strconv.Itoa(i)); {
			case i >= len(w):
				report(difference{index, nil, g[i]})
			case i >= len(g):
				report(difference{index, w[i], nil})
			default:
				walk(index, document.Decode(w[i]), document.Decode(g[i]), exactly, report)
			}
		}
	default:
		if !equal(want, got) {
			report(difference{path, want, got})
		}
	}
}

// equal compares scalars, and numbers by their value.
func equal(want, got any) bool {
	w, isNumber := want.(document.Number)
	g, alsoNumber := got.(document.Number)
	if !isNumber || !alsoNumber {
		switch got.(type) {
		case *document.Object, []any:
			return false
		}
		return want == got
	}
	a, errA := exact.Parse(string(w))
	b, errB := exact.Parse(string(g))
	return errA == nil && errB == nil && exact.Compare(a, b) == 0
}

// fieldName returns a path as people write it: body.lines[0].sku.
func fieldName(root string, path []string) string {
	for _, key := range path {
		if _, err := strconv.Atoi(key); err == nil {
			root += "[" + key + "]"
		} else {
			root += "." + key
		}
	}
	return root
}
