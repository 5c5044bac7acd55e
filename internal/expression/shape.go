package expression

import (
	"strconv"

	"valence/internal/fault"
)

// Shape is the part of a template's JSON text that is certain before it is
// evaluated.
type Shape struct {
	Type   Type
	Fixed  []byte  // the text of a scalar, if it never varies
	Fields []Field // of an object
	Open   bool    // an object may have further fields
	Item   *Shape  // of each element of a list; nil: nothing is known
	// Items are the elements of a list as they are written. Counted says that
	// the list has exactly these.
	Items   []*Shape
	Counted bool
	Pos     fault.Pos // of the value in its file
}

// Field is one field of an object whose name is known.
type Field struct {
	Name     string
	Pos      fault.Pos // of the key in its file
	Optional bool      // may be missing
	Value    *Shape
}

// objectShape returns the shape of a mapping.
func objectShape(fields []field) *Shape {
	s := &Shape{Type: TypeObject, Fields: make([]Field, len(fields))}
	for i, f := range fields {
		s.Fields[i] = Field{Name: f.name, Pos: f.pos, Optional: f.value.omits, Value: f.value.shape}
	}
	return s
}

// listShape returns the shape of a sequence.
func listShape(items []*writer) *Shape {
	s := &Shape{Type: TypeList, Counted: true}
	for _, w := range items {
		if w.spreads || w.omits {
			s.Counted = false
		}
		shape := w.shape
		if w.spreads && shape != nil {
			shape = shape.Item
		}
		if shape != nil {
			s.Items = append(s.Items, shape)
		}
	}
	return s
}

// At returns the shape at a path of field names and list indexes, or the deepest
// known one on it.
func (s *Shape) At(path []string) *Shape {
	for _, step := range path {
		next := s.below(step)
		if next == nil {
			break
		}
		s = next
	}
	return s
}

func (s *Shape) below(step string) *Shape {
	for i := range s.Fields {
		if s.Fields[i].Name == step {
			return s.Fields[i].Value
		}
	}
	if i, err := strconv.Atoi(step); err == nil && s.Counted && i >= 0 && i < len(s.Items) {
		return s.Items[i]
	}
	return nil
}
