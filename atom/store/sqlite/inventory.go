package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"valence/atom/store/sqlite/disk"
	"valence/atom/store/sqlite/history"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Names in the data folder.
const (
	databaseFile    = "hot.db"
	historyFolder   = "history"
	documentsFolder = "documents"
)

// folderKeyBytes is the size of the key of Options.KeyFile.
const folderKeyBytes = 32

// openSegmentSetting is the prefix of settings with the sizes of segments that
// are being written. They are set in the commit that deletes the executions
// of the segment from the database.
const openSegmentSetting = "history/"

// inventory maintains the inventory of the data folder.
type inventory struct {
	dir string
	fs  disk.FS

	mu   sync.Mutex
	list datafolder.Inventory
}

var _ history.Ledger = (*inventory)(nil)

// update changes the inventory and writes it.
func (v *inventory) update(change func(*datafolder.Inventory)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(&v.list)
	text, err := v.list.Encode()
	if err != nil {
		return err
	}
	temp := filepath.Join(v.dir, "."+datafolder.InventoryFile+".new")
	if _, err := os.Lstat(temp); err == nil { // left by a kill
		if err := v.fs.Remove(temp); err != nil {
			return fmt.Errorf("write the inventory: %w", err)
		}
	}
	f, err := v.fs.Create(temp)
	if err != nil {
		return fmt.Errorf("write the inventory: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = v.fs.Rename(temp, filepath.Join(v.dir, datafolder.InventoryFile))
	}
	if err != nil {
		return fmt.Errorf("write the inventory: %w", errors.Join(err, v.fs.Remove(temp)))
	}
	return v.fs.SyncDir(v.dir)
}

func segmentPath(segment string) string { return path.Join(historyFolder, segment) }

// Created implements history.Ledger.
func (v *inventory) Created(segment string) error {
	return v.update(func(l *datafolder.Inventory) { l.Segments[segmentPath(segment)] = datafolder.Segment{} })
}

// Sealed implements history.Ledger. It ignores segments that were deleted
// meanwhile.
func (v *inventory) Sealed(sizes map[string]int64) error {
	v.mu.Lock()
	known := true
	for segment, size := range sizes {
		known = known && v.list.Segments[segmentPath(segment)] == datafolder.Segment{Bytes: size, Sealed: true}
	}
	v.mu.Unlock()
	if known {
		return nil
	}
	return v.update(func(l *datafolder.Inventory) {
		for segment, size := range sizes {
			if _, ok := l.Segments[segmentPath(segment)]; ok {
				l.Segments[segmentPath(segment)] = datafolder.Segment{Bytes: size, Sealed: true}
			}
		}
	})
}

// Deleting implements history.Ledger.
func (v *inventory) Deleting(segments []string) error {
	return v.update(func(l *datafolder.Inventory) {
		for _, segment := range segments {
			delete(l.Segments, segmentPath(segment))
		}
	})
}

// losses checks a folder before its store is opened.
type losses struct {
	dir    string
	accept bool
	log    func(msg string, args ...any)
	found  []string
	before *datafolder.Inventory // nil: none
	open   map[string]int64      // sizes of segments that were being written
	logged bool                  // the database has a write-ahead log
	fresh  bool                  // the database must not reuse numbers: an earlier one is lost
}

// checkFiles compares the files of the folder with its inventory. It changes
// nothing.
func (l *losses) checkFiles(keyFile string) error {
	_, noLog := os.Stat(filepath.Join(l.dir, databaseFile+"-wal"))
	l.logged = noLog == nil
	before, err := datafolder.ReadInventory(l.dir)
	if err != nil {
		l.found = append(l.found, err.Error())
	}
	l.before = before
	if before != nil {
		l.found = append(l.found, before.Missing(l.dir)...)
		l.fresh = datafolder.LostDatabase(l.dir, databaseFile) != ""
		return l.verdict()
	}
	if s := datafolder.Orphans(l.dir, databaseFile, historyFolder, documentsFolder, keyFile); s != "" {
		l.found, l.fresh = append(l.found, s), true
	}
	return l.verdict()
}

// verdict returns an error if something is lost and that is not accepted.
func (l *losses) verdict() error {
	if len(l.found) == 0 || l.accept {
		return nil
	}
	return datafolder.LossError(l.dir, l.found)
}

// checkDatabase compares the opened database with the inventory.
func (l *losses) checkDatabase(tx *sqlitedb.Tx, have sqlitedb.Identity, hadDocuments bool) error {
	next, err := setting(tx, settingSeq)
	if err != nil {
		return err
	}
	if l.before != nil && !l.fresh {
		l.found = append(l.found, l.before.CheckDatabase(have.ID, have.Starts, next, l.logged)...)
		l.fresh = have.ID == 0 || next < l.before.Next
		if l.open, err = openSegments(tx); err != nil {
			return err
		}
		for segment, size := range l.open {
			known, ok := l.before.Segments[segmentPath(segment)]
			info, err := os.Stat(filepath.Join(l.dir, historyFolder, filepath.FromSlash(segment)))
			if ok && !known.Sealed && err == nil && info.Size() < size {
				l.found = append(l.found, fmt.Sprintf("%s has %d bytes of %d", segmentPath(segment), info.Size(), size))
			}
		}
	}
	used, err := tx.One("SELECT 1 FROM file LIMIT 1", nil, func(sqlitedb.Row) {})
	if err == nil && used && !hadDocuments {
		l.found = append(l.found, documentsFolder+" is missing")
	}
	return errors.Join(err, l.verdict())
}

// record writes the losses to the log and to a file.
func (l *losses) record() error {
	if len(l.found) == 0 {
		return nil
	}
	for _, what := range l.found {
		l.log("started without lost data", "lost", what, "recorded_in", datafolder.LossesFile)
	}
	return datafolder.RecordLosses(l.dir, l.found)
}

// openSegments returns the settings of segments that were being written.
func openSegments(tx *sqlitedb.Tx) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := tx.Rows("SELECT name, value FROM setting WHERE name LIKE ?", []any{openSegmentSetting + "%"}, func(r sqlitedb.Row) (bool, error) {
		sizes[strings.TrimPrefix(r.Text(0), openSegmentSetting)] = r.Int(1)
		return true, nil
	})
	return sizes, err
}

// writeOpenSegments stores how much of the history has been written, with the
// commit that relies on it.
func (s *Store) writeOpenSegments(tx *sqlitedb.Tx) error {
	for segment, size := range s.history.OpenSegments() {
		if err := setSetting(tx, openSegmentSetting+segment, size); err != nil {
			return err
		}
	}
	return nil
}

// skippedNumbers is how many numbers are skipped if a database is lost: more
// than it can have used since the inventory was written.
const skippedNumbers = 1 << 24

// firstNumber returns the lowest number that may be used. Numbers of a lost
// database must not be used again: they are part of the ids of executions.
func (s *Store) firstNumber(l *losses) (int64, error) {
	if !l.fresh {
		return 1, nil
	}
	highest, err := s.history.Highest()
	if l.before != nil {
		highest = max(highest, l.before.Next)
	}
	return highest + skippedNumbers, err
}

// startInventory writes the inventory of the opened folder.
func (s *Store) startInventory(l *losses, id sqlitedb.Identity) error {
	segments := map[string]datafolder.Segment{}
	names, err := filepath.Glob(filepath.Join(s.dir, historyFolder, "*", "*.seg"))
	if err != nil {
		return err
	}
	for _, name := range names {
		name = path.Join(historyFolder, filepath.Base(filepath.Dir(name)), filepath.Base(name))
		segments[name] = datafolder.Segment{}
		if l.before != nil && len(l.found) == 0 {
			x := l.before.Segments[name]
			x.Bytes = max(x.Bytes, l.open[strings.TrimPrefix(name, historyFolder+"/")])
			segments[name] = x
		}
	}
	keys := map[string]string{}
	if l.before != nil && s.key == nil { // opened by a tool
		keys = l.before.Keys
	}
	if s.key != nil {
		keys[s.o.KeyFile] = datafolder.Digest(s.key)
	}
	return s.inventory.update(func(v *datafolder.Inventory) {
		*v = datafolder.Inventory{Database: databaseFile, ID: id.ID, Starts: id.Starts, Running: true, Next: s.seqs.next.Load(), Keys: keys, Segments: segments}
	})
}

// nextIdentity returns the identity of a database for its next start.
func nextIdentity(have sqlitedb.Identity, l *losses) sqlitedb.Identity {
	id := sqlitedb.Identity{ID: have.ID, Starts: have.Starts + 1}
	if id.ID == 0 {
		id.ID = 1 + rand.Int64N(1<<62)
	}
	if l.before != nil {
		id.Starts = max(id.Starts, l.before.Starts+1)
	}
	return id
}

// openDatabase opens the database. A malformed one is a loss.
func (s *Store) openDatabase(l *losses) error {
	open := func() (err error) {
		s.db, err = sqlitedb.Open(filepath.Join(s.dir, databaseFile), sqlitedb.Options{
			Migrations: migrations, Batch: s.batch, OnCommit: s.o.OnCommit, OnFailure: s.writeFailed, Log: s.o.Log, VFS: s.o.VFS,
		})
		return err
	}
	err := open()
	if err == nil || !sqlitedb.IsDamage(err) {
		return err
	}
	l.found = append(l.found, fmt.Sprintf("%s is malformed: %v", databaseFile, err))
	if err := l.verdict(); err != nil {
		return err
	}
	l.fresh = true
	return errors.Join(datafolder.SetAside(l.dir, databaseFile, databaseFile+"-wal", databaseFile+"-shm"), open())
}

// openKey reads the key of the folder, or creates it.
func (s *Store) openKey(l *losses) (err error) {
	if s.o.KeyFile == "" {
		return nil
	}
	name := filepath.Join(s.dir, s.o.KeyFile)
	if info, err := os.Stat(name); err == nil && info.Size() != folderKeyBytes && l.accept {
		l.found = append(l.found, fmt.Sprintf("%s has %d bytes, not %d", s.o.KeyFile, info.Size(), folderKeyBytes))
		if err := datafolder.SetAside(l.dir, s.o.KeyFile); err != nil {
			return err
		}
	}
	s.key, err = datafolder.Key(name, folderKeyBytes)
	return err
}

// Key returns the key of the folder, or nil without Options.KeyFile.
func (s *Store) Key() []byte { return s.key }
