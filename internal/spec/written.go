package spec

import "strings"

// Written returns the value of a field of decoded settings as a line of a file
// would have it, or "" if it has none or cannot be written in one line. A map
// has the text of its short form, and a template with keys the list of them.
func Written(fields []Field, key string, target any) string {
	for _, f := range fields {
		if f.Info().Key == key {
			return f.written(target)
		}
	}
	return ""
}

func (l *later) written(any) string { return "" }

func (f *ObjectList[T, V]) written(any) string { return "" }

func (f *Value[T, V]) written(target any) string {
	if f.codec.format == nil {
		return ""
	}
	return f.codec.format(*f.ptr(target.(*T)))
}

func (f *Nested[T, V]) written(target any) string {
	v := f.at(target.(*T))
	if f.info.Short == "" || v == nil {
		return ""
	}
	return Written(f.info.Fields, f.info.Short, v)
}

func (f *Compiled[T, V]) written(target any) string {
	v := any(*f.ptr(target.(*T)))
	text, ok := v.(interface{ Source() string })
	if !ok || v == any(*new(V)) {
		return ""
	}
	if s := text.Source(); s != "" {
		return s
	}
	if k, ok := v.(interface{ Keys() []string }); ok {
		return strings.Join(k.Keys(), ", ")
	}
	return ""
}
