package spec

// ObjectList declares a list of maps with settings, each a V of struct T.
type ObjectList[T, V any] struct {
	info Info
	ptr  func(*T) *[]V
}

// Objects declares a list of maps. Without the key it is empty.
func Objects[T, V any](key string, ptr func(*T) *[]V, doc string, fields ...Field) *ObjectList[T, V] {
	return &ObjectList[T, V]{info: Info{Key: key, Kind: KindObjects, Doc: doc, Fields: fields}, ptr: ptr}
}

// Required makes a missing key an error.
func (f *ObjectList[T, V]) Required() *ObjectList[T, V] { f.info.Required = true; return f }

// Info describes the field.
func (f *ObjectList[T, V]) Info() *Info { return &f.info }

func (f *ObjectList[T, V]) empty() bool { return false }

func (f *ObjectList[T, V]) reset(*Decoder, any) {}

func (f *ObjectList[T, V]) decode(d *Decoder, target any, n node) {
	if n.y != nil && d.Dynamic && IsDynamic(n.y) {
		return
	}
	if n.shape() != ListShape {
		d.wrongType(n, &f.info)
		return
	}
	list := make([]V, n.len())
	d.within = append(d.within, f.info.Key)
	for i := range list {
		e := n.item(i)
		if e.y != nil && d.Dynamic && IsDynamic(e.y) {
			continue
		}
		d.mapping(e, &Keys{What: "an element of `" + f.info.Key + ":`", Fields: f.info.Fields, Target: &list[i]})
	}
	d.within = d.within[:len(d.within)-1]
	*f.ptr(target.(*T)) = list
}
