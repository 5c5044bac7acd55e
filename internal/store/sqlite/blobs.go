package sqlite

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite/disk"
)

// blobs keeps large documents as files named by their content. A file is on
// disk, its name too, before the commit that refers to it; it is deleted after
// the commit that deletes the last reference. Whoever is between the two has
// it pinned.
type blobs struct {
	dir string
	fs  disk.FS
	log *slog.Logger

	mu      sync.Mutex
	pinned  map[[32]byte]int
	folders map[string]bool // made and flushed
	paused  int             // backups under way: nothing is deleted
	waiting [][32]byte      // what to delete when none is
	prefix  string          // of the names of what this process has not finished
	temp    int
}

// unfinished begins the name of a file that is being written.
const unfinished = "new-"

type pin struct {
	b    *blobs
	hash [32]byte
}

// pins are files that must not be deleted.
type pins []pin

func (ps pins) release() {
	for _, p := range ps {
		p.b.mu.Lock()
		if p.b.pinned[p.hash]--; p.b.pinned[p.hash] == 0 {
			delete(p.b.pinned, p.hash)
		}
		p.b.mu.Unlock()
	}
}

func newBlobs(dir string, fsys disk.FS, log *slog.Logger) (*blobs, error) {
	if err := fsys.Mkdir(dir); err != nil {
		return nil, err
	}
	return &blobs{dir: dir, fs: fsys, log: log, prefix: fmt.Sprintf("%s%d-%x-", unfinished, os.Getpid(), time.Now().UnixNano()), pinned: map[[32]byte]int{}, folders: map[string]bool{}}, nil
}

func (b *blobs) path(hash [32]byte) string {
	name := hex.EncodeToString(hash[:])
	return filepath.Join(b.dir, name[:2], name)
}

// spill keeps v as a file if it is large, and sets ref.
func (b *blobs) spill(v []byte, ref **fileRef) (pins, error) {
	if len(v) <= inlineBytes {
		return nil, nil
	}
	r := &fileRef{hash: sha256.Sum256(v), size: len(v)}
	b.mu.Lock()
	b.pinned[r.hash]++
	b.mu.Unlock()
	held := pins{{b, r.hash}}
	if err := b.write(r.hash, v); err != nil {
		return held, fmt.Errorf("%w: keep a document as a file: %w", sqlitedb.ErrUnavailable, err)
	}
	*ref = r
	return held, nil
}

func (b *blobs) write(hash [32]byte, v []byte) error {
	path := b.path(hash)
	folder := filepath.Dir(path)
	if st, err := os.Stat(path); err == nil && st.Size() == int64(len(v)) {
		return b.fs.SyncDir(folder) // whoever wrote it may not have come to that
	}
	b.mu.Lock()
	made := b.folders[folder]
	b.temp++
	temp := filepath.Join(folder, fmt.Sprintf("%s%d", b.prefix, b.temp))
	b.mu.Unlock()
	if !made {
		if err := b.fs.Mkdir(folder); err != nil {
			return err
		}
		if err := b.fs.SyncDir(b.dir); err != nil {
			return err
		}
		b.mu.Lock()
		b.folders[folder] = true
		b.mu.Unlock()
	}
	f, err := b.fs.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(v)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = b.fs.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, b.fs.Remove(temp))
	}
	return b.fs.SyncDir(folder)
}

func (b *blobs) spillAcceptance(a *atom.Acceptance, to *accepting) (pins, error) {
	to.held = held{Acceptance: a}
	all, err := b.spill(a.Doc, &to.doc)
	if err != nil {
		return all, err
	}
	more, err := b.spill(a.Data, &to.data)
	if all = append(all, more...); err != nil {
		return all, err
	}
	more, err = b.spillLines(a.Entries, &to.lines)
	return append(all, more...), err
}

func (b *blobs) spillLines(entries []atom.Entry, to *[]line) (all pins, err error) {
	if len(entries) == 0 {
		return nil, nil
	}
	lines := make([]line, len(entries))
	for i, e := range entries {
		lines[i].Entry = e
		more, err := b.spill(e.Body, &lines[i].body)
		if all = append(all, more...); err != nil {
			return all, err
		}
	}
	*to = lines
	return all, nil
}

// read gives a document, checked.
func (b *blobs) read(ref *fileRef) ([]byte, error) {
	v, err := os.ReadFile(b.path(ref.hash))
	if err != nil {
		return nil, fmt.Errorf("read a document: %w", err)
	}
	if sha256.Sum256(v) != ref.hash {
		return nil, fmt.Errorf("the document %s: %w", b.path(ref.hash), errDamaged)
	}
	return v, nil
}

// fill reads what is kept apart.
func (b *blobs) fill(h *held, lines []line, e *ending) error {
	get := func(v *[]byte, ref *fileRef) (err error) {
		if ref != nil && *v == nil {
			*v, err = b.read(ref)
		}
		return err
	}
	var errs []error
	if h != nil && (h.doc != nil || h.data != nil) {
		errs = append(errs, get(&h.Doc, h.doc), get(&h.Data, h.data))
	}
	for i := range lines {
		if lines[i].body != nil {
			errs = append(errs, get(&lines[i].Body, lines[i].body))
		}
	}
	if e != nil {
		errs = append(errs, get(&e.Trace, e.trace))
	}
	return errors.Join(errs...)
}

// unlink deletes files that nothing refers to any more. It is called by the
// committer, so nothing can come to refer to one meanwhile but what has it
// pinned.
func (b *blobs) unlink(hashes [][32]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused > 0 {
		b.waiting = append(b.waiting, hashes...)
		return
	}
	for _, h := range hashes {
		if b.pinned[h] > 0 {
			continue // the sweep will find it if nothing comes of it
		}
		if err := b.fs.Remove(b.path(h)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.log.Error("a document cannot be deleted", "error", err)
		}
	}
}

// pause keeps files from being deleted.
func (b *blobs) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused++
}

// resume ends a pause, and gives what was to be deleted meanwhile.
func (b *blobs) resume() [][32]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused--; b.paused > 0 {
		return nil
	}
	waiting := b.waiting
	b.waiting = nil
	return waiting
}

// writeFiles notes which files an execution refers to.
func writeFiles(tx *sqlitedb.Tx, seq int64, h *held, lines []line, e *ending) error {
	note := func(ref *fileRef) error {
		if ref == nil {
			return nil
		}
		_, err := tx.Exec("INSERT OR IGNORE INTO file(seq, hash) VALUES(?,?)", seq, ref.hash[:])
		return err
	}
	var errs []error
	if h != nil {
		errs = append(errs, note(h.doc), note(h.data))
	}
	for i := range lines {
		if lines[i].body != nil {
			errs = append(errs, note(lines[i].body))
		}
	}
	if e != nil {
		errs = append(errs, note(e.trace))
	}
	return errors.Join(errs...)
}

// freeFiles deletes the references of executions and gives the files that
// nothing refers to any more.
func freeFiles(tx *sqlitedb.Tx, first, last int64, keep func(seq int64) bool) ([][32]byte, error) {
	type ref struct {
		seq  int64
		hash [32]byte
	}
	var refs []ref
	err := tx.Rows("SELECT seq, hash FROM file WHERE seq BETWEEN ? AND ?", []any{first, last}, func(r sqlitedb.Row) (bool, error) {
		if keep == nil || !keep(r.Int(0)) {
			refs = append(refs, ref{r.Int(0), [32]byte(r.Bytes(1))})
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	var free [][32]byte
	for _, r := range refs {
		if _, err := tx.Exec("DELETE FROM file WHERE seq = ? AND hash = ?", r.seq, r.hash[:]); err != nil {
			return nil, err
		}
		used, err := tx.One("SELECT 1 FROM file WHERE hash = ?", []any{r.hash[:]}, func(sqlitedb.Row) {})
		if err != nil {
			return nil, err
		}
		if !used {
			free = append(free, r.hash)
		}
	}
	return free, nil
}
