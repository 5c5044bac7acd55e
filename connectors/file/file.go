// Package file is the connector for files in one folder of this machine or of
// a mounted share. It never touches anything outside the folder or in the data
// folder of the atom, whatever a path, link or name says.
package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"valence/connectors"
	"valence/connectors/folder"
	"valence/internal/access"
	"valence/internal/fault"
	"valence/internal/spec"
)

type settings struct {
	Root    string
	MaxSize int64
}

// Connector declares the connector.
func Connector(string) *connectors.Connector {
	return &connectors.Connector{
		Name: "file",
		Doc:  "Watches, reads, writes, lists, moves and deletes files in a folder. Paths and links cannot lead out of the folder.",
		Settings: []spec.Field{
			spec.String("root", func(s *settings) *string { return &s.Root }, "The folder on the atom's machine. A relative path starts from the folder of the project.").Eg("/var/spool/orders").Required().Local(),
			spec.Size("max_size", func(s *settings) *int64 { return &s.MaxSize }, "Maximum size of a file to read.").Or(64 << 20).Min(1).Max(5 << 40),
		},
		NewSettings:  func() any { return &settings{} },
		Operations:   folder.Operations("replace", "fail", "append"),
		Subscription: folder.Subscription(time.Second),
		Open: func(v any, policy *access.Policy) (connectors.Connection, error) {
			s := *v.(*settings)
			return &connection{root: s.Root, Common: folder.Common{MaxSize: s.MaxSize}, policy: policy}, policy.CheckRoot(s.Root)
		},
	}
}

var (
	_ connectors.Inspector = (*connection)(nil)
	_ connectors.Listener  = (*connection)(nil)
	_ folder.System        = (*connection)(nil)
)

// connection opens the folder for each use, because a share may be unmounted
// and mounted again.
type connection struct {
	folder.Common
	root   string
	policy *access.Policy
}

// Close does nothing: no folder stays open between calls.
func (c *connection) Close() error { return nil }

func (c *connection) open() (*access.Root, error) {
	root, err := c.policy.OpenRoot(c.root)
	var refusal *access.Refusal
	if errors.As(err, &refusal) {
		return nil, &fault.Failure{Code: folder.CodeBadCall, Source: fault.FromConnector, Message: "cannot open the folder: " + refusal.Msg, Cause: err}
	}
	if err != nil {
		return nil, connectors.Retry(fault.CodeConnect, "cannot open the folder: "+err.Error(), 0, err)
	}
	return root, nil
}

// Use implements folder.System.
func (c *connection) Use(_ context.Context, f func(folder.FS) error) error {
	root, err := c.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return f(tree{root})
}

// Listen implements connectors.Listener. It delivers the files of a folder.
func (c *connection) Listen(ctx context.Context, s any, host *connectors.Host) error {
	return c.Use(ctx, func(fsys folder.FS) error {
		return folder.Watch(ctx, &c.Common, fsys, *s.(*folder.Settings), host)
	})
}

// Inspect reports a folder that cannot be opened. It may be mounted later.
func (c *connection) Inspect() *connectors.Obstacle {
	info, err := os.Stat(c.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &connectors.Obstacle{Problem: "the folder " + c.root + " does not exist", Hint: "create it with mkdir -p, or mount it; until then calls fail and nothing is received"}
	case err == nil && !info.IsDir():
		return &connectors.Obstacle{Problem: c.root + " is not a folder", Hint: "name a folder in root"}
	}
	root, err := c.open()
	if err != nil {
		return &connectors.Obstacle{Problem: err.Error(), Hint: "allow the user of the atom to read and write the folder " + c.root}
	}
	root.Close()
	return nil
}
