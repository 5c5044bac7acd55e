package sqlite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"valence/atom/store/sqlite/disk"
	"valence/internal/blob"
	"valence/internal/sqlitedb"
)

// blobsFolder is the folder of the contents that documents refer to.
const blobsFolder = "blobs"

// files stores contents that documents refer to, in files that are named by the
// reference. A file and its name are flushed before PutFile returns. It is deleted
// after its scope has ended, unless a row of stored_file refers to it, and
// otherwise with the last of these rows.
type files struct {
	dir   string
	fs    disk.FS
	log   *slog.Logger
	space *sqlitedb.Space

	mu      sync.Mutex
	pinned  map[string]int
	folders map[string]bool // created and flushed
	paused  int             // number of backups in progress; nothing is deleted meanwhile
	waiting []string        // files to delete after the backups
}

const migrationFiles = `
CREATE TABLE stored_file(seq INTEGER NOT NULL, name TEXT NOT NULL, ended INTEGER, until INTEGER, PRIMARY KEY(seq, name)) WITHOUT ROWID;
CREATE INDEX stored_file_name ON stored_file(name);
CREATE INDEX stored_file_until ON stored_file(until) WHERE until IS NOT NULL;
`

var _ blob.Store = (*Store)(nil)

func newFiles(dir string, fsys disk.FS, space *sqlitedb.Space, log *slog.Logger) (*files, error) {
	if err := fsys.Mkdir(dir); err != nil {
		return nil, err
	}
	return &files{dir: dir, fs: fsys, log: log, space: space, pinned: map[string]int{}, folders: map[string]bool{}}, nil
}

// path returns the path of a file. A folder has a 256th of them.
func (f *files) path(name string) string {
	sum := blob.Sum(name)
	return filepath.Join(f.dir, sum[:2], name)
}

// PutFile implements blob.Store.
func (s *Store) PutFile(ctx context.Context, r io.Reader) (name string, size int64, err error) {
	f := s.files
	if err := f.room(); err != nil {
		return "", 0, err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	temporary := filepath.Join(f.dir, unfinished+hex.EncodeToString(id[:]))
	f.pin(filepath.Base(temporary))
	defer f.unpin(filepath.Base(temporary))
	sum, size, err := f.write(ctx, temporary, r)
	if err == nil {
		name = blob.NewName(id, sum)
		f.pin(name)
		if err = f.rename(temporary, name); err != nil {
			f.unpin(name)
		}
	}
	if err != nil {
		if e := f.fs.Remove(temporary); e != nil && !errors.Is(e, fs.ErrNotExist) {
			f.log.Error("cannot delete an unfinished file", "error", e)
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", blob.ErrFull, err)
		}
		return "", 0, err
	}
	return name, size, nil
}

// room fails if the disk is nearly full.
func (f *files) room() error {
	if err := f.space.Check(); err != nil {
		return err
	}
	if f.space.Level() >= sqlitedb.Low {
		return blob.ErrFull
	}
	return nil
}

// roomEvery is how many bytes are written between two checks of the free space.
const roomEvery = 32 << 20

// write writes a flushed file.
func (f *files) write(ctx context.Context, path string, r io.Reader) (sum [32]byte, size int64, err error) {
	out, err := f.fs.Create(path)
	if err != nil {
		return sum, 0, err
	}
	digest := sha256.New()
	buffer := make([]byte, 256<<10)
	for next := int64(roomEvery); err == nil; {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = r.Read(buffer)
		if err != nil && err != io.EOF {
			err = &blob.ReadError{Err: err}
		}
		if n > 0 {
			digest.Write(buffer[:n])
			if _, e := out.Write(buffer[:n]); e != nil {
				err = e
			}
			size += int64(n)
		}
		if size >= next && (err == nil || err == io.EOF) {
			next = size + roomEvery
			if e := f.room(); e != nil {
				err = e
			}
		}
	}
	if err == io.EOF {
		err = out.Sync()
	}
	return [32]byte(digest.Sum(nil)), size, errors.Join(err, out.Close())
}

// rename names a written file, and flushes the name.
func (f *files) rename(temporary, name string) error {
	path := f.path(name)
	folder := filepath.Dir(path)
	f.mu.Lock()
	made := f.folders[folder]
	f.mu.Unlock()
	if !made {
		if err := errors.Join(f.fs.Mkdir(folder), f.fs.SyncDir(f.dir)); err != nil {
			return err
		}
		f.mu.Lock()
		f.folders[folder] = true
		f.mu.Unlock()
	}
	if err := f.fs.Rename(temporary, path); err != nil {
		return err
	}
	if err := f.fs.SyncDir(folder); err != nil {
		return errors.Join(err, f.fs.Remove(path))
	}
	return nil
}

func (f *files) pin(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		f.pinned[n]++
	}
}

func (f *files) unpin(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if f.pinned[n]--; f.pinned[n] <= 0 {
			delete(f.pinned, n)
		}
	}
}

// ReleaseFiles implements blob.Store.
func (s *Store) ReleaseFiles(names []string) {
	s.files.unpin(names...)
	err := s.db.Do(context.Background(), s.unusedFiles(names))
	if err != nil { // the next start deletes them
		s.o.Log.Error("cannot delete stored files", "error", err)
	}
}

// unusedFiles returns an operation that deletes the files without references.
func (s *Store) unusedFiles(names []string) sqlitedb.Op {
	return sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, name := range names {
			used, err := tx.One("SELECT 1 FROM stored_file WHERE name = ?", []any{name}, func(sqlitedb.Row) {})
			if err != nil {
				return err
			}
			if !used {
				s.batch.removals = append(s.batch.removals, name)
			}
		}
		return nil
	})
}

// remove deletes files without references. It runs on the committer, so no
// commit can add a reference meanwhile.
func (f *files) remove(names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused > 0 {
		f.waiting = append(f.waiting, names...)
		return
	}
	for _, n := range names {
		if f.pinned[n] > 0 {
			continue // its scope deletes it
		}
		if err := f.fs.Remove(f.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Error("cannot delete a stored file", "error", err)
		}
	}
}

// pause suspends the deletion of files.
func (f *files) pause() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused++
}

// resume ends a pause, and returns the files that may be deleted now.
func (f *files) resume() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused--; f.paused > 0 {
		return nil
	}
	waiting := f.waiting
	f.waiting = nil
	return waiting
}

// OpenFile implements blob.Store.
func (s *Store) OpenFile(name string) (io.ReadCloser, int64, error) {
	if !blob.IsName(name) {
		return nil, 0, blob.ErrLost
	}
	f, err := os.Open(s.files.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, blob.ErrLost
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return &verified{File: f, digest: sha256.New(), sum: blob.Sum(name), left: info.Size()}, info.Size(), nil
}

// verified is a file whose content is compared with its digest before its last
// bytes are returned, so that no reader gets all of a damaged file.
type verified struct {
	*os.File
	digest hash.Hash
	sum    string
	left   int64
}

// Read implements io.Reader.
func (v *verified) Read(b []byte) (int, error) {
	n, err := v.File.Read(b)
	v.digest.Write(b[:n])
	v.left -= int64(n)
	if (err == io.EOF || v.left <= 0) && hex.EncodeToString(v.digest.Sum(nil)) != v.sum {
		return 0, blob.ErrLost
	}
	return n, err
}

// WriteTo hides that of os.File, which would bypass Read.
func (v *verified) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{v})
}

// namesOf returns the names in parts of an execution. Anyone can write a name into
// a document, so there may be no file.
func namesOf(parts ...[]byte) (names []string) {
	for _, b := range parts {
		names = blob.Names(names, b)
	}
	return names
}

// mention is a name in a document.
type mention struct {
	name   string
	pinned bool // a scope that lasts until the commit has the file
}

// mentions returns the names in parts of an execution. It runs before the commit,
// because it reads all of them.
func (f *files) mentions(parts ...[]byte) (found []mention) {
	names := namesOf(parts...)
	if len(names) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		found = append(found, mention{n, f.pinned[n] > 0})
	}
	return found
}

// pinAgain pins those of the names that are pinned already, and returns them.
func (f *files) pinAgain(names []string) (pinned []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if f.pinned[n] > 0 {
			f.pinned[n]++
			pinned = append(pinned, n)
		}
	}
	return pinned
}

// refer stores that an execution refers to files. A name without a file is not
// stored: neither a scope nor an execution has it.
func refer(tx *sqlitedb.Tx, seq int64, found []mention) error {
	for _, m := range found {
		query, values := "INSERT OR IGNORE INTO stored_file(seq, name) VALUES(?,?)", []any{seq, m.name}
		if !m.pinned {
			query, values = "INSERT OR IGNORE INTO stored_file(seq, name) SELECT ?, ? WHERE EXISTS(SELECT 1 FROM stored_file WHERE name = ?)", append(values, m.name)
		}
		if _, err := tx.Exec(query, values...); err != nil {
			return err
		}
	}
	return nil
}

// retention is when the documents of an ended execution are deleted.
type retention struct{ ended, until int64 }

// endFiles deletes the references of ended executions, or sets the end of their
// retention. It returns the files that have none left. keep reports executions
// that stay live.
func endFiles(tx *sqlitedb.Tx, first, last int64, keep func(seq int64) bool, until func(seq int64) retention) ([]string, error) {
	type ref struct {
		seq  int64
		name string
	}
	var refs []ref
	err := tx.Rows("SELECT seq, name FROM stored_file WHERE seq BETWEEN ? AND ?", []any{first, last}, func(r sqlitedb.Row) (bool, error) {
		if keep == nil || !keep(r.Int(0)) {
			refs = append(refs, ref{r.Int(0), r.Text(1)})
		}
		return true, nil
	})
	var free []string
	for _, r := range refs {
		if err != nil {
			break
		}
		if t := until(r.seq); t.until > t.ended {
			_, err = tx.Exec("UPDATE stored_file SET ended = ?, until = ? WHERE seq = ? AND name = ?", t.ended, t.until, r.seq, r.name)
			continue
		}
		free, err = dropFile(tx, free, r.seq, r.name)
	}
	return free, err
}

// dropFile deletes a reference, and appends the file if it has none left.
func dropFile(tx *sqlitedb.Tx, free []string, seq int64, name string) ([]string, error) {
	if _, err := tx.Exec("DELETE FROM stored_file WHERE seq = ? AND name = ?", seq, name); err != nil {
		return free, err
	}
	used, err := tx.One("SELECT 1 FROM stored_file WHERE name = ?", []any{name}, func(sqlitedb.Row) {})
	if err == nil && !used {
		free = append(free, name)
	}
	return free, err
}

// retentionOf returns when the history deletes the documents of an execution.
func (s *Store) retentionOf(e *storedOutcome) retention {
	if e == nil || e.DropDocuments {
		return retention{}
	}
	keep := e.Documents
	if keep <= 0 {
		keep = e.Keep
	}
	if keep <= 0 {
		keep = s.o.Records
	}
	return retention{e.Ended.UnixNano(), e.Ended.AddDate(0, 0, days(keep)+1).UnixNano()}
}

// filesPerPurge is the number of references that one purge transaction deletes.
const filesPerPurge = 200

// archiveTime is the longest time between the end of an execution and its
// appearance in the history.
const archiveTime = 24 * time.Hour

// purgeFiles deletes the files of executions that the history no longer holds.
// While the disk is nearly full it deletes those of all ended executions, the
// oldest first.
func (s janitor) purgeFiles(ctx context.Context, now time.Time) error {
	oldest, err := s.history.Oldest(now)
	if err != nil {
		return err
	}
	if t := now.Add(-archiveTime); t.Before(oldest) {
		oldest = t
	}
	for {
		n := 0
		err := s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			n = 0
			limit, at := filesPerPurge, now.UnixNano()
			if s.space.Level() >= sqlitedb.Low {
				limit, at = 10, 1<<62
			}
			type ref struct {
				seq  int64
				name string
			}
			var refs []ref
			err := tx.Rows("SELECT seq, name FROM stored_file WHERE until IS NOT NULL AND (until < ? OR ended < ?) ORDER BY until LIMIT ?", []any{at, oldest.UnixNano(), int64(limit)}, func(r sqlitedb.Row) (bool, error) {
				refs = append(refs, ref{r.Int(0), r.Text(1)})
				return true, nil
			})
			for _, r := range refs {
				if err != nil {
					return err
				}
				n++
				s.batch.removals, err = dropFile(tx, s.batch.removals, r.seq, r.name)
			}
			return err
		}))
		if err != nil || n == 0 {
			return err
		}
		if err := s.space.Check(); err != nil {
			return err
		}
	}
}

// sweepBlobs deletes the files of commits that never happened, and unfinished
// files.
func (s janitor) sweepBlobs(ctx context.Context) error {
	f := s.files
	var names []string
	err := filepath.WalkDir(f.dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		name := e.Name()
		f.mu.Lock()
		own := f.pinned[name] > 0
		f.mu.Unlock()
		switch {
		case own:
		case strings.HasPrefix(name, unfinished):
			if err := f.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case blob.IsName(name):
			names = append(names, name)
		}
		if len(names) < filesPerSweep {
			return nil
		}
		err = s.db.Do(ctx, s.unusedFiles(names))
		names = nil
		return err
	})
	if err == nil && len(names) > 0 {
		err = s.db.Do(ctx, s.unusedFiles(names))
	}
	return err
}
