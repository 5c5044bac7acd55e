// Package sqlite is the durable store of an atom: a folder with a database of
// live executions, a history of segments, and files for large documents.
//
// The package is large because its parts cannot be told apart from outside: one
// transaction batch and one index of live executions serve accepting, changing,
// archiving and recovering them.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite/disk"
	"valence/atom/store/sqlite/history"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Options configures a store.
type Options struct {
	// Records is the default retention of ended executions; 0 means 30 days.
	Records time.Duration
	// HistoryMaxBytes is the maximum size of the history. Above it the oldest
	// day is deleted, whatever its age. 0 means unlimited.
	HistoryMaxBytes int64
	// BareTrace returns the trace of an outcome without its documents. It is
	// called when documents are kept for a shorter time than the execution. If
	// it is nil, the execution then has no trace.
	BareTrace func(trace []byte) []byte
	// KeyFile is the name of a file in the folder with a random key, which
	// belongs to the data; see Store.Key. Empty: none.
	KeyFile string
	// AcceptLoss opens a folder that lacks some of its files or records. The losses
	// are logged and recorded in the folder.
	AcceptLoss bool
	Log        *slog.Logger
	// OnCommit observes each commit: its number of operations and its duration.
	OnCommit func(operations int, took time.Duration)

	importing bool // by OpenTarget: the folder may be unfinished, and old days are added to the history

	// Now replaces the clock of the machine by a virtual one; nil: none.
	Now func() time.Time

	// Replacements for the disk in tests: a registered SQLite VFS, file
	// operations, and free space.
	VFS  string
	FS   disk.FS
	Free func(dir string) (free, total int64, err error)
}

// Store is a store.Store in a folder. Its methods are safe for concurrent use.
type Store struct {
	folder
	o        Options
	db       *sqlitedb.DB
	history  *history.History
	blobs    *blobs
	files    *files
	clock    *clock
	seqs     *sequence
	joined   atomic.Int64 // the first number after Join
	claims   claims
	contents contents
	archiver *archiver
	stager   stager
	batch    *batch // used by the committer only
	listeners
	announcements *announcements
	lastStop

	live
}

// folder is the data folder, locked for this process.
type folder struct {
	dir       string
	lock      *sqlitedb.Lock
	space     *sqlitedb.Space
	running   *runningFile
	inventory *inventory
	key       []byte // nil: none
}

// listeners receive the announcements. They are set before Run.
type listeners struct {
	accepted func([]*store.Record)
	ready    func([]store.Wakeup)
}

// lastStop is how this run and the one before ended.
type lastStop struct {
	unclean bool // the previous run
	broken  bool // this run: the committer gave up
}

// live is the in-memory view of live executions.
type live struct {
	mu    sync.Mutex // guards index; held briefly
	index *liveIndex
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a folder, creating it if it does not exist, and
// recovers from a crash. It returns a *sqlitedb.LockedError if another process
// uses the folder, a *sqlitedb.NewerSchemaError if a newer version wrote it, and
// a *clierror.Error if the folder is an unfinished backup or lacks some of its
// files or records.
func Open(dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Records == 0 {
		o.Records = 30 * 24 * time.Hour
	}
	if o.FS == nil {
		o.FS = disk.OS{}
	}
	if o.BareTrace == nil {
		o.BareTrace = func([]byte) []byte { return nil }
	}
	if err := datafolder.CheckFinished(dir); err != nil {
		return nil, err
	}
	if !o.importing {
		if err := datafolder.CheckImported(dir); err != nil {
			return nil, err
		}
		if err := datafolder.CheckNotMoved(dir); err != nil {
			return nil, err
		}
	}
	lock, err := sqlitedb.LockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{folder: folder{dir: dir, lock: lock, inventory: &inventory{dir: dir, fs: o.FS}}, o: o, clock: newClock(nil), live: live{index: newLiveIndex()}, announcements: newAnnouncements(), contents: newContents(), claims: claims{byKey: map[[2]string]*claim{}}}
	s.clock.virtual = o.Now
	s.archiver = newArchiver(s)
	s.batch = newBatch(s)
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", dir, err), s.release())
	}
	return s, nil
}

func (s *Store) open() (err error) {
	s.space = sqlitedb.NewSpace(s.dir, s.o.Free, s.o.Log)
	lost := &losses{dir: s.dir, accept: s.o.AcceptLoss, log: s.o.Log.Error}
	known := s.o.KeyFile
	if s.o.importing {
		known = "" // it is there before the database
	}
	if err := lost.checkFiles(known); err != nil {
		return err
	}
	if err := s.openDatabase(lost); err != nil {
		return err
	}
	_, noDocuments := os.Stat(filepath.Join(s.dir, documentsFolder))
	have, err := s.db.Identity()
	if err != nil {
		return err
	}
	if err := s.db.Setup(func(tx *sqlitedb.Tx) error { return lost.checkDatabase(tx, have, noDocuments == nil) }); err != nil {
		return err
	}
	if s.history, err = history.Open(filepath.Join(s.dir, historyFolder), history.Options{
		Ledger: s.inventory,
		FS:     s.o.FS, Log: s.o.Log, Keep: int((s.o.Records + 24*time.Hour - 1) / (24 * time.Hour)), MaxBytes: s.o.HistoryMaxBytes,
		AnyDay: s.o.importing,
	}); err != nil {
		return err
	}
	if s.blobs, err = newBlobs(filepath.Join(s.dir, documentsFolder), s.o.FS, s.o.Log); err != nil {
		return err
	}
	if s.files, err = newFiles(filepath.Join(s.dir, blobsFolder), s.o.FS, s.space, s.o.Log); err != nil {
		return err
	}
	s.blobs.files = s.files
	if err := errors.Join(s.openKey(lost), lost.record()); err != nil {
		return err
	}
	first, err := s.firstNumber(lost)
	if err != nil {
		return err
	}
	s.stager = newStager(s.db, s.o.Log)
	var ran []int64
	if s.running, ran, err = openRunningFile(filepath.Join(s.dir, "running")); err != nil {
		return err
	}
	id := nextIdentity(have, lost)
	if err := s.db.Setup(func(tx *sqlitedb.Tx) error { return errors.Join(s.start(tx, ran, first), sqlitedb.SetIdentity(tx, id)) }); err != nil {
		return err
	}
	s.batch.Committed()
	if s.unclean {
		s.o.Log.Warn("the last stop was not clean", "running", len(ran))
	}
	if err := s.space.Check(); err != nil {
		return err
	}
	return s.startInventory(lost, id)
}

// start marks the store as in use, and rebuilds its state in memory. ran are
// the executions that were running at the last stop, first is the lowest number
// that may be used.
func (s *Store) start(tx *sqlitedb.Tx, ran []int64, first int64) error {
	next, err := setting(tx, settingSeq)
	if err != nil {
		return err
	}
	clean, err := setting(tx, settingClean)
	if err != nil {
		return err
	}
	s.unclean = next > 0 && clean == 0
	next = max(next, first)
	if _, err := tx.Exec("DELETE FROM setting WHERE name LIKE ?", openSegmentSetting+"%"); err != nil {
		return err
	}
	s.seqs = newSequence(next, next+seqBlock, s.archiver.wake)
	if err := errors.Join(setSetting(tx, settingSeq, next+seqBlock), setSetting(tx, settingClean, 0)); err != nil {
		return err
	}
	if !s.unclean {
		ran = nil
	}
	if s.stager.orphans, err = uncommittedStages(tx); err != nil {
		return err
	}
	if err := s.contents.restore(tx); err != nil {
		return err
	}
	return recovery{s}.restore(tx, ran)
}

// writeFailed is called by the committer when writing fails, and with nil when
// it works again.
func (s *Store) writeFailed(err error) {
	switch {
	case err == nil:
		s.o.Log.Warn("store is writable again")
	case errors.Is(err, sqlitedb.ErrFull):
		s.o.Log.Error("disk is full", "error", err)
		if err := s.space.ReleaseBallast(); err != nil {
			s.o.Log.Error("cannot delete the ballast", "error", err)
		}
	case errors.Is(err, sqlitedb.ErrDamaged): // the database has logged it
	default:
		s.o.Log.Error("cannot use the store", "error", err)
	}
}

// OnAccepted implements store.Store.
func (s *Store) OnAccepted(f func([]*store.Record)) { s.accepted = f }

// OnReady implements store.Notifier.
func (s *Store) OnReady(f func([]store.Wakeup)) { s.ready = f }

// read runs f in a snapshot of the database.
func (s *Store) read(ctx context.Context, f func(*sqlitedb.Tx) error) error {
	return s.storeError(s.db.Read(ctx, f))
}

// Err implements store.Backlog.
func (s *Store) Err() error {
	if err := s.db.Err(); err != nil {
		return s.storeError(err)
	}
	if s.space.Level() >= sqlitedb.Low {
		return store.ErrFull
	}
	return nil
}

// Run implements store.Store. It returns an error if the database could not be
// written three times in a row; the program should then exit.
func (s *Store) Run(ctx context.Context) error {
	writing, stop := context.WithCancel(context.Background())
	defer stop()
	quiet, cancel := context.WithCancel(ctx)
	defer cancel()
	committed := make(chan error, 1)
	go func() {
		committed <- s.db.Run(writing)
		cancel()
	}()
	var helpers sync.WaitGroup
	helpers.Go(func() { s.archiver.run(quiet) })
	helpers.Go(func() { s.space.Run(quiet) })
	helpers.Go(func() { janitor{s}.run(quiet) })
	helpers.Go(func() { janitor{s}.verify(quiet) })
	helpers.Go(func() { s.stager.run(quiet) })
	<-quiet.Done()
	helpers.Wait()
	stop()
	err := <-committed
	s.broken = err != nil || errors.Is(s.db.Err(), sqlitedb.ErrDamaged)
	s.seqs.close()
	return s.storeError(err)
}

// Close closes the store. Run must have returned.
func (s *Store) Close() error {
	var errs []error
	errs = append(errs, s.history.Close())
	if !s.broken {
		errs = append(errs, s.db.Setup(func(tx *sqlitedb.Tx) error {
			return errors.Join(setSetting(tx, settingSeq, s.seqs.next.Load()), setSetting(tx, settingClean, 1))
		}))
		errs = append(errs, s.inventory.update(func(v *datafolder.Inventory) { v.Running, v.Next = false, s.seqs.next.Load() }))
	}
	return errors.Join(append(errs, s.release())...)
}

// Abandon closes the store without recording that it stopped, so that it is
// opened as after the death of the program. Run must have returned.
func (s *Store) Abandon() error {
	s.broken = true
	return s.Close()
}

func (s *Store) release() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.running != nil {
		errs = append(errs, s.running.close())
	}
	return errors.Join(append(errs, s.lock.Release())...)
}

// Stats is the health of the store.
type Stats struct {
	Dropped        int64 // executions that ran in memory and could not be recorded
	HistoryBytes   int64
	ClockJumps     int64
	PurgeSuspended bool // because the clock jumped
	Space          sqlitedb.Level
	Unclean        bool // the last stop was not clean
}

// Stats returns current values.
func (s *Store) Stats() Stats {
	return Stats{
		Dropped: s.archiver.dropped.Load(), HistoryBytes: s.history.Bytes(), ClockJumps: s.clock.jumps.Load(),
		PurgeSuspended: !s.clock.steady(), Space: s.space.Level(), Unclean: s.unclean,
	}
}
