package spec

import "gopkg.in/yaml.v3"

// Nested declares a map with settings, a V of struct T.
type Nested[T, V any] struct {
	info Info
	to   func(*T) *V        // allocates it if necessary
	at   func(*T) *V        // returns nil if there is none
	none func(*T, *Decoder) // applied if the key is missing
}

// Object declares a nested map. Without the key its fields have their defaults.
func Object[T, V any](key string, ptr func(*T) *V, doc string, fields ...Field) *Nested[T, V] {
	return &Nested[T, V]{
		info: Info{Key: key, Kind: KindObject, Doc: doc, Fields: fields},
		to:   ptr,
		at:   ptr,
		none: func(t *T, d *Decoder) {
			for _, f := range fields {
				f.reset(d, ptr(t))
			}
		},
	}
}

// Optional declares a nested map that is nil without the key.
func Optional[T, V any](key string, ptr func(*T) **V, doc string, fields ...Field) *Nested[T, V] {
	return &Nested[T, V]{
		info: Info{Key: key, Kind: KindObject, Doc: doc, Fields: fields},
		to:   func(t *T) *V { v := new(V); *ptr(t) = v; return v },
		at:   func(t *T) *V { return *ptr(t) },
		none: func(*T, *Decoder) {},
	}
}

// Short allows a value that is not a map as a short form of the map with only this key.
func (f *Nested[T, V]) Short(key string) *Nested[T, V] { f.info.Short = key; return f }

// Eg sets the example value for messages.
func (f *Nested[T, V]) Eg(yaml string) *Nested[T, V] { f.info.Sample = yaml; return f }

// Required makes a missing key an error.
func (f *Nested[T, V]) Required() *Nested[T, V] { f.info.Required = true; return f }

// Info describes the field.
func (f *Nested[T, V]) Info() *Info { return &f.info }

func (f *Nested[T, V]) empty() bool { return false }

func (f *Nested[T, V]) reset(d *Decoder, target any) { f.none(target.(*T), d) }

func (f *Nested[T, V]) decode(d *Decoder, target any, n node) {
	if n.y != nil && d.Dynamic && IsDynamic(n.y) {
		return
	}
	if n.shape() != MapShape {
		if f.info.Short == "" {
			d.wrongType(n, &f.info)
			return
		}
		d.short, d.shortKey = n.y, f.info.Key
		n = short(f.info.Short, n)
	}
	d.within = append(d.within, f.info.Key)
	d.mapping(n, &Keys{What: "`" + f.info.Key + ":`", Fields: f.info.Fields, Target: f.to(target.(*T))})
	d.within = d.within[:len(d.within)-1]
}

// short returns the map for which a value is the short form.
func short(key string, n node) node {
	if n.y == nil {
		return node{v: single{key, n.v}}
	}
	k := &yaml.Node{Kind: yaml.ScalarNode, Value: key, Line: n.y.Line, Column: n.y.Column}
	return node{y: &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{k, n.y}, Line: n.y.Line, Column: n.y.Column}}
}

// single is an object with one key.
type single struct {
	key   string
	value any
}

func (s single) Len() int             { return 1 }
func (s single) At(int) (string, any) { return s.key, s.value }
func (s single) Get(key string) (any, bool) {
	if key == s.key {
		return s.value, true
	}
	return nil, false
}
