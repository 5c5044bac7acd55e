package http

import (
	"strings"

	"valence/internal/document"
)

// keyPath is the place of a value in a document: one key or path of keys with
// dots, or a list of keys. The empty path is the document itself.
type keyPath []string

func (p keyPath) String() string { return strings.Join(p, ".") }

// find returns the value at the path; found is false if a key is missing. why
// says that the path cannot be right: it leads into a value that has no keys, or
// a key is missing that the document has in another spelling.
func (p keyPath) find(v any) (value any, found bool, why string) {
	keys := []string(p)
	if len(p) == 1 {
		if value, found := document.Key(v, p[0]); found {
			return value, true, ""
		}
		keys = strings.Split(p[0], ".")
	}
	for i, key := range keys {
		if v == nil {
			return nil, false, ""
		}
		o, ok := document.Decode(v).(*document.Object)
		if !ok {
			return nil, false, "`" + p.String() + "` cannot be read, because " + before(keys[:i]) + " is " + document.TypeName(v)
		}
		if v, ok = o.Get(key); !ok {
			for _, k := range o.Keys() {
				if strings.EqualFold(k, key) {
					return nil, false, "it has no `" + p.String() + "`; did you mean `" + strings.Join(append(keys[:i:i], k), ".") + "`?"
				}
			}
			return nil, false, ""
		}
	}
	return v, true, ""
}

func before(keys []string) string {
	if len(keys) == 0 {
		return "the response"
	}
	return "`" + strings.Join(keys, ".") + "`"
}
