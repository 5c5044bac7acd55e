package expression

// Shape is the part of a template's JSON text that is certain before it is
// evaluated.
type Shape struct {
	Type   Type
	Fixed  []byte  // the text of a scalar, if it never varies
	Fields []Field // of an object
	Open   bool    // an object may have further fields
	Item   *Shape  // of each element of a list; nil: nothing is known
}

// Field is one field of an object whose name is known.
type Field struct {
	Name     string
	Optional bool // may be missing
	Value    *Shape
}

// objectShape returns the shape of a mapping.
func objectShape(fields []field) *Shape {
	s := &Shape{Type: TypeObject, Fields: make([]Field, len(fields))}
	for i, f := range fields {
		s.Fields[i] = Field{Name: f.name, Optional: f.value.omits, Value: f.value.shape}
	}
	return s
}
