package folder

import (
	"context"
	"errors"
	"io/fs"
	"path"
)

func (w *Move) move(ctx context.Context, fsys FS) error {
	if err := fsys.MakeDir(ctx, path.Dir(w.To)); err != nil {
		return failed("move", w.To, err)
	}
	err := fsys.Rename(ctx, w.Path, w.To, w.IfExists == "replace")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := fsys.Stat(ctx, w.To); err == nil { // an earlier attempt moved it
			return nil
		}
	}
	if err != nil {
		return failed("move", w.Path, err)
	}
	return flushDir(ctx, fsys, path.Dir(w.To))
}

func (w *Delete) delete(ctx context.Context, fsys FS) error {
	_, err := fsys.Stat(ctx, w.Path) // some systems would remove an empty folder
	if err == nil {
		err = fsys.Remove(ctx, w.Path)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) { // an earlier attempt deleted it
		return nil
	}
	return failed("delete", w.Path, err)
}

// flushDir flushes a folder, so that renames in it survive a power cut.
func flushDir(ctx context.Context, fsys FS, dir string) error {
	f, ok := fsys.(Flusher)
	if !ok {
		return nil
	}
	if err := f.FlushDir(ctx, dir); err != nil {
		return failed("flush", dir, err)
	}
	return nil
}
