package ftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/textproto"
	"path"
	"time"

	"github.com/jlaffaye/ftp"

	"valence/connectors"
	"valence/connectors/folder"
	"valence/internal/fault"
)

// tree is the folder of a connection on its server. It connects when it is
// used.
type tree struct {
	*server
	client *client // nil if there is none
	used   time.Time
}

var _ folder.FS = (*tree)(nil)

// maxAge is how long a connection may be unused, because servers close such
// connections.
const maxAge = 20 * time.Second

// drop closes the connection.
func (t *tree) drop() {
	if t.client != nil {
		t.client.close()
		t.client = nil
	}
}

// do calls f with a connection and returns its error. If ctx ends first, the
// connection is closed.
func (t *tree) do(ctx context.Context, verb string, f func(*client) error) error {
	if t.client != nil && time.Since(t.used) > maxAge {
		t.drop()
	}
	if t.client == nil {
		c, err := t.connect(ctx)
		if err != nil {
			return err
		}
		t.client = c
	}
	stop := context.AfterFunc(ctx, t.client.close)
	err := f(t.client)
	if !stop() {
		t.drop()
	}
	t.used = time.Now()
	return t.failed(ctx, verb, err)
}

// failed returns the error of a command. A broken connection is closed.
func (t *tree) failed(ctx context.Context, verb string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) {
		return err
	}
	if failure := connectors.Interrupted(ctx, verb); failure != nil {
		t.drop()
		return failure
	}
	var answer *textproto.Error
	switch {
	case !errors.As(err, &answer):
		t.drop()
		return connectors.Failf(fault.CodeAborted, true, err, "the connection was lost: %v", err)
	case answer.Code >= 500 && answer.Code != ftp.StatusExceededStorage:
		return fmt.Errorf("%w: %s", fs.ErrPermission, answer.Msg)
	}
	t.drop() // the server may be about to close it
	return connectors.Failf(fault.CodeAborted, true, err, "cannot %s: the server answers %s", verb, answer.Msg)
}

func (c *client) path(name string) string { return path.Join(c.base, name) }

// unavailable reports whether the server does not find a file, or does not let
// the user have it.
func unavailable(err error) bool {
	var answer *textproto.Error
	return errors.As(err, &answer) && answer.Code == ftp.StatusFileUnavailable
}

// List implements folder.FS.
func (t *tree) List(ctx context.Context, dir string, visit func(folder.File)) error {
	return t.do(ctx, "list", func(c *client) error {
		found, err := c.list(c.path(dir))
		for _, e := range found {
			if e.Type == ftp.EntryTypeFile {
				visit(c.file(e))
			}
		}
		return err
	})
}

// list lists a folder. It enters the folder first, because servers read patterns
// and options in the path.
func (c *client) list(dir string) ([]*ftp.Entry, error) {
	if err := c.enter(dir); err != nil {
		return nil, err
	}
	return c.ServerConn.List("")
}

func (c *client) enter(dir string) error {
	err := c.ChangeDir(dir)
	if unavailable(err) {
		return fs.ErrNotExist
	}
	return err
}

// file returns an entry of a listing. Precise times are in UTC (RFC 3659).
func (c *client) file(e *ftp.Entry) folder.File {
	at := e.Time
	if c.IsTimePreciseInList() {
		at = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
	}
	return folder.File{Name: e.Name, Size: int64(e.Size), Modified: at}
}

// Stat implements folder.FS.
func (t *tree) Stat(ctx context.Context, name string) (f folder.File, err error) {
	err = t.do(ctx, "stat", func(c *client) error {
		f, err = c.stat(c.path(name))
		return err
	})
	return f, err
}

// stat describes a file by its size, without a listing of its folder, which may
// be long.
func (c *client) stat(name string) (folder.File, error) {
	if err := c.enter(path.Dir(name)); err != nil {
		return folder.File{}, err
	}
	size, err := c.FileSize(path.Base(name))
	switch {
	case err == nil:
		f := folder.File{Name: path.Base(name), Size: size}
		if c.IsGetTimeSupported() {
			f.Modified, err = c.GetTime(path.Base(name))
		}
		return f, err
	case unknownCommand(err):
		return c.find(name)
	case !unavailable(err):
		return folder.File{}, err
	case c.ChangeDir(name) == nil:
		return folder.File{}, folder.ErrIrregular
	}
	return folder.File{}, fs.ErrNotExist
}

// unknownCommand reports whether a server does not know a command.
func unknownCommand(err error) bool {
	var answer *textproto.Error
	return errors.As(err, &answer) && (answer.Code == ftp.StatusBadCommand || answer.Code == ftp.StatusNotImplemented || answer.Code == ftp.StatusNotImplementedParameter || answer.Code == ftp.StatusCommandNotImplemented)
}

// find describes a file by the listing of its folder.
func (c *client) find(name string) (folder.File, error) {
	found, err := c.list(path.Dir(name))
	if err != nil {
		return folder.File{}, err
	}
	for _, e := range found {
		switch {
		case e.Name != path.Base(name):
		case e.Type == ftp.EntryTypeFolder:
			return folder.File{}, folder.ErrIrregular
		default:
			return c.file(e), nil
		}
	}
	return folder.File{}, fs.ErrNotExist
}

// reason returns the reason for which the server refused to use a file.
func (c *client) reason(name string, err error) error {
	if !unavailable(err) {
		return err
	}
	if _, reason := c.stat(name); reason != nil {
		return reason
	}
	return err
}

// Open implements folder.FS.
func (t *tree) Open(ctx context.Context, name string) (f io.ReadCloser, err error) {
	err = t.do(ctx, "read", func(c *client) error {
		r, err := c.Retr(c.path(name))
		if err != nil {
			return c.reason(c.path(name), err)
		}
		f = &download{t, ctx, r, context.AfterFunc(ctx, c.close)}
		return nil
	})
	return f, err
}

// download is the content of a file on the server.
type download struct {
	tree *tree
	ctx  context.Context
	*ftp.Response
	stop func() bool
}

// Read implements io.Reader.
func (d *download) Read(b []byte) (int, error) {
	n, err := d.Response.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.tree.failed(d.ctx, "read", err)
	}
	return n, err
}

// Close ends the download. It fails if the server did not send the whole file.
func (d *download) Close() error {
	err := d.Response.Close()
	d.stop()
	return d.tree.failed(d.ctx, "read", err)
}

// Write implements folder.FS. The files that it creates have names of their
// own, because servers replace files.
func (t *tree) Write(ctx context.Context, name string, how folder.Mode, content io.Reader) error {
	return t.do(ctx, "write", func(c *client) error {
		if how == folder.Append {
			return c.Append(c.path(name), content)
		}
		return c.Stor(c.path(name), content)
	})
}

// Rename implements folder.FS. Servers replace files when they rename, or refuse
// to.
func (t *tree) Rename(ctx context.Context, from, to string, replace bool) error {
	return t.do(ctx, "move", func(c *client) error {
		from, to := c.path(from), c.path(to)
		if !replace {
			_, err := c.stat(to)
			switch {
			case err == nil, errors.Is(err, folder.ErrIrregular):
				if _, err := c.stat(from); err != nil {
					return err
				}
				return fs.ErrExist
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
		}
		err := c.ServerConn.Rename(from, to)
		if !unavailable(err) {
			return err
		}
		if _, missing := c.stat(from); missing != nil || !replace {
			return errors.Join(missing, err)
		}
		if err := c.Delete(to); err != nil {
			return err
		}
		return c.ServerConn.Rename(from, to)
	})
}

// Remove implements folder.FS.
func (t *tree) Remove(ctx context.Context, name string) error {
	return t.do(ctx, "delete", func(c *client) error { return c.reason(c.path(name), c.Delete(c.path(name))) })
}

// MakeDir implements folder.FS.
func (t *tree) MakeDir(ctx context.Context, dir string) error {
	return t.do(ctx, "create", func(c *client) error { return c.makeDir(c.path(dir)) })
}

func (c *client) makeDir(dir string) error {
	if c.ChangeDir(dir) == nil {
		return nil
	}
	if parent := path.Dir(dir); parent != dir {
		if err := c.makeDir(parent); err != nil {
			return err
		}
	}
	err := c.ServerConn.MakeDir(dir)
	if err != nil && c.ChangeDir(dir) == nil { // somebody else made it
		return nil
	}
	return err
}
