package steps

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// oneFile is a store with one content.
type oneFile string

func (oneFile) PutFile(context.Context, io.Reader) (string, int64, error) {
	return blob.NewName([16]byte{1}, [32]byte{1}), blob.Threshold + 1, nil
}
func (c oneFile) OpenFile(string) (io.ReadCloser, int64, error) {
	return io.NopCloser(strings.NewReader(string(c))), int64(len(c)), nil
}
func (oneFile) ReleaseFiles([]string) {}

// TestSettingsWithStoredFiles calls operations with a large file in `with:`.
func TestSettingsWithStoredFiles(t *testing.T) {
	type with struct{ Value any }
	fields := []spec.Field{spec.Any("value", func(w *with) *any { return &w.Value }, "A file.")}
	ctx := blob.Into(t.Context(), oneFile("content"))
	name := blob.NewName([16]byte{1}, [32]byte{1})
	file := `{"filename":"a.txt","type":"text/plain","size":7,"raw":"` + name + `","encoding":"valence-text-blob"}`
	for what, c := range map[string]struct {
		value  string
		stream bool
		want   string
		code   string
	}{
		"a file":                    {value: `[{"name":"a","raw":` + file + `}]`, want: `[{"name":"a","raw":{"filename":"a.txt","type":"text/plain","raw":"content"}}]`},
		"an operation that streams": {value: file, stream: true, want: file},
		"no file":                   {value: `{"a":[1]}`, want: `{"a":[1]}`},
		"a file with another key":   {value: `{"note":1,` + file[1:], code: fault.CodeConvert},
	} {
		op := connectors.Operation{Name: "send", With: fields, NewWith: func() any { return &with{} }, Files: c.stream}
		settings := &document.Object{}
		settings.Set("value", document.Parse(c.value))
		before := document.AppendJSON(nil, settings)
		call := &Call{Operation: processes.Operation{Operation: &op}, Settings: settings}
		if err := call.Decode(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		loaded, err := call.Loaded(ctx)
		if c.code != "" {
			if f := fault.AsFailure(err); f == nil || f.Code != c.code {
				t.Errorf("%s: got %v, want %s", what, err, c.code)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := string(document.AppendJSON(nil, loaded.(*with).Value)); got != c.want {
			t.Errorf("%s: got %s, want %s", what, got, c.want)
		}
		if after := document.AppendJSON(nil, call.Settings); !bytes.Equal(after, before) {
			t.Errorf("%s: got settings %s, want them unchanged", what, after)
		}
	}
}
