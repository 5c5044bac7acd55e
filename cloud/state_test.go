package cloud

import (
	"reflect"
	"testing"
)

// A reload replaces everything.
func TestReloadReplacesState(t *testing.T) {
	st, next := newState(), newState()
	v := reflect.ValueOf(next).Elem()
	for i := range v.NumField() {
		m := reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Elem()
		value := reflect.Zero(m.Type().Elem())
		m.SetMapIndex(reflect.ValueOf("k"), value)
	}
	st.replaceWith(next)
	if !reflect.DeepEqual(st, next) {
		t.Errorf("the reloaded state differs:\n%+v\n%+v", st, next)
	}
}

// Every kind of object is found, so that it can be dropped when another control
// plane deletes it.
func TestFindEveryKind(t *testing.T) {
	st := newState()
	for _, o := range emptyObjects() {
		if id := reflect.ValueOf(o).Elem().FieldByName("ID"); id.IsValid() {
			id.SetString("1")
		}
		kind, id, _ := o.storageKey()
		st.put(o)
		if found := st.find(kind, id); found != o {
			t.Errorf("%s %q: got %v, want %v", kind, id, found, o)
		}
		st.drop(o)
		if found := st.find(kind, id); found != nil {
			t.Errorf("%s %q exists after it was dropped", kind, id)
		}
		if found := st.find(kind, "none"); found != nil {
			t.Errorf("%s: got %v, want nil found", kind, found)
		}
	}
}
