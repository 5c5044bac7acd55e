package cloud

import (
	"reflect"
	"testing"
)

// What is read anew from a shared store replaces everything.
func TestBecome(t *testing.T) {
	st, next := newState(), newState()
	v := reflect.ValueOf(next).Elem()
	for i := range v.NumField() {
		m := reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Elem()
		value := reflect.Zero(m.Type().Elem())
		m.SetMapIndex(reflect.ValueOf("k"), value)
	}
	st.become(next)
	if !reflect.DeepEqual(st, next) {
		t.Errorf("something is missing:\n%+v\n%+v", st, next)
	}
}

// Every kind of object is found again, to be dropped when another control plane
// has dropped it.
func TestFind(t *testing.T) {
	st := newState()
	for _, o := range kindsKept() {
		if id := reflect.ValueOf(o).Elem().FieldByName("ID"); id.IsValid() {
			id.SetString("1")
		}
		kind, id, _ := o.keptAs()
		st.put(o)
		if found := st.find(kind, id); found != o {
			t.Errorf("%s %q: %v", kind, id, found)
		}
		st.drop(o)
		if found := st.find(kind, id); found != nil {
			t.Errorf("%s %q is there after it was dropped", kind, id)
		}
		if found := st.find(kind, "none"); found != nil {
			t.Errorf("%s: %v", kind, found)
		}
	}
}
