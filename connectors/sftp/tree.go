package sftp

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"

	"valence/connectors"
	"valence/connectors/folder"
)

// tree is the folder of a connection on its server.
type tree struct {
	*client
	root string
}

var _ folder.FS = (*tree)(nil)

func (t *tree) path(name string) string { return path.Join(t.root, name) }

// do runs f within ctx; see within.
func (t *tree) do(ctx context.Context, what string, f func() error) error {
	_, err := within(ctx, t, what, func() (struct{}, error) { return struct{}{}, f() }, func(struct{}) {})
	return err
}

// within returns the result of f, which does not know contexts, or the failure
// of ctx if that ends first. f then ends when the server answers, or when the
// session is closed because the server is silent, and late receives its result.
func within[T any](ctx context.Context, t *tree, what string, f func() (T, error), late func(T)) (T, error) {
	var none T
	if failure := connectors.Interrupted(ctx, what); failure != nil {
		return none, failure
	}
	v, err := connectors.Within(ctx, f, late)
	if err == nil {
		return v, nil
	}
	if failure := connectors.Interrupted(ctx, what); failure != nil {
		return none, failure
	}
	return none, t.failed(err)
}

// List implements folder.FS.
func (t *tree) List(ctx context.Context, dir string, visit func(folder.File)) error {
	var found []fs.FileInfo
	err := t.do(ctx, "list", func() (err error) {
		found, err = t.files.ReadDirContext(ctx, t.path(dir))
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		if f.Mode().IsRegular() {
			visit(fileOf(f))
		}
	}
	return nil
}

func fileOf(i fs.FileInfo) folder.File {
	return folder.File{Name: i.Name(), Size: i.Size(), Modified: i.ModTime()}
}

// Stat implements folder.FS.
func (t *tree) Stat(ctx context.Context, name string) (f folder.File, err error) {
	var info fs.FileInfo
	err = t.do(ctx, "stat", func() (err error) {
		info, err = t.files.Lstat(t.path(name))
		return err
	})
	switch {
	case err != nil:
		return folder.File{}, err
	case info.IsDir():
		return folder.File{}, folder.ErrIrregular
	}
	return fileOf(info), nil
}

// Open implements folder.FS.
func (t *tree) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := within(ctx, t, "read", func() (*sftp.File, error) {
		info, err := t.files.Stat(t.path(name))
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() { // opening a pipe would block
			return nil, folder.ErrIrregular
		}
		return t.files.Open(t.path(name))
	}, func(f *sftp.File) { _ = f.Close() }) // its caller has left
	if err != nil {
		return nil, err
	}
	return t.download(ctx, f), nil
}

// download reads a file ahead of its reader.
func (t *tree) download(ctx context.Context, f *sftp.File) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		_, err := f.WriteTo(w)
		err = errors.Join(err, f.Close())
		w.CloseWithError(t.failed(err)) // nil is the end of the file
	}()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(connectors.Interrupted(ctx, "read")) })
	return &download{r, stop}
}

// download is the content of a file on the server.
type download struct {
	*io.PipeReader
	stop func() bool
}

// Close ends the download, which may be incomplete.
func (d *download) Close() error {
	d.stop()
	return d.PipeReader.Close()
}

// upload is content that ends with its context.
type upload struct {
	context.Context
	io.Reader
}

// Read implements io.Reader.
func (u upload) Read(b []byte) (int, error) {
	if err := u.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(b)
}

// inFlight is the number of packets of a file that the server has not confirmed.
const inFlight = 32

// Write implements folder.FS.
func (t *tree) Write(ctx context.Context, name string, how folder.Mode, content io.Reader) error {
	return t.do(ctx, "write", func() error {
		f, err := t.open(t.path(name), how)
		if err != nil {
			return err
		}
		source := upload{ctx, content}
		if how == folder.Append { // in order: the server may ignore offsets
			_, err = f.ReadFrom(source)
		} else {
			_, err = f.ReadFromWithConcurrency(source, inFlight)
		}
		if err == nil && t.flushes {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	})
}

func (t *tree) open(name string, how folder.Mode) (*sftp.File, error) {
	if how == folder.Create {
		f, err := t.files.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		return f, t.exists(name, err)
	}
	f, err := t.files.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil { // for servers that do not append
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// exists returns fs.ErrExist for a refusal without a reason, if there is a file of
// that name.
func (t *tree) exists(name string, err error) error {
	var status *sftp.StatusError
	if !errors.As(err, &status) {
		return err
	}
	if _, missing := t.files.Lstat(name); missing == nil {
		return fs.ErrExist
	}
	return err
}

// Rename implements folder.FS. A server without an extension for it replaces a
// file in two steps.
func (t *tree) Rename(ctx context.Context, from, to string, replace bool) error {
	return t.do(ctx, "move", func() error {
		from, to := t.path(from), t.path(to)
		if replace && t.replaces {
			return t.files.PosixRename(from, to)
		}
		if _, err := t.files.Lstat(from); err != nil {
			return err
		}
		_, err := t.files.Lstat(to)
		switch {
		case err == nil && !replace:
			return fs.ErrExist
		case err == nil:
			err = t.files.Remove(to)
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err != nil {
			return err
		}
		return t.exists(to, t.files.Rename(from, to))
	})
}

// Remove implements folder.FS.
func (t *tree) Remove(ctx context.Context, name string) error {
	return t.do(ctx, "delete", func() error { return t.files.Remove(t.path(name)) })
}

// MakeDir implements folder.FS.
func (t *tree) MakeDir(ctx context.Context, dir string) error {
	return t.do(ctx, "create", func() error { return t.files.MkdirAll(t.path(dir)) })
}
