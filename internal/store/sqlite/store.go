// Package sqlite is the store of one atom in one folder: a database for what
// lives, a history of segments for what ended, and files for large documents.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite/disk"
	"valence/internal/store/sqlite/history"
)

// Options of a store.
type Options struct {
	// Records is how long ended executions are kept that do not say; 0 is 30 days.
	Records time.Duration
	// HistoryMaxBytes bounds the history: beyond it the oldest day goes, however
	// young it is. 0 is no bound.
	HistoryMaxBytes int64
	Log             *slog.Logger
	// OnCommit observes each commit: operations in it, and how long it took.
	OnCommit func(operations int, took time.Duration)

	// What stands in for the disk in tests: a registered SQLite VFS, the files,
	// and what tells the room left.
	VFS  string
	FS   disk.FS
	Free func(dir string) (free, total int64, err error)
}

// Store is a folder. It implements atom.Store; its methods may be called from
// any goroutine.
type Store struct {
	dir      string
	o        Options
	log      *slog.Logger
	lock     *sqlitedb.Lock
	db       *sqlitedb.DB
	space    *sqlitedb.Space
	history  *history.History
	blobs    *blobs
	running  *running
	clock    *clock
	seqs     *seqs
	claims   claims
	contents contents
	keeper   *keeper
	stager   stager
	left     []int64 // stages that did not count when it was opened
	batch    *batch  // the committer's

	accepted func([]*atom.Record)
	ready    func([]atom.Ready)
	unclean  bool
	broken   bool // the committer gave up

	mu  sync.Mutex // of mem; held for moments only
	mem *memory

	purging sync.Mutex
}

var _ atom.Store = (*Store)(nil)

// Open takes the folder, creating it if it does not exist, and finds out where
// things stand. It fails with a *sqlitedb.LockedError if another process uses
// it and with a *sqlitedb.NewerSchemaError if a newer version wrote it.
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
	lock, err := sqlitedb.LockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, o: o, log: o.Log, lock: lock, clock: newClock(nil), mem: newMemory(), contents: contents{put: map[string]bool{}, idle: map[string]bool{}, recent: map[string]bool{}}, claims: claims{held: map[[2]string]*claim{}}}
	s.keeper, s.stager = newKeeper(s), newStager()
	s.batch = &batch{s: s, taken: map[string]*accepting{}, touches: map[int64]*touch{}, packs: map[int64]*pack{}, same: map[*atom.Receipt]*accepting{}}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", dir, err), s.release())
	}
	return s, nil
}

func (s *Store) open() (err error) {
	s.space = sqlitedb.NewSpace(s.dir, s.o.Free, s.log)
	if s.history, err = history.Open(filepath.Join(s.dir, "history"), history.Options{
		FS: s.o.FS, Log: s.log, Keep: int((s.o.Records + 24*time.Hour - 1) / (24 * time.Hour)), MaxBytes: s.o.HistoryMaxBytes,
	}); err != nil {
		return err
	}
	if s.blobs, err = newBlobs(filepath.Join(s.dir, "documents"), s.o.FS, s.log); err != nil {
		return err
	}
	s.db, err = sqlitedb.Open(filepath.Join(s.dir, "hot.db"), sqlitedb.Options{
		Migrations: migrations, Batch: s.batch, OnCommit: s.o.OnCommit, OnFailure: s.writeFailed, Log: s.log, VFS: s.o.VFS,
	})
	if err != nil {
		return err
	}
	var ran []int64
	if s.running, ran, err = openRunning(filepath.Join(s.dir, "running")); err != nil {
		return err
	}
	err = s.db.Setup(func(tx *sqlitedb.Tx) error {
		next, err := setting(tx, settingSeq)
		if err != nil {
			return err
		}
		clean, err := setting(tx, settingClean)
		if err != nil {
			return err
		}
		s.unclean = next > 0 && clean == 0
		next = max(next, 1)
		s.seqs = newSeqs(next, next+seqBlock, s.keeper.wake)
		if err := errors.Join(setSetting(tx, settingSeq, next+seqBlock), setSetting(tx, settingClean, 0)); err != nil {
			return err
		}
		if !s.unclean {
			ran = nil
		}
		if s.left, err = uncounted(tx); err != nil {
			return err
		}
		if err := s.contents.restore(tx); err != nil {
			return err
		}
		return s.restore(tx, ran)
	})
	if err != nil {
		return err
	}
	s.batch.Committed()
	if s.unclean {
		s.log.Warn("the last stop was not clean", "running", len(ran))
	}
	if err := s.space.Look(); err != nil {
		return err
	}
	return s.o.FS.SyncDir(s.dir)
}

// writeFailed is told by the committer.
func (s *Store) writeFailed(err error) {
	switch {
	case err == nil:
		s.log.Warn("the store can be written again")
	case errors.Is(err, sqlitedb.ErrFull):
		s.log.Error("the disk is full", "error", err)
		if err := s.space.GiveUp(); err != nil {
			s.log.Error("the ballast cannot be given up", "error", err)
		}
	default:
		s.log.Error("the store cannot be written", "error", err)
	}
}

// OnAccepted sets who is told of what is accepted; see atom.Store.
func (s *Store) OnAccepted(f func([]*atom.Record)) { s.accepted = f }

// OnReady sets who is told of what may run again; see atom.Notifier.
func (s *Store) OnReady(f func([]atom.Ready)) { s.ready = f }

// Err tells why the store takes nothing; see atom.Backlog.
func (s *Store) Err() error {
	if err := s.db.Err(); err != nil {
		return s.refuse(err)
	}
	if s.space.Level() >= sqlitedb.Low {
		return atom.ErrFull
	}
	return nil
}

// Run does the store's work until ctx ends; see atom.Store. When the database
// could not be written three times in a row it returns the reason, and the
// program should exit.
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
	helpers.Go(func() { s.keeper.run(quiet) })
	helpers.Go(func() { s.space.Run(quiet) })
	helpers.Go(func() { s.housekeeping(quiet) })
	helpers.Go(func() { s.verify(quiet) })
	helpers.Go(func() { s.staging(quiet, s.left) })
	<-quiet.Done()
	helpers.Wait()
	stop()
	err := <-committed
	s.broken = err != nil
	s.seqs.close()
	return s.refuse(err)
}

// Close leaves the folder; Run must have ended.
func (s *Store) Close() error {
	var errs []error
	errs = append(errs, s.history.Close())
	if !s.broken {
		errs = append(errs, s.db.Setup(func(tx *sqlitedb.Tx) error {
			return errors.Join(setSetting(tx, settingSeq, s.seqs.next.Load()), setSetting(tx, settingClean, 1))
		}))
	}
	return errors.Join(append(errs, s.release())...)
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

// Backup writes a consistent copy into a folder that is new or empty, while
// the store is in use. The copy is a folder that Open takes.
func (s *Store) Backup(ctx context.Context, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		return errors.Join(err, fmt.Errorf("back up to %s: the folder is not empty", dir))
	}
	s.blobs.pause()
	defer func() {
		if unused := s.blobs.resume(); len(unused) > 0 {
			err = errors.Join(err, s.db.Do(ctx, s.unused(unused)))
		}
	}()
	s.purging.Lock()
	defer s.purging.Unlock()
	// Nothing moves from one to the other meanwhile, so that together they are
	// of one moment.
	s.keeper.moving.Lock()
	err = s.db.Backup(ctx, filepath.Join(dir, "hot.db"))
	past := s.history.Copy()
	s.keeper.moving.Unlock()
	if err != nil {
		return err
	}
	if err := s.blobs.copyTo(filepath.Join(dir, "documents")); err != nil {
		return fmt.Errorf("back up the documents: %w", err)
	}
	if err := past.To(filepath.Join(dir, "history")); err != nil {
		return fmt.Errorf("back up the history: %w", err)
	}
	return sqlitedb.SyncDir(dir)
}

// Stats is how the store fares.
type Stats struct {
	Dropped        int64 // records of executions in memory that were not kept
	HistoryBytes   int64
	Unmoved        int64 // bytes of what ended and is not in the history yet
	ClockJumps     int64
	PurgeSuspended bool // because of one
	Space          sqlitedb.Level
	Unclean        bool // the stop before this start
}

// Stats gives the numbers of now.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	unmoved := int64(s.mem.movable)
	s.mu.Unlock()
	return Stats{
		Dropped: s.keeper.dropped.Load(), HistoryBytes: s.history.Bytes(), Unmoved: unmoved, ClockJumps: s.clock.jumps.Load(),
		PurgeSuspended: !s.clock.steady(), Space: s.space.Level(), Unclean: s.unclean,
	}
}
