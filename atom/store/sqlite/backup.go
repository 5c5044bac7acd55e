package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"valence/atom/store/sqlite/disk"
	"valence/atom/store/sqlite/history"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Backup writes a consistent copy of the store, with its key and inventory, into
// a new folder while the store is in use. The folder appears when the copy is
// complete. Open accepts it.
func (s *Store) Backup(ctx context.Context, dir string) error {
	return datafolder.WriteBackup(dir, func(folder string) error { return s.backupTo(ctx, folder) })
}

// backupTo copies the store into a folder.
func (s *Store) backupTo(ctx context.Context, dir string) (err error) {
	s.blobs.pause()
	s.files.pause()
	defer func() {
		if unused := s.blobs.resume(); len(unused) > 0 {
			err = errors.Join(err, s.db.Do(ctx, s.unused(unused)))
		}
		if unused := s.files.resume(); len(unused) > 0 {
			err = errors.Join(err, s.db.Do(ctx, s.unusedFiles(unused)))
		}
	}()
	s.archiver.purging.Lock()
	defer s.archiver.purging.Unlock()
	// Nothing is archived meanwhile, so that database and history are
	// consistent.
	s.archiver.archiving.Lock()
	next := s.seqs.next.Load()
	err = s.db.Backup(ctx, filepath.Join(dir, databaseFile))
	past := s.history.Copy()
	s.archiver.archiving.Unlock()
	if err != nil {
		return err
	}
	if err := copyDocuments(s.blobs.dir, filepath.Join(dir, documentsFolder)); err != nil {
		return fmt.Errorf("back up the documents: %w", err)
	}
	if err := copyDocuments(s.files.dir, filepath.Join(dir, blobsFolder)); err != nil {
		return fmt.Errorf("back up the stored files: %w", err)
	}
	if err := past.To(filepath.Join(dir, historyFolder)); err != nil {
		return fmt.Errorf("back up the history: %w", err)
	}
	if s.key != nil {
		if err := disk.CopyFile(filepath.Join(s.dir, s.o.KeyFile), filepath.Join(dir, s.o.KeyFile), -1); err != nil {
			return fmt.Errorf("back up the key: %w", err)
		}
	}
	return errors.Join(s.backupInventory(dir, past, next), sqlitedb.SyncDir(dir))
}

// backupInventory writes the inventory of a copy.
func (s *Store) backupInventory(folder string, past history.Copy, next int64) error {
	s.inventory.mu.Lock()
	list := s.inventory.list
	s.inventory.mu.Unlock()
	list.Running, list.Next = false, next
	list.Segments = map[string]datafolder.Segment{}
	for name, x := range past.Segments(filepath.Join(folder, historyFolder)) {
		list.Segments[segmentPath(name)] = datafolder.Segment{Bytes: x.Bytes, Sealed: x.Sealed}
	}
	copied := &inventory{dir: folder, fs: disk.OS{}}
	return copied.update(func(v *datafolder.Inventory) { *v = list })
}

// copyDocuments copies the folders of documents into a new folder, and flushes it.
func copyDocuments(from, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	folders, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue // unfinished
		}
		to := filepath.Join(dir, folder.Name())
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		list, err := os.ReadDir(filepath.Join(from, folder.Name()))
		if err != nil {
			return err
		}
		for _, e := range list {
			if strings.HasPrefix(e.Name(), unfinished) {
				continue
			}
			err := disk.CopyFile(filepath.Join(from, folder.Name(), e.Name()), filepath.Join(to, e.Name()), -1)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := sqlitedb.SyncDir(to); err != nil {
			return err
		}
	}
	return sqlitedb.SyncDir(dir)
}
