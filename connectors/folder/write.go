package folder

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"strconv"
	"time"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/spec"
)

// Write holds the settings of `write`.
type Write struct{ Path, IfExists string }

func writeOperation(ifExists []string) connectors.Operation {
	doc := "Writes the document to a file. The write is atomic: a temporary file is written, flushed and renamed."
	for _, v := range ifExists {
		if v == "append" {
			doc += " With `if_exists: append` the document is added to the end of the file."
		}
	}
	return connectors.Define(connectors.Operation{
		Check: func(w any) []string { return checkLiteral("path", w.(*Write).Path) },
		Name:  "write", Doc: doc, SendsBody: true, Files: true,
		With: []spec.Field{
			pathField(func(w *Write) *string { return &w.Path }),
			existsField(func(w *Write) *string { return &w.IfExists }, ifExists...),
		},
		Sample: "- call: outbox.write\n  with: { path: \"orders/${doc.id}.json\" }\n",
	}, func(ctx context.Context, c System, w *Write, call *connectors.Call) (*connectors.Result, error) {
		return done, write(ctx, c, call, w.Path, w.IfExists)
	})
}

// Extend holds the settings of `append`.
type Extend struct{ Path string }

var appendOperation = connectors.Define(connectors.Operation{
	Check: func(w any) []string { return checkLiteral("path", w.(*Extend).Path) },
	Name:  "append", Doc: "Adds the document to the end of a file, which is created if it is missing. A call that is repeated after a lost connection or a crash may add it twice.", SendsBody: true, Files: true,
	With:   []spec.Field{pathField(func(a *Extend) *string { return &a.Path })},
	Sample: "- call: outbox.append\n  with: { path: \"log/${doc.day}.csv\" }\n",
}, func(ctx context.Context, c System, w *Extend, call *connectors.Call) (*connectors.Result, error) {
	return done, write(ctx, c, call, w.Path, "append")
})

// write writes the document of a call to a file.
func write(ctx context.Context, c System, call *connectors.Call, name, ifExists string) error {
	if err := c.common().check("write", name); err != nil {
		return err
	}
	body, err := blob.Body(ctx, call.Body)
	if err != nil {
		return badCall("cannot write %s: %v", strconv.Quote(name), err)
	}
	return c.Use(ctx, func(fsys FS) error {
		if err := fsys.MakeDir(ctx, path.Dir(name)); err != nil {
			return failed("write", name, err)
		}
		content, err := body.Open()
		if err != nil {
			return err
		}
		if err := errors.Join(store(ctx, fsys, name, ifExists, content), content.Close()); err != nil {
			return failed("write", name, err)
		}
		return flushDir(ctx, fsys, path.Dir(name))
	})
}

// cleanupTime bounds the removal of a temporary file.
const cleanupTime = 5 * time.Second

// store appends to a file, or writes a temporary file and renames it.
func store(ctx context.Context, fsys FS, name, ifExists string, content io.Reader) error {
	if ifExists == "append" {
		return fsys.Write(ctx, name, Append, content)
	}
	temporary := path.Join(path.Dir(name), "."+path.Base(name)+"-"+rand.Text()+".part")
	err := fsys.Write(ctx, temporary, Create, content)
	if err == nil {
		err = fsys.Rename(ctx, temporary, name, ifExists == "replace")
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		_ = fsys.Remove(ctx, temporary) // the first error counts
	}
	return err
}
