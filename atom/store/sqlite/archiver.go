package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite/history"
	"valence/internal/sqlitedb"
)

// Limits of archiving, in bytes and time.
const (
	archiveAtBytes    = 1 << 20         // start archiving at once
	archiveBatchBytes = 8 << 20         // archived in one batch
	maxUnarchived     = 64 << 20        // above it, changes wait
	recordBytes       = 64 << 20        // above it, executions that ran in memory are dropped
	packTime          = 5 * time.Second // age at which a changed pack is taken apart
	archiveTick       = 500 * time.Millisecond
)

// archiver moves ended executions from the database to the history, and records
// there those that ran in memory.
type archiver struct {
	s        *Store
	kick     chan struct{}
	tick     time.Duration
	packTime time.Duration
	dropped  atomic.Int64

	round     sync.Mutex // held during a round of archiving: rounds do not overlap
	archiving sync.Mutex // held while archiving, and while a backup is taken
	purging   sync.Mutex // held while purging, and while a backup is taken
	encoders  sync.Pool  // of *recordEncoder

	mu      sync.Mutex
	records []*store.Finished
	files   map[*store.Finished][]string // pinned until the records are stored
	writing []*store.Finished            // taken from records, until the history has them
	bytes   int
	failed  error         // why archiving fails
	changed chan struct{} // closed after each round of archiving
}

func newArchiver(s *Store) *archiver {
	return &archiver{s: s, encoders: sync.Pool{New: func() any { return &recordEncoder{bareTrace: s.o.BareTrace} }}, files: map[*store.Finished][]string{}, kick: make(chan struct{}, 1), tick: archiveTick, packTime: packTime, changed: make(chan struct{})}
}

func (a *archiver) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Record implements store.History.
func (s *Store) Record(f *store.Finished) {
	size := f.Size()
	a := s.archiver
	var files []string
	if statusCode(string(f.Status)) <= codeExpired && len(f.Resolved) == 0 {
		files = recordFiles(f)
	}
	a.mu.Lock()
	if a.bytes+size > recordBytes {
		a.mu.Unlock()
		a.dropped.Add(1)
		return
	}
	before := a.bytes
	if len(files) > 0 {
		if files = s.files.pinAgain(files); len(files) > 0 {
			a.files[f] = files
		}
	}
	a.bytes += size
	a.records = append(a.records, f)
	a.mu.Unlock()
	if before < archiveAtBytes && before+size >= archiveAtBytes {
		a.wake()
	}
}

// waitForRoom blocks while too much waits to be archived.
func (a *archiver) waitForRoom(ctx context.Context) error {
	for {
		a.s.mu.Lock()
		over := a.s.index.unarchived > maxUnarchived
		a.s.mu.Unlock()
		if !over {
			return nil
		}
		a.mu.Lock()
		changed, err := a.changed, a.failed
		a.mu.Unlock()
		if err != nil {
			return err
		}
		a.wake()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run archives until ctx ends, and once more.
func (a *archiver) run(ctx context.Context) {
	t := time.NewTicker(a.tick)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-a.kick:
		case <-t.C:
		case <-ctx.Done():
		}
		a.archiveAndReport()
	}
}

func (a *archiver) archiveAndReport() {
	err := a.archive()
	a.mu.Lock()
	if err != nil && (a.failed == nil || a.failed.Error() != err.Error()) {
		a.s.o.Log.Error("cannot archive ended executions", "error", err)
	}
	a.failed = err
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
	if a.s.seqs.wantedCeiling() != 0 { // any commit raises the ceiling
		if err := a.s.db.Do(context.Background(), sqlitedb.OpFunc(func(*sqlitedb.Tx) error { return nil })); err != nil {
			a.s.o.Log.Error("cannot reserve sequence numbers", "error", err)
		}
	}
}

// archiveBatch is the work of one round of archiving.
type archiveBatch struct {
	records []*history.Record
	members []*activeMember
	packs   []*pack
	rows    []*activeMember
}

func (a *archiver) archive() error {
	a.round.Lock()
	defer a.round.Unlock()
	enc := a.encoders.Get().(*recordEncoder)
	defer a.encoders.Put(enc)
	defer enc.reset()
	if err := a.writeRecords(enc); err != nil {
		return err
	}
	if !a.archiving.TryLock() { // a backup is being taken
		return nil
	}
	defer a.archiving.Unlock()
	for {
		enc.reset()
		m, more, err := a.collect(enc)
		if len(m.records) > 0 {
			if e := a.s.history.Append(m.records, a.s.clock.now(), true); e != nil {
				return errors.Join(err, e)
			}
		}
		a.s.mu.Lock()
		for _, y := range m.members {
			y.archived = true
		}
		a.s.mu.Unlock()
		if len(m.packs) > 0 || len(m.rows) > 0 {
			if err := a.s.db.Do(context.Background(), &retireOp{s: a.s, packs: m.packs, rows: m.rows}); err != nil {
				return fmt.Errorf("delete archived executions: %w", err)
			}
		}
		if !more || err != nil {
			return err
		}
	}
}

// writeRecords records the executions that ran in memory.
func (a *archiver) writeRecords(enc *recordEncoder) error {
	a.mu.Lock()
	records := a.records
	a.records, a.writing, a.bytes = nil, records, 0
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.writing = nil
		a.mu.Unlock()
	}()
	var items []*history.Record
	for _, f := range records {
		items = append(items, a.encodeRecord(enc, f)...)
	}
	if len(items) == 0 {
		return nil
	}
	err := a.s.history.Append(items, a.s.clock.now(), true)
	if err != nil {
		a.dropped.Add(int64(len(items)))
	}
	return err
}

// encodeRecord returns the history records of an execution that ran in memory.
// An unresolved failure is stored in the database instead, and has none.
func (a *archiver) encodeRecord(enc *recordEncoder, f *store.Finished) []*history.Record {
	e := &storedOutcome{Outcome: f.Outcome}
	h := storedMessage{Message: &f.Message}
	if statusCode(string(e.Status)) > codeExpired || len(e.Resolved) > 0 {
		entries := make([]storedEntry, len(f.Entries))
		for i, x := range f.Entries {
			entries[i].Entry = x
		}
		return enc.encode(&h, entries, e, f.Attempt, f.Crashes)
	}
	a.mu.Lock()
	names := a.files[f]
	delete(a.files, f)
	a.mu.Unlock()
	if len(names) > 0 {
		defer a.s.ReleaseFiles(names)
	}
	message := pendingAccept{}
	pins, err := a.s.blobs.spillMessage(&f.Message, &message)
	if err == nil {
		var more []pin
		more, err = a.s.blobs.spill(e.Trace, &e.traceFile)
		pins = append(pins, more...)
	}
	defer pins.release()
	if err == nil {
		err = a.s.db.Do(context.Background(), &failedOp{s: a.s, message: message.storedMessage, entries: message.entries, outcome: e, rec: f})
	}
	if err != nil {
		a.dropped.Add(1)
		a.s.o.Log.Error("cannot store a failed execution", "error", err)
	}
	return nil
}

// recordFiles returns the files that a failed execution refers to.
func recordFiles(f *store.Finished) []string {
	names := namesOf(f.Doc, f.Data, f.Meta)
	for i := range f.Entries {
		names = append(names, namesOf(f.Entries[i].Body)...)
	}
	return names
}

// collect encodes the executions to archive. It reports whether there are more.
func (a *archiver) collect(enc *recordEncoder) (*archiveBatch, bool, error) {
	m := &archiveBatch{}
	ended, more := a.selectEnded(m)
	read := map[int64][]*storedMessage{}
	var errs []error
	for _, e := range ended {
		records, err := a.encode(enc, e, read)
		if err != nil { // it stays, with its pack or row
			errs = append(errs, fmt.Errorf("execution %d: %w", e.seq, err))
			continue
		}
		m.records = append(m.records, records...)
		m.members = append(m.members, e.activeMember)
	}
	return m, more, errors.Join(errs...)
}

// endedMember is an execution to archive, with its message if that is cached.
type endedMember struct {
	*activeMember
	message *storedMessage
}

// selectEnded returns ended members of packs whose members have all ended or
// that are too old, and ended executions with rows. It adds the packs and rows
// to the batch, and reports whether there are more.
func (a *archiver) selectEnded(m *archiveBatch) (ended []endedMember, more bool) {
	now := a.s.clock.now()
	bytes := 0
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for p := range a.s.index.changedPacks {
		if bytes > archiveBatchBytes {
			more = true
			break
		}
		done := !slices.Contains(p.states, memberUntouched) && !slices.Contains(p.states, memberRunning)
		if !done && now.Sub(p.changedAt) < a.packTime {
			continue
		}
		m.packs = append(m.packs, p)
		for i, state := range p.states {
			member := a.s.index.active[p.first+int64(i)]
			if state != memberEnded || member == nil || member.archived {
				continue
			}
			bytes += member.bytes
			e := endedMember{activeMember: member}
			if p.members != nil {
				e.message = p.members[i]
			}
			ended = append(ended, e)
		}
	}
	for _, member := range a.s.index.active {
		if member.pack != nil || member.outcome == nil {
			continue
		}
		if bytes > archiveBatchBytes {
			return ended, true
		}
		m.rows = append(m.rows, member)
		if !member.archived {
			bytes += member.bytes
			ended = append(ended, endedMember{activeMember: member})
		}
	}
	return ended, more
}

// encode returns the history records of an ended execution, from memory if
// possible. It caches packs that it reads in read.
func (a *archiver) encode(enc *recordEncoder, member endedMember, read map[int64][]*storedMessage) ([]*history.Record, error) {
	h, entries, attempt, crashes := member.message, member.entries, 0, 0
	var err error
	switch {
	case h != nil:
	case member.pack != nil:
		members := read[member.pack.first]
		if members == nil {
			if members, err = a.s.pack(context.Background(), member.pack.first); err != nil {
				return nil, err
			}
			read[member.pack.first] = members
		}
		if members == nil {
			return nil, errors.New("its pack is missing")
		}
		h = members[member.seq-member.pack.first]
	default:
		r, err := a.s.row(context.Background(), member.seq, true)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, errors.New("its row is missing")
		}
		h, attempt, crashes = r.storedMessage, r.attempt, r.crashes
		entries = append(r.entries, entries...)
	}
	e := member.outcome
	if hasFiles(h, entries, e) {
		own, accepted, outcome := *h, *h.Message, *e
		own.Message = &accepted
		h, entries, e = &own, slices.Clone(entries), &outcome
		err := a.s.blobs.load(h, entries, e)
		if errors.Is(err, store.ErrDocumentLost) {
			a.s.o.Log.Error("a document is lost; archiving its execution without it", "execution", member.seq, "error", err)
		} else if err != nil {
			return nil, err
		}
	}
	return enc.encode(h, entries, e, attempt, crashes), nil
}

// hasFiles reports whether any document of an execution is in a file.
func hasFiles(h *storedMessage, entries []storedEntry, e *storedOutcome) bool {
	return h.docFile != nil || h.dataFile != nil || e.traceFile != nil || slices.ContainsFunc(entries, func(l storedEntry) bool { return l.bodyFile != nil })
}
