package folder

import (
	"context"
	"errors"
	"strconv"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Read holds the settings of `read`.
type Read struct {
	Path   string
	Format content.Format
}

var readOperation = connectors.Define(connectors.Operation{
	Name: "read", Doc: "Reads a file. The content becomes the document. Binary content of more than 1 MiB becomes a file object, whose content is stored outside the document and streamed to the next operation.", Safe: true,
	With: append([]spec.Field{
		pathField(func(r *Read) *string { return &r.Path }),
	}, content.Fields(func(r *Read) *content.Format { return &r.Format })...),
	Check: func(v any) []string {
		w := v.(*Read)
		return append(checkLiteral("path", w.Path), w.Format.Check()...)
	},
	Sample: "- call: inbox.read\n  with: { path: \"prices/${doc.sku}.json\" }\n",
}, func(ctx context.Context, c System, w *Read, _ *connectors.Call) (*connectors.Result, error) {
	if err := c.common().check("read", w.Path); err != nil {
		return nil, err
	}
	var received *blob.Content
	err := c.Use(ctx, func(fsys FS) (err error) {
		received, err = c.common().load(ctx, fsys, &w.Format, w.Path)
		return err
	})
	if err != nil {
		return nil, err
	}
	doc, f := parse(ctx, &w.Format, received, w.Path)
	if f != nil {
		return nil, f
	}
	return &connectors.Result{Doc: doc}, nil
})

// load returns the content of a file of at most MaxSize bytes.
func (c *Common) load(ctx context.Context, fsys FS, format *content.Format, name string) (*blob.Content, error) {
	f, err := fsys.Open(ctx, name)
	if errors.Is(err, ErrIrregular) { // opening a pipe would block
		return nil, badCall("cannot read %s: not a regular file", strconv.Quote(name))
	}
	if err != nil {
		return nil, failed("read", name, err)
	}
	b, tooLarge, err := format.Read(ctx, f, c.MaxSize, name)
	if tooLarge > 0 {
		_ = f.Close() // in the middle of the file
		return nil, &fault.Failure{Code: fault.CodeTooLarge, Source: fault.FromConnector, Message: "cannot read " + strconv.Quote(name) + ": larger than max_size (" + strconv.FormatInt(tooLarge, 10) + " bytes)"}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, failed("read", name, err)
	}
	return b, nil
}

// parse reads a file as a document.
func parse(ctx context.Context, f *content.Format, b *blob.Content, name string) (*document.Document, *fault.Failure) {
	doc, err := f.File(ctx, b, name)
	if err == nil {
		return doc, nil
	}
	if f := budget.Failure(err); f != nil {
		return nil, f
	}
	code, as := fault.CodeAnswer, " as "+f.Named(name)
	if errors.Is(err, content.DelimiterError{}) {
		code, as = CodeBadCall, ""
	}
	return nil, connectors.Failf(code, false, err, "cannot read %s%s: %v", strconv.Quote(name), as, err)
}
