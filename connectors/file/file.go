// Package file is the connector for files in a folder of this machine, or of
// a share that is mounted here. Nothing outside of the folder is ever touched,
// whatever a path, a link or a name says (os.Root).
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"valence/connectors"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Codes of failures, beside those of package fault.
const (
	CodeMissing = "not_found"
	CodeExists  = "exists"
	CodeBadCall = "bad_call"
)

type settings struct {
	Root    string
	MaxSize int64
}

// with is what one call of any operation is told.
type with struct {
	Path, To, As, IfExists, Pattern string
}

var (
	pathField   = spec.String("path", func(w *with) *string { return &w.Path }, "The file, relative to the connection's folder.").Eg("orders/4711.json").Required()
	asField     = spec.Enum("as", func(w *with) *string { return &w.As }, "What the file is read as; by the ending of its name by default, and binary where that says nothing.", "json", "xml", "csv", "text", "binary")
	existsField = func(values ...string) spec.Field {
		return spec.Enum("if_exists", func(w *with) *string { return &w.IfExists }, "What happens if there is such a file.", values...).Or(values[0])
	}
)

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	newWith := func() any { return &with{} }
	return &connectors.Connector{
		Name: "file",
		Doc:  "Files in a folder: watched, read, written, moved and listed. Nothing outside of the folder is touched, whatever a path or a link says.",
		Settings: []spec.Field{
			spec.String("root", func(s *settings) *string { return &s.Root }, "The folder.").Eg("/var/spool/orders").Required(),
			spec.Size("max_size", func(s *settings) *int64 { return &s.MaxSize }, "The largest file that is read.").Or(64 << 20).Min(1).Max(1 << 30),
		},
		NewSettings: func() any { return &settings{} },
		Operations: []connectors.Operation{
			{Name: "read", Doc: "Reads a file.", NewWith: newWith, Safe: true, With: []spec.Field{pathField, asField},
				Sample: "- call: inbox.read\n  with: { path: \"prices/${doc.sku}.json\" }\n"},
			{Name: "write", Doc: "Writes a file. It is there whole or not at all: written beside, flushed, and renamed. `append` adds to its end instead.", NewWith: newWith, SendsBody: true,
				With:   []spec.Field{pathField, existsField("replace", "fail", "append")},
				Sample: "- call: outbox.write\n  with: { path: \"orders/${doc.id}.json\" }\n"},
			{Name: "move", Doc: "Moves or renames a file. One that has been moved already counts as moved.", NewWith: newWith,
				With:   []spec.Field{pathField, spec.String("to", func(w *with) *string { return &w.To }, "Its new path.").Required(), existsField("fail", "replace")},
				Sample: "- call: inbox.move\n  with: { path: \"new/${doc.name}\", to: \"done/${doc.name}\" }\n"},
			{Name: "list", Doc: "Lists the files of a folder by name, at most 10000: `name path size modified`.", NewWith: newWith, Safe: true,
				With: []spec.Field{
					spec.String("path", func(w *with) *string { return &w.Path }, "The folder.").Or("."),
					spec.String("pattern", func(w *with) *string { return &w.Pattern }, "Which names: `*`, `?` and `[a-z]` stand for others.").Or("*"),
				},
				Sample: "- call: inbox.list\n  with: { path: new, pattern: \"*.json\" }\n"},
		},
		Subscription: subscription(),
		Open: func(s any) (connectors.Connection, error) {
			c := &connection{settings: *s.(*settings)}
			return c, nil
		},
	}
}

// connection opens the folder for each use: it may come and go, as a share does.
type connection struct{ settings }

func (c *connection) Close() error { return nil }

func (c *connection) open() (*os.Root, error) {
	root, err := os.OpenRoot(c.Root)
	if err != nil {
		return nil, connectors.Retry(fault.CodeConnect, "the folder cannot be opened: "+err.Error(), 0, err)
	}
	return root, nil
}

// Call performs one operation; see connectors.Connection.
func (c *connection) Call(ctx context.Context, call *connectors.Call) (*connectors.Result, error) {
	root, err := c.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	w := call.With.(*with)
	switch call.Operation {
	case "read":
		return c.read(root, w)
	case "write":
		return write(root, w, call.Body.Body())
	case "move":
		return move(root, w)
	}
	return list(ctx, root, w)
}

// failed makes a failure of an error of the file system.
func failed(what, path string, err error) *fault.Failure {
	f := &fault.Failure{Code: fault.CodeConnect, Origin: fault.FromConnector, Message: fmt.Sprintf("%s %q: %v", what, spec.Clip(path), errors.Unwrap(err)), Cause: err, Retryable: true}
	if errors.Unwrap(err) == nil {
		f.Message = fmt.Sprintf("%s %q: %v", what, spec.Clip(path), err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Code, f.Retryable = CodeMissing, false
	case errors.Is(err, fs.ErrExist):
		f.Code, f.Retryable = CodeExists, false
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.EINVAL), escapes(err):
		f.Code, f.Retryable = CodeBadCall, false
	}
	return f
}

// escapes reports whether os.Root has refused a path that leads outside.
func escapes(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && p.Err.Error() == "path escapes from parent"
}
