package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"valence/internal/document"
	"valence/internal/fault"
)

// File is the content of a file, in memory or stored.
type File struct {
	Filename  string
	MediaType string
	Size      int64

	bytes []byte
	name  string // of stored content
	scope *Scope
}

// Open returns the content as a stream, and sets Size. Its errors are a
// *fault.Failure.
func (f *File) Open() (io.ReadCloser, error) {
	if f.name == "" {
		return io.NopCloser(bytes.NewReader(f.bytes)), nil
	}
	r, size, err := f.scope.store.OpenFile(f.name)
	if err != nil {
		return nil, f.failure(err)
	}
	f.Size = size
	return &stream{r, f}, nil
}

// Stat sets Size to the size of the content. Its error is a *fault.Failure.
func (f *File) Stat() error {
	if f.name == "" {
		return nil
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return f.failure(err)
	}
	return nil
}

// Stored reports whether the content is outside its document.
func (f *File) Stored() bool { return f.name != "" }

// Bytes returns the content, which must not be modified. It fails if stored
// content is larger than limit.
func (f *File) Bytes(limit int64) ([]byte, error) {
	if f.name == "" {
		return f.bytes, nil
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	if f.Size > limit {
		return nil, errors.Join(TooLarge(f.Filename, f.Size, limit), r.Close())
	}
	b := make([]byte, f.Size)
	if _, err = io.ReadFull(r, b); err == nil {
		_, err = r.Read(make([]byte, 1)) // verifies the content
	}
	if err == io.EOF {
		err = nil
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, f.failure(err)
	}
	return b, nil
}

// TooLarge returns the failure for stored content that does not fit in memory.
func TooLarge(filename string, size, limit int64) *fault.Failure {
	what := "a file"
	if filename != "" {
		what = "the file " + strconv.Quote(filename)
	}
	return &fault.Failure{Code: fault.CodeTooLarge, Source: fault.FromProcess, Message: "the content of " + what + " (" + strconv.FormatInt(size, 10) +
		" bytes) cannot be read into memory (at most " + strconv.FormatInt(limit, 10) + " bytes): pass the whole file object to an operation that streams files, such as `write` or `put`"}
}

func (f *File) failure(err error) error {
	if errors.Is(err, ErrLost) {
		return &fault.Failure{Code: fault.CodeDocumentLost, Source: fault.FromAtom, Message: "the stored content of a file is missing or damaged", Cause: err}
	}
	var known *fault.Failure
	if errors.As(err, &known) {
		return known
	}
	return &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromAtom, Retryable: true, Message: "cannot read the stored content of a file: " + err.Error(), Cause: err}
}

// stream is stored content with the errors of Open.
type stream struct {
	io.ReadCloser
	file *File
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if err != nil && err != io.EOF {
		err = s.file.failure(err)
	}
	return n, err
}

// Of returns the file that a value describes, as document.File does, also if its
// content is stored.
func Of(ctx context.Context, v any) (f *File, is bool, err error) {
	o, ok := document.Decode(v).(*document.Object)
	if !ok {
		return nil, false, nil
	}
	encoding, _ := o.Get("encoding")
	if encoding != EncodingBinary && encoding != EncodingText {
		content, mediaType, is, err := document.File(v)
		return &File{MediaType: mediaType, Size: int64(len(content)), bytes: content}, is, err
	}
	return stored(ctx, o)
}

// stored returns the file of a reference.
func stored(ctx context.Context, o *document.Object) (*File, bool, error) {
	f := &File{MediaType: "application/octet-stream", scope: from(ctx)}
	other := ""
	for i := range o.Len() {
		key, v := o.At(i)
		text, _ := v.(string)
		switch key {
		case "raw":
			f.name = text
		case "type":
			f.MediaType = text
		case "filename":
			f.Filename = text
		case "size":
			n, _ := v.(document.Number)
			f.Size, _ = strconv.ParseInt(string(n), 10, 64)
		case "encoding":
		default:
			other = key
		}
	}
	switch {
	case other != "" && IsName(f.name):
		return nil, true, &fault.Failure{Code: fault.CodeConvert, Source: fault.FromProcess, Message: "the file object has the unknown key " + strconv.Quote(other) + ": pass the file object on unchanged, and put other values next to it"}
	case other != "":
		return nil, false, nil
	case !IsName(f.name):
		return nil, true, &fault.Failure{Code: fault.CodeConvert, Source: fault.FromProcess, Message: "`raw` is not the stored content of a file: pass the file object on unchanged"}
	case f.scope == nil:
		return nil, true, &fault.Failure{Code: fault.CodeTooLarge, Source: fault.FromAtom, Message: "the content of a stored file is not available here"}
	}
	return f, true, nil
}

// IsReference reports whether a document is a reference to stored content.
func IsReference(d *document.Document) bool {
	if d == nil || !d.IsJSON() || len(d.Body()) > maxReference || !bytes.Contains(d.Body(), []byte(namePrefix)) {
		return false
	}
	o, ok := document.Decode(d.Value()).(*document.Object)
	if !ok {
		return false
	}
	encoding, _ := o.Get("encoding")
	raw, _ := o.Get("raw")
	name, _ := raw.(string)
	return (encoding == EncodingBinary || encoding == EncodingText) && IsName(name)
}

// Size returns the size of the content that a document stands for.
func Size(d *document.Document) int64 {
	if IsReference(d) {
		size, _ := document.Key(d.Value(), "size")
		n, _ := size.(document.Number)
		if stored, err := strconv.ParseInt(string(n), 10, 64); err == nil {
			return stored
		}
	}
	return int64(len(d.Body()))
}

// maxReference is the most JSON text of a reference; names of files are shorter.
const maxReference = 64 << 10

// Body returns the content that a document stands for, as its Content method
// does, also if it is stored.
func Body(ctx context.Context, d *document.Document) (*File, error) {
	if d.IsJSON() {
		if f, is, err := Of(ctx, d.Value()); is {
			return f, err
		}
	}
	return &File{MediaType: d.MediaType(), Size: int64(len(d.Body())), bytes: d.Body()}, nil
}

// Load returns `raw` of a file as expressions see it: text, or Base64 if the
// content is not UTF-8. name is that of stored content.
func Load(ctx context.Context, name string, limit int64) (string, error) {
	f := &File{name: name, scope: from(ctx)}
	if f.scope == nil {
		return "", TooLarge("", 0, 0)
	}
	b, err := f.Bytes(limit)
	if err != nil {
		return "", err
	}
	if utf8.Valid(b) {
		return string(b), nil
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// Inline returns a document with all stored content in it. It fails with
// fault.CodeTooLarge if that is larger than MaxInline.
func Inline(ctx context.Context, d *document.Document) (*document.Document, error) {
	if !Has(d) {
		return d, nil
	}
	left := int64(MaxInline)
	v, err := inline(ctx, d.Value(), &left)
	if err != nil {
		return nil, err
	}
	text := document.AppendJSON(nil, v)
	if d.IsJSON() {
		return document.FromJSON(text), nil
	}
	return document.Converted(d.Body(), d.MediaType(), text), nil
}

// InlineValue does the same for a value.
func InlineValue(ctx context.Context, v any) (any, error) {
	if !refers(v) {
		return v, nil
	}
	left := int64(MaxInline)
	return inline(ctx, v, &left)
}

// refers reports whether a value refers to stored content.
func refers(v any) bool {
	if raw, ok := v.(document.Raw); ok {
		return len(Names(nil, document.Shared(string(raw)))) > 0
	}
	switch v := document.Decode(v).(type) {
	case string:
		return IsName(v)
	case []any:
		return slices.ContainsFunc(v, refers)
	case *document.Object:
		for i := range v.Len() {
			if _, e := v.At(i); refers(e) {
				return true
			}
		}
	}
	return false
}

func inline(ctx context.Context, v any, left *int64) (any, error) {
	if raw, ok := v.(document.Raw); ok && len(Names(nil, document.Shared(string(raw)))) == 0 {
		return v, nil
	}
	switch v := document.Decode(v).(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = inline(ctx, e, left); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *document.Object:
		if f, is, err := Of(ctx, v); is && (err != nil || f.Stored()) {
			if err != nil {
				return nil, err
			}
			return f.inline(left)
		}
		out := &document.Object{}
		for i := range v.Len() {
			key, e := v.At(i)
			e, err := inline(ctx, e, left)
			if err != nil {
				return nil, err
			}
			out.Set(key, e)
		}
		return out, nil
	default:
		return v, nil
	}
}

// inline returns the file object with its content.
func (f *File) inline(left *int64) (any, error) {
	b, err := f.Bytes(*left)
	if err != nil {
		return nil, err
	}
	*left -= int64(len(b))
	o := &document.Object{}
	if f.Filename != "" {
		o.Set("filename", f.Filename)
	}
	o.Set("type", f.MediaType)
	if utf8.Valid(b) {
		o.Set("raw", string(b))
	} else {
		o.Set("raw", base64.StdEncoding.EncodeToString(b))
		o.Set("encoding", "base64")
	}
	return o, nil
}
