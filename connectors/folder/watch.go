package folder

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/fault"
)

// rememberFor is how long an accepted file may stay in the work folder, such as
// on a share that became read-only, without being accepted again.
const rememberFor = 7 * 24 * time.Hour

// Watch delivers the files of a folder until ctx ends or fsys fails. A file that
// has not changed for StableFor is moved to the work folder, under a name that
// is its origin, and archived or deleted after its message is on disk. Files in
// the work folder are continued at the next start.
func Watch(ctx context.Context, c *Common, fsys FS, s Settings, host *connectors.Host) error {
	if wrong := s.check(); len(wrong) > 0 {
		return badCall("%s", strings.Join(wrong, "; "))
	}
	s.Work, s.Failed = s.workPath(), s.failedPath()
	c.AddWork(s.Work)
	w := &watcher{Settings: s, common: c, fs: fsys, host: host, seen: map[string]sighting{}}
	if err := w.makeDirs(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		if err := w.pass(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		host.Up()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watcher delivers the files of one folder.
type watcher struct {
	Settings
	common *Common
	fs     FS
	host   *connectors.Host
	seen   map[string]sighting // by name, of files that are not claimed yet
}

func (w *watcher) makeDirs(ctx context.Context) error {
	for _, dir := range []string{w.Work, w.Failed, w.Archive} {
		if dir == "" {
			continue
		}
		if err := w.fs.MakeDir(ctx, dir); err != nil {
			return failed("create", dir, err)
		}
	}
	return nil
}

// sighting records the state of a file and since when it has not changed.
type sighting struct {
	File
	since time.Time
}

// pass delivers the files in the work folder, which an earlier run claimed,
// and then claims and delivers the files that are stable. A folder with more
// than maxListed files needs several passes.
func (w *watcher) pass(ctx context.Context) error {
	claimed, _, err := first(ctx, w.fs, w.Work, func(string) bool { return true })
	if err != nil {
		return failed("list", w.Work, err)
	}
	for _, f := range claimed {
		if err := w.process(ctx, f); err != nil || ctx.Err() != nil {
			return err
		}
	}
	found, total, err := first(ctx, w.fs, w.Folder, w.matches)
	if err != nil {
		return failed("list", w.Folder, err)
	}
	ready := w.stable(found)
	unlisted := total - len(found)
	for i, f := range ready {
		w.host.Lag(int64(unlisted + len(ready) - i))
		name := f.Name
		f.Name = rand.Text()[:16] + "-" + name
		if err := w.fs.Rename(ctx, path.Join(w.Folder, name), path.Join(w.Work, f.Name), true); errors.Is(err, fs.ErrNotExist) {
			continue // another program moved it
		} else if err != nil {
			return failed("move", path.Join(w.Folder, name), err)
		}
		delete(w.seen, name)
		if err := w.process(ctx, f); err != nil || ctx.Err() != nil {
			return err
		}
	}
	w.host.Lag(int64(unlisted))
	return nil
}

// stable returns the files that match and have not changed for StableFor, and
// forgets the files that are gone.
func (w *watcher) stable(found []File) (ready []File) {
	now := time.Now()
	present := map[string]bool{}
	for _, f := range found {
		present[f.Name] = true
		s, known := w.seen[f.Name]
		if !known || s.Size != f.Size || !s.Modified.Equal(f.Modified) {
			s = sighting{f, now}
			w.seen[f.Name] = s
		}
		if now.Sub(s.since) >= w.StableFor {
			ready = append(ready, f)
		}
	}
	for name := range w.seen {
		if !present[name] {
			delete(w.seen, name)
		}
	}
	return ready
}

// process delivers a claimed file, whose path in the work folder is its origin,
// and then archives, deletes or rejects it. After an error the file stays in
// the work folder.
func (w *watcher) process(ctx context.Context, claimed File) error {
	_, name, _ := strings.Cut(claimed.Name, "-")
	at := path.Join(w.Work, claimed.Name)
	ctx, release := blob.Begin(ctx)
	defer release()
	m, err := w.message(ctx, claimed, at, name)
	if err != nil {
		return err
	}
	err = w.host.Deliver(ctx, m)
	switch {
	case err == nil && w.Delete:
		return w.remove(ctx, at)
	case err == nil:
		return w.moveOut(ctx, at, w.Archive, claimed.Name, name)
	case connectors.Refused(err):
		if err := w.moveOut(ctx, at, w.Failed, claimed.Name, name); err != nil {
			return err
		}
		return w.explain(ctx, path.Join(w.Failed, claimed.Name+".error.txt"), err)
	}
	return err
}

// message reads a claimed file. A file that cannot be parsed or is too large
// becomes a message that is refused.
func (w *watcher) message(ctx context.Context, f File, at, name string) (*connectors.Message, error) {
	m := &connectors.Message{Doc: document.Empty, Props: properties(path.Join(w.Folder, name), f), Time: f.Modified,
		Origin: at, Remember: rememberFor, DeadLetter: "folder " + w.Failed}
	b, err := w.common.load(ctx, w.fs, &w.Format, at)
	if err != nil {
		if !connectors.Refused(err) || errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		m.Invalid = err
		return m, nil
	}
	doc, err := w.Format.File(ctx, b, name)
	switch exhausted := budget.Failure(err); {
	case err == nil:
		m.Doc = doc
	case exhausted != nil:
		return nil, exhausted
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		m.Doc = document.New(b.Bytes, "", "")
		m.Invalid = connectors.Failf(fault.CodeAnswer, false, err, "cannot read %s as %s: %v", strconv.Quote(name), w.Format.Named(name), err)
	}
	return m, nil
}

// moveOut moves a file from the work folder to dir, under its claimed name if
// dir already contains a file called name.
func (w *watcher) moveOut(ctx context.Context, at, dir, claimed, name string) error {
	err := w.fs.Rename(ctx, at, path.Join(dir, name), false)
	if errors.Is(err, fs.ErrExist) {
		err = w.fs.Rename(ctx, at, path.Join(dir, claimed), true)
	}
	if err != nil {
		return failed("move", at, err)
	}
	return nil
}

func (w *watcher) remove(ctx context.Context, at string) error {
	if err := w.fs.Remove(ctx, at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("delete", at, err)
	}
	return nil
}

// explain writes the reason for a refusal to a file.
func (w *watcher) explain(ctx context.Context, name string, reason error) error {
	if err := store(ctx, w.fs, name, "replace", strings.NewReader(fault.AsFailure(reason).Error()+"\n")); err != nil {
		return failed("write", name, err)
	}
	return nil
}

// properties returns the properties of a file that a process can read.
func properties(full string, f File) *document.Object {
	o := &document.Object{}
	o.Set("name", path.Base(full))
	o.Set("path", full)
	o.Set("size", document.Number(strconv.FormatInt(f.Size, 10)))
	o.Set("modified", f.Modified.UTC().Format(time.RFC3339Nano))
	return o
}
