package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// memory is a store in memory.
type memory struct {
	contents map[string][]byte
	released []string
	full     bool
}

func (m *memory) PutFile(_ context.Context, r io.Reader) (string, int64, error) {
	b, err := io.ReadAll(r)
	switch {
	case err != nil:
		return "", 0, &blob.ReadError{Err: err}
	case m.full:
		return "", 0, blob.ErrFull
	}
	name := blob.NewName([16]byte{byte(len(m.contents))}, sha256.Sum256(b))
	m.contents[name] = b
	return name, int64(len(b)), nil
}

func (m *memory) OpenFile(name string) (io.ReadCloser, int64, error) {
	b, ok := m.contents[name]
	if !ok {
		return nil, 0, blob.ErrLost
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (m *memory) ReleaseFiles(names []string) { m.released = append(m.released, names...) }

func newMemory() (*memory, context.Context, func()) {
	m := &memory{contents: map[string][]byte{}}
	ctx, end := blob.Begin(blob.Into(context.Background(), m))
	return m, ctx, end
}

// TestOnlyLargeContentIsStored reads content of different sizes.
func TestOnlyLargeContentIsStored(t *testing.T) {
	const limit = 4 << 20
	for _, c := range []struct {
		size   int
		stored bool
	}{{0, false}, {blob.Threshold, false}, {blob.Threshold + 1, true}, {limit, true}, {limit + 1, true}, {limit + 9, true}} {
		m, ctx, end := newMemory()
		got, err := blob.Read(ctx, iotest.OneByteReader(bytes.NewReader(make([]byte, 0))), limit)
		if err != nil || got.Size != 0 {
			t.Fatalf("got %v, %v, want nothing", got, err)
		}
		got, err = blob.Read(ctx, bytes.NewReader(make([]byte, c.size)), limit)
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(min(c.size, limit+1)); got.Size != want || (got.Name != "") != c.stored || !c.stored && int64(len(got.Bytes)) != want {
			t.Errorf("%d bytes: got %d, stored %v, want %d, stored %v", c.size, got.Size, got.Name != "", want, c.stored)
		}
		end()
		if (len(m.released) == 1) != c.stored {
			t.Errorf("%d bytes: got %q released, stored %v", c.size, m.released, c.stored)
		}
		if got, err = blob.Read(context.Background(), bytes.NewReader(make([]byte, c.size)), limit); err != nil || got.Name != "" {
			t.Errorf("%d bytes without a store: got %v, %v, want them in memory", c.size, got.Name, err)
		}
	}
}

// TestReadErrors distinguishes the source from the store.
func TestReadErrors(t *testing.T) {
	m, ctx, _ := newMemory()
	gone := errors.New("gone")
	large := bytes.NewReader(make([]byte, 2<<20))
	if _, err := blob.Read(ctx, io.MultiReader(large, iotest.ErrReader(gone)), 1<<30); err != gone {
		t.Errorf("got %v, want the error of the source", err)
	}
	m.full = true
	_, err := blob.Read(ctx, bytes.NewReader(make([]byte, 2<<20)), 1<<30)
	if f := fault.AsFailure(err); f.Code != fault.CodeUnavailable || !f.Retryable || !strings.Contains(f.Message, "nearly full") {
		t.Errorf("got %v, want a retryable failure that says that the disk is full", err)
	}
}

// TestTextIsRecognized reads characters across the boundaries of reads.
func TestTextIsRecognized(t *testing.T) {
	text := strings.Repeat("aä€😀", 150_000)
	for what, c := range map[string]struct {
		content string
		text    bool
	}{"text": {text, true}, "cut": {text[:len(text)-1], false}, "bytes": {text + "\xff" + text, false}} {
		_, ctx, _ := newMemory()
		for _, r := range []io.Reader{strings.NewReader(c.content), iotest.OneByteReader(strings.NewReader(c.content))} {
			got, err := blob.Read(ctx, r, 1<<30)
			if err != nil || got.Text != c.text {
				t.Errorf("%s: got text %v, %v, want %v", what, got.Text, err, c.text)
			}
		}
	}
}

// reference stores content and returns a document that refers to it.
func reference(t *testing.T, ctx context.Context, content []byte) *document.Document {
	t.Helper()
	c, err := blob.Read(ctx, bytes.NewReader(content), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return document.FromValue(c.Reference("a.bin", "image/png"))
}

// TestReferencesReadAsFiles reads references as streams and as inline files.
func TestReferencesReadAsFiles(t *testing.T) {
	_, ctx, _ := newMemory()
	content := bytes.Repeat([]byte{0xff}, 2<<20)
	d := reference(t, ctx, content)
	if !blob.IsReference(d) || !blob.Has(d) || blob.Size(d) != 2<<20 {
		t.Fatalf("got %s, want a reference to 2 MiB", d.Data())
	}
	f, err := blob.Body(ctx, d)
	if err != nil || !f.Stored() || f.MediaType != "image/png" || f.Filename != "a.bin" {
		t.Fatalf("got %+v, %v, want a stored image", f, err)
	}
	if b, err := f.Bytes(2 << 20); err != nil || !bytes.Equal(b, content) {
		t.Errorf("got %d bytes, %v, want the content", len(b), err)
	}
	if _, err := f.Bytes(2<<20 - 1); fault.AsFailure(err).Code != fault.CodeTooLarge {
		t.Errorf("got %v, want too_large", err)
	}
	inline, err := blob.Inline(ctx, document.FromJSON([]byte(`{"n": 1, "list": [`+d.Data()+`, 2]}`)))
	if err != nil || blob.Has(inline) {
		t.Fatalf("got %v, %v, want a document with the content", blob.Has(inline), err)
	}
	list, _ := document.Key(inline.Value(), "list")
	items, _ := document.Decode(list).([]any)
	got, mediaType, is, err := document.File(items[0])
	if err != nil || !is || mediaType != "image/png" || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes of %s, %v, want the content", len(got), mediaType, err)
	}
}

// TestBadReferences are errors, and never files of the machine.
func TestBadReferences(t *testing.T) {
	_, ctx, _ := newMemory()
	lost := blob.NewName([16]byte{9}, [32]byte{9})
	for text, code := range map[string]string{
		`{"filename":"a","raw":"/etc/passwd","encoding":"valence-blob"}`:  fault.CodeConvert,
		`{"note":1,"raw":"` + lost + `","encoding":"valence-blob"}`:       fault.CodeConvert,
		`{"filename":"a","raw":1,"encoding":"valence-blob"}`:              fault.CodeConvert,
		`{"filename":"a","encoding":"valence-text-blob"}`:                 fault.CodeConvert,
		`{"filename":"a","raw":"` + lost + `","encoding":"valence-blob"}`: fault.CodeDocumentLost,
	} {
		f, err := blob.Body(ctx, document.FromJSON([]byte(text)))
		if err == nil {
			_, err = f.Open()
		}
		if f := fault.AsFailure(err); f == nil || f.Code != code {
			t.Errorf("%s: got %v, want %s", text, err, code)
		}
	}
}

// TestNames finds the names in a text.
func TestNames(t *testing.T) {
	a, b := blob.NewName([16]byte{1}, [32]byte{2}), blob.NewName([16]byte{3}, [32]byte{4})
	text := "vblob-" + a + `","x":"` + b + "0 " + strings.ToUpper(a) + " " + a[:len(a)-1] + " vblob-"
	if got := strings.Join(blob.Names(nil, []byte(text)), " "); got != a+" "+b {
		t.Errorf("got %s, want %s %s", got, a, b)
	}
}

// TestStable compares texts that refer to the same content under other names.
func TestStable(t *testing.T) {
	sum := [32]byte{7}
	a, b, other := blob.NewName([16]byte{1}, sum), blob.NewName([16]byte{2}, sum), blob.NewName([16]byte{1}, [32]byte{8})
	text := func(name string) []byte { return []byte(`{"a":"` + name + `","b":["` + name + `"],"c":1}`) }
	want := string(text(blob.Sum(a)))
	for _, name := range []string{a, b} {
		if got := string(blob.Stable(text(name))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := string(blob.Stable(text(other))); got == want {
		t.Error("got the same text for other content")
	}
	if got := string(blob.Stable([]byte(`{"a":"vblob-1"}`))); got != `{"a":"vblob-1"}` {
		t.Errorf("got %s, want the text unchanged", got)
	}
}
