package xsd

import "slices"

// Member is an attribute or an element that the content of an element may have.
type Member struct {
	Name     string // of an attribute with its @
	Type     string // for people
	Required bool
}

// Members returns the attributes and the elements of the element at a path of
// local names, in the order of the schema. It is empty if the path leads to text,
// or nowhere.
func (e *Element) Members(path []string) (all []Member) {
	t := e.Type
	for _, name := range path {
		f := t.fields.key(name)
		if f == nil {
			return nil
		}
		t = f.element.Type
	}
	if t.Any || t.Scalar() {
		return nil
	}
	if t.Abstract {
		all = append(all, Member{"@type", "text", true})
	}
	for _, a := range t.Attributes {
		all = append(all, Member{"@" + a.Name.Local, a.Type.noun(), a.Required})
	}
	if t.Simple != nil {
		all = append(all, Member{"#text", t.Simple.noun(), true})
	}
	for _, key := range t.fields.names() {
		f := t.fields.key(key)
		m := Member{key, f.element.Type.noun(), f.required}
		if f.list {
			m.Type = "a list"
		}
		all = append(all, m)
	}
	return slices.Clip(all)
}
