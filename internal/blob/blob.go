// Package blob stores the content of large files outside documents. A document
// holds a reference: a file object whose encoding is one of this package. The
// content is a file in the data folder, which connectors read and write as a
// stream.
//
// Content that is put under a context belongs to the scope of that context. It
// is deleted when the scope ends, unless the store holds an execution that
// refers to it.
package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"valence/internal/document"
	"valence/internal/fault"
)

// Threshold is the size up to which content stays in its document.
const Threshold = 1 << 20

// MaxInline is the size of stored content that is read into memory for work that
// cannot stream it.
const MaxInline = 64 << 20

// The values of `encoding` in a reference. Text is UTF-8.
const (
	EncodingBinary = "valence-blob"
	EncodingText   = "valence-text-blob"
)

// ErrFull is returned by Store.PutFile if the disk is nearly full.
var ErrFull = errors.New("the disk is nearly full")

// ErrLost is returned if content is missing or damaged.
var ErrLost = errors.New("the content is missing or damaged")

// Store holds contents. Its methods are safe for concurrent use.
type Store interface {
	// PutFile stores everything that r returns, and its name when it is on disk.
	// After an error nothing is left. An error of r is wrapped in a ReadError.
	// The content is kept until ReleaseFiles.
	PutFile(ctx context.Context, r io.Reader) (name string, size int64, err error)
	// OpenFile returns content and its size. The reader fails with ErrLost instead of
	// returning the last bytes if the content is damaged.
	OpenFile(name string) (r io.ReadCloser, size int64, err error)
	// ReleaseFiles deletes contents to which no execution refers.
	ReleaseFiles(names []string)
}

// ReadError is an error of the reader that PutFile was called with.
type ReadError struct{ Err error }

// Error returns the message.
func (e *ReadError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the reader.
func (e *ReadError) Unwrap() error { return e.Err }

// Scope is a piece of work, such as a run of an execution, that puts contents.
type Scope struct {
	store Store
	open  bool // contents can be put

	mu    sync.Mutex
	names []string
}

type contextKey struct{}

// Into returns a context with a store, in which Begin opens scopes. A nil store
// leaves all content in documents.
func Into(ctx context.Context, s Store) context.Context {
	if s == nil || from(ctx) != nil {
		return ctx
	}
	return context.WithValue(ctx, contextKey{}, &Scope{store: s})
}

// Begin returns a context with a new scope, and the function that ends it.
func Begin(ctx context.Context) (context.Context, func()) {
	outer := from(ctx)
	if outer == nil {
		return ctx, func() {}
	}
	s := &Scope{store: outer.store, open: true}
	return context.WithValue(ctx, contextKey{}, s), s.end
}

// Ensure returns a context with a scope: the one of ctx, or a new one in the
// store. The function ends a new one.
func Ensure(ctx context.Context, store Store) (context.Context, func()) {
	if s := from(ctx); s != nil && s.open {
		return ctx, func() {}
	}
	return Begin(Into(ctx, store))
}

// Open reports whether ctx has a scope, in which Read stores large content.
func Open(ctx context.Context) bool {
	s := from(ctx)
	return s != nil && s.open
}

func (s *Scope) end() {
	s.mu.Lock()
	names := s.names
	s.names = nil
	s.mu.Unlock()
	if len(names) > 0 {
		s.store.ReleaseFiles(names)
	}
}

func from(ctx context.Context) *Scope {
	if ctx == nil {
		return nil
	}
	s, _ := ctx.Value(contextKey{}).(*Scope)
	return s
}

// Content is received content: in memory, or stored.
type Content struct {
	Bytes []byte // if Name is empty
	Name  string
	Size  int64
	Text  bool // stored content that is UTF-8
}

// Read reads content. If it is larger than Threshold and ctx has a scope, it is
// stored. Read fails with a *fault.Failure if it cannot be stored, and with the
// error of r. It returns no more than limit+1 bytes of longer content.
func Read(ctx context.Context, r io.Reader, limit int64) (*Content, error) {
	s := from(ctx)
	most := limit + 1
	if s == nil || !s.open {
		b, err := io.ReadAll(io.LimitReader(r, most))
		return &Content{Bytes: b, Size: int64(len(b))}, err
	}
	b, err := io.ReadAll(io.LimitReader(r, min(Threshold+1, most)))
	if err != nil || len(b) <= Threshold || int64(len(b)) == most {
		return &Content{Bytes: b, Size: int64(len(b))}, err
	}
	text := &textCheck{valid: true}
	name, size, err := s.store.PutFile(ctx, io.TeeReader(io.LimitReader(io.MultiReader(bytes.NewReader(b), r), most), text))
	var read *ReadError
	switch {
	case errors.As(err, &read):
		return nil, read.Err
	case errors.Is(err, ErrFull):
		return nil, &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromAtom, Retryable: true, Cause: err, Message: "cannot store the file: the disk of the atom is nearly full"}
	case err != nil:
		return nil, &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromAtom, Retryable: true, Cause: err, Message: "cannot store the file: " + err.Error()}
	}
	s.mu.Lock()
	s.names = append(s.names, name)
	s.mu.Unlock()
	return &Content{Name: name, Size: size, Text: text.end()}, nil
}

// Reference returns the file object for stored content.
func (c *Content) Reference(filename, mediaType string) *document.Object {
	o := &document.Object{}
	if filename != "" {
		o.Set("filename", filename)
	}
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	o.Set("type", mediaType)
	o.Set("size", document.Number(strconv.FormatInt(c.Size, 10)))
	o.Set("raw", c.Name)
	o.Set("encoding", EncodingBinary)
	if c.Text {
		o.Set("encoding", EncodingText)
	}
	return o
}

// textCheck checks whether the bytes that are written to it are UTF-8.
type textCheck struct {
	valid bool
	rest  []byte // an incomplete character
}

// Write implements io.Writer.
func (t *textCheck) Write(b []byte) (int, error) {
	n := len(b)
	if !t.valid {
		return n, nil
	}
	if len(t.rest) > 0 {
		for len(t.rest) < utf8.UTFMax && len(b) > 0 && !utf8.FullRune(t.rest) {
			t.rest, b = append(t.rest, b[0]), b[1:]
		}
		if !utf8.FullRune(t.rest) {
			return n, nil
		}
		t.valid = utf8.Valid(t.rest)
		t.rest = t.rest[:0]
	}
	end := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				end = len(b) - i
			}
			break
		}
	}
	t.valid = t.valid && utf8.Valid(b[:end])
	t.rest = append(t.rest, b[end:]...)
	return n, nil
}

func (t *textCheck) end() bool { return t.valid && len(t.rest) == 0 }

// A name is the prefix, 32 hexadecimal digits that cannot be guessed, a hyphen,
// and the SHA-256 of the content.
const (
	namePrefix = "vblob-"
	idLen      = 32
	nameLen    = len(namePrefix) + idLen + 1 + 64
)

// NewName returns the name of content.
func NewName(id [idLen / 2]byte, sum [32]byte) string {
	return namePrefix + hexText(id[:]) + "-" + hexText(sum[:])
}

func hexText(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// IsName reports whether s has the form of a name.
func IsName(s string) bool {
	if len(s) != nameLen || !strings.HasPrefix(s, namePrefix) || s[nameLen-65] != '-' {
		return false
	}
	return isHex(s[len(namePrefix):nameLen-65]) && isHex(s[nameLen-64:])
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Sum returns the SHA-256 of the content with a name, in hexadecimal.
func Sum(name string) string { return name[nameLen-64:] }

// Names appends the names that occur in b.
func Names(names []string, b []byte) []string {
	for {
		i := bytes.Index(b, []byte(namePrefix))
		if i < 0 {
			return names
		}
		b = b[i:]
		if len(b) >= nameLen && IsName(string(b[:nameLen])) {
			names = append(names, string(b[:nameLen]))
			b = b[nameLen:]
		} else {
			b = b[len(namePrefix):]
		}
	}
}

// Stable returns b with each name replaced by the digest of its content, so that
// it is the same whenever the same content is stored again. It does not modify b.
func Stable(b []byte) []byte {
	names := Names(nil, b)
	if len(names) == 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for _, name := range names {
		i := bytes.Index(b, []byte(name))
		out = append(append(out, b[:i]...), Sum(name)...)
		b = b[i+len(name):]
	}
	return append(out, b...)
}

// Has reports whether a document refers to stored content.
func Has(d *document.Document) bool {
	return d != nil && (len(Names(nil, d.Body())) > 0 || !d.IsJSON() && len(Names(nil, document.Shared(d.Data()))) > 0)
}
