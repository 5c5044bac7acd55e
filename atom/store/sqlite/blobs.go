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
	"strings"
	"sync"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite/disk"
	"valence/internal/sqlitedb"
)

// blobs stores large documents as files named by their hash. A file and its
// name are flushed before the commit that refers to it. It is deleted after the
// commit that removes the last reference. A writer pins the file until its
// commit.
type blobs struct {
	dir string
	fs  disk.FS
	log *slog.Logger

	files *files // that documents refer to

	mu      sync.Mutex
	pinned  map[[32]byte]int
	folders map[string]bool // created and flushed
	paused  int             // number of backups in progress; nothing is deleted meanwhile
	waiting [][32]byte      // files to delete after the backups
	prefix  string          // of unfinished files of this process
	temp    int
}

// unfinished is the prefix of a file that is being written.
const unfinished = "new-"

type pin struct {
	b    *blobs
	hash [32]byte
}

// pins protect files from deletion until they are released.
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

// spill writes v to a file if it is large, and sets ref. The caller must
// release the pins, also after an error.
func (b *blobs) spill(v []byte, ref **fileRef) (pins, error) {
	if len(v) <= inlineBytes {
		return nil, nil
	}
	r := &fileRef{hash: sha256.Sum256(v), size: len(v)}
	b.mu.Lock()
	b.pinned[r.hash]++
	b.mu.Unlock()
	pinned := pins{{b, r.hash}}
	if err := b.write(r.hash, v); err != nil {
		return pinned, fmt.Errorf("%w: write a document: %w", sqlitedb.ErrUnavailable, err)
	}
	*ref = r
	return pinned, nil
}

func (b *blobs) write(hash [32]byte, v []byte) error {
	path := b.path(hash)
	folder := filepath.Dir(path)
	if st, err := os.Stat(path); err == nil && st.Size() == int64(len(v)) {
		return b.fs.SyncDir(folder) // another writer may not have flushed the name yet
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

func (b *blobs) spillMessage(a *store.Message, to *pendingAccept) (pins, error) {
	to.storedMessage = storedMessage{Message: a, files: b.files.mentions(a.Doc, a.Data, a.Meta)}
	all, err := b.spill(a.Doc, &to.docFile)
	if err != nil {
		return all, err
	}
	more, err := b.spill(a.Data, &to.dataFile)
	if all = append(all, more...); err != nil {
		return all, err
	}
	more, err = b.spillEntries(a.Entries, &to.entries)
	return append(all, more...), err
}

func (b *blobs) spillEntries(entries []store.Entry, to *[]storedEntry) (all pins, err error) {
	if len(entries) == 0 {
		return nil, nil
	}
	lines := make([]storedEntry, len(entries))
	for i, e := range entries {
		lines[i].Entry, lines[i].files = e, b.files.mentions(e.Body)
		more, err := b.spill(e.Body, &lines[i].bodyFile)
		if all = append(all, more...); err != nil {
			return all, err
		}
	}
	*to = lines
	return all, nil
}

// read returns a document, after verifying its hash. It fails with
// store.ErrDocumentLost if the document is missing or damaged.
func (b *blobs) read(ref *fileRef) ([]byte, error) {
	v, err := os.ReadFile(b.path(ref.hash))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", store.ErrDocumentLost, err)
	case err != nil:
		return nil, fmt.Errorf("read a document: %w", err)
	case sha256.Sum256(v) != ref.hash:
		return nil, fmt.Errorf("%w: %s: %w", store.ErrDocumentLost, b.path(ref.hash), errDamaged)
	}
	return v, nil
}

// load reads the documents that are in files.
func (b *blobs) load(h *storedMessage, entries []storedEntry, e *storedOutcome) error {
	get := func(v *[]byte, ref *fileRef) (err error) {
		if ref != nil && *v == nil {
			*v, err = b.read(ref)
		}
		return err
	}
	var errs []error
	if h != nil && (h.docFile != nil || h.dataFile != nil) {
		errs = append(errs, get(&h.Doc, h.docFile), get(&h.Data, h.dataFile))
	}
	for i := range entries {
		if entries[i].bodyFile != nil {
			errs = append(errs, get(&entries[i].Body, entries[i].bodyFile))
		}
	}
	if e != nil {
		errs = append(errs, get(&e.Trace, e.traceFile))
	}
	return errors.Join(errs...)
}

// unlink deletes files without references. It runs on the committer, so no
// commit can add a reference meanwhile; files of pending commits are pinned.
func (b *blobs) unlink(hashes [][32]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused > 0 {
		b.waiting = append(b.waiting, hashes...)
		return
	}
	for _, h := range hashes {
		if b.pinned[h] > 0 {
			continue // if its commit fails, the sweep deletes it
		}
		if err := b.fs.Remove(b.path(h)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.log.Error("cannot delete a document", "error", err)
		}
	}
}

// pause suspends the deletion of files.
func (b *blobs) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused++
}

// resume ends a pause, and returns the files that may be deleted now.
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

// writeFiles stores which documents and files an execution refers to.
func writeFiles(tx *sqlitedb.Tx, seq int64, h *storedMessage, entries []storedEntry, e *storedOutcome) error {
	note := func(ref *fileRef) error {
		if ref == nil {
			return nil
		}
		_, err := tx.Exec("INSERT OR IGNORE INTO file(seq, hash) VALUES(?,?)", seq, ref.hash[:])
		return err
	}
	var errs []error
	if h != nil {
		errs = append(errs, note(h.docFile), note(h.dataFile), refer(tx, seq, h.files))
	}
	for i := range entries {
		if entries[i].bodyFile != nil {
			errs = append(errs, note(entries[i].bodyFile))
		}
		errs = append(errs, refer(tx, seq, entries[i].files))
	}
	if e != nil {
		errs = append(errs, note(e.traceFile))
	}
	return errors.Join(errs...)
}

// freeFiles deletes the file references of executions, and returns the files
// that have none left.
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

// isOwn reports whether this process is writing an unfinished file.
func (b *blobs) isOwn(name string) bool { return strings.HasPrefix(name, b.prefix) }
