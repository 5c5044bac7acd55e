package folder

import (
	"context"
	"path"
	"strconv"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

// System is a connection to files. It embeds Common.
type System interface {
	connectors.Connection
	// Use calls f with the files, which it must not use afterwards. It fails
	// like an operation.
	Use(ctx context.Context, f func(FS) error) error
	common() *Common
}

// Operations returns the operations on files. ifExists are the values of
// `if_exists:` in `write`; the first is the default.
func Operations(ifExists ...string) []connectors.Operation {
	return []connectors.Operation{readOperation, writeOperation(ifExists), appendOperation, listOperation, moveOperation, deleteOperation, makeDirOperation}
}

var done = &connectors.Result{Doc: document.Empty}

func pathField[T any](path func(*T) *string) spec.Field {
	return spec.File("path", path, "Path of the file, relative to the folder of the connection.").Eg("orders/${doc.id}.json").Required()
}

// existsField offers the given values; the first is the default.
func existsField[T any](ifExists func(*T) *string, values ...string) spec.Field {
	return spec.Enum("if_exists", ifExists, "What to do if the file exists.", values...).Or(values[0])
}

// List holds the settings of `list`.
type List struct{ Path, Pattern string }

var listOperation = connectors.Define(connectors.Operation{
	Check: func(w any) []string { return checkLiteral("path", w.(*List).Path) },
	Name:  "list", Doc: "Lists the files of a folder, sorted by name, at most 10,000. The document is a list of maps with `name`, `path`, `size` and `modified`.", Safe: true,
	With: []spec.Field{
		spec.File("path", func(l *List) *string { return &l.Path }, "Path of the folder, relative to the folder of the connection.").Or("."),
		spec.String("pattern", func(l *List) *string { return &l.Pattern }, "Pattern of file names, with the wildcards `*`, `?` and `[a-z]`.").Or("*"),
	},
	Sample: "- call: inbox.list\n  with: { path: new, pattern: \"*.json\" }\n",
}, func(ctx context.Context, c System, w *List, _ *connectors.Call) (*connectors.Result, error) {
	if _, err := path.Match(w.Pattern, ""); err != nil {
		return nil, badCall("invalid pattern %s", strconv.Quote(w.Pattern))
	}
	if err := c.common().check("list", w.Path); err != nil {
		return nil, err
	}
	out := []any{}
	err := c.Use(ctx, func(fsys FS) error {
		found, _, err := first(ctx, fsys, w.Path, func(name string) bool { ok, _ := path.Match(w.Pattern, name); return ok })
		if err != nil {
			return failed("list", w.Path, err)
		}
		for _, f := range found {
			out = append(out, properties(path.Join(w.Path, f.Name), f))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &connectors.Result{Doc: document.FromValue(out)}, nil
})

// Move holds the settings of `move`.
type Move struct{ Path, To, IfExists string }

var moveOperation = connectors.Define(connectors.Operation{
	Check: func(v any) []string {
		w := v.(*Move)
		return append(checkLiteral("path", w.Path), checkLiteral("to", w.To)...)
	},
	Name: "move", Doc: "Moves or renames a file. Succeeds if the file has already been moved.",
	With: []spec.Field{
		pathField(func(m *Move) *string { return &m.Path }),
		spec.File("to", func(m *Move) *string { return &m.To }, "New path of the file.").Required(),
		existsField(func(m *Move) *string { return &m.IfExists }, "fail", "replace"),
	},
	Sample: "- call: inbox.move\n  with: { path: \"new/${doc.name}\", to: \"done/${doc.name}\" }\n",
}, func(ctx context.Context, c System, w *Move, _ *connectors.Call) (*connectors.Result, error) {
	for _, p := range []string{w.Path, w.To} {
		if err := c.common().check("move", p); err != nil {
			return nil, err
		}
	}
	return done, c.Use(ctx, func(fsys FS) error { return w.move(ctx, fsys) })
})

// Delete holds the settings of `delete`.
type Delete struct{ Path string }

var deleteOperation = connectors.Define(connectors.Operation{
	Check: func(w any) []string { return checkLiteral("path", w.(*Delete).Path) },
	Name:  "delete", Doc: "Deletes a file. Succeeds if there is no such file.",
	With:   []spec.Field{pathField(func(d *Delete) *string { return &d.Path })},
	Sample: "- call: inbox.delete\n  with: { path: \"new/${doc.name}\" }\n",
}, func(ctx context.Context, c System, w *Delete, _ *connectors.Call) (*connectors.Result, error) {
	if err := c.common().check("delete", w.Path); err != nil {
		return nil, err
	}
	return done, c.Use(ctx, func(fsys FS) error { return w.delete(ctx, fsys) })
})

// MakeDir holds the settings of `mkdir`.
type MakeDir struct{ Path string }

var makeDirOperation = connectors.Define(connectors.Operation{
	Check: func(w any) []string { return checkLiteral("path", w.(*MakeDir).Path) },
	Name:  "mkdir", Doc: "Creates a folder and those above it. Succeeds if the folder exists.",
	ByKey: func(any) bool { return true },
	With: []spec.Field{
		spec.File("path", func(m *MakeDir) *string { return &m.Path }, "Path of the folder, relative to the folder of the connection.").Eg("orders/${doc.day}").Required(),
	},
	Sample: "- call: outbox.mkdir\n  with: { path: \"orders/${doc.day}\" }\n",
}, func(ctx context.Context, c System, w *MakeDir, _ *connectors.Call) (*connectors.Result, error) {
	if err := c.common().check("create", w.Path); err != nil {
		return nil, err
	}
	return done, c.Use(ctx, func(fsys FS) error {
		if err := fsys.MakeDir(ctx, w.Path); err != nil {
			return failed("create", w.Path, err)
		}
		return nil
	})
})
