package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"valence/atom/store/sqlite/disk"
	"valence/atom/store/sqlite/history"
	"valence/atom/store/transfer"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Source is the folder of a store that no program uses. It is read as a whole,
// and not changed.
type Source struct {
	dir    string
	lock   *sqlitedb.Lock
	tx     *sqlitedb.Tx
	close  func() error
	index  *liveIndex
	blobs  *blobs
	past   *history.Index
	hot    []hotRef
	ran    map[int64]bool // executions that the last program was running when it died
	origin transfer.Origin
}

var _ transfer.Reader = (*Source)(nil)

// hotRef is an execution in the database.
type hotRef struct {
	seq  int64
	pack int64 // its first number; 0: it has a row
}

// OpenSource opens the folder of a stopped program. It returns a
// *sqlitedb.LockedError if a program uses it, and a *clierror.Error if it is not
// complete.
func OpenSource(ctx context.Context, dir, keyFile string) (*Source, error) {
	if err := errors.Join(datafolder.CheckFinished(dir), datafolder.CheckImported(dir)); err != nil {
		return nil, err
	}
	return openSource(ctx, dir, keyFile)
}

func openSource(ctx context.Context, dir, keyFile string) (s *Source, err error) {
	if _, err := os.Stat(filepath.Join(dir, databaseFile)); err != nil {
		return nil, err // before the folder is created
	}
	s = &Source{dir: dir, ran: map[int64]bool{}}
	if s.lock, err = sqlitedb.LockDir(dir); err != nil {
		return nil, err
	}
	if err := s.open(ctx, keyFile); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close releases the folder.
func (s *Source) Close() error {
	var err error
	if s.close != nil {
		err = s.close()
	}
	return errors.Join(err, s.lock.Release())
}

func (s *Source) open(ctx context.Context, keyFile string) error {
	lost := &losses{dir: s.dir}
	if err := lost.checkFiles(keyFile); err != nil {
		return err
	}
	i, closeFile, err := sqlitedb.ReadFile(ctx, filepath.Join(s.dir, databaseFile))
	if err != nil {
		return err
	}
	s.tx, s.close = i.Tx, closeFile
	if i.Version != len(migrations) {
		return fmt.Errorf("%s has schema version %d, and this program %d: start this version on the folder once, or use the version that wrote it", databaseFile, i.Version, len(migrations))
	}
	_, noDocuments := os.Stat(filepath.Join(s.dir, documentsFolder))
	if err := lost.checkDatabase(s.tx, i.Identity, noDocuments == nil); err != nil {
		return err
	}
	if err := s.identify(i, lost, keyFile); err != nil {
		return err
	}
	past, err := history.Open(filepath.Join(s.dir, historyFolder), history.Options{FS: disk.OS{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if s.past, err = past.Index(); err != nil {
		return err
	}
	if s.blobs, err = newBlobs(filepath.Join(s.dir, documentsFolder), disk.OS{}, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return s.restore()
}

func (s *Source) identify(i *sqlitedb.Inspection, lost *losses, keyFile string) error {
	next, err := setting(s.tx, settingSeq)
	if err != nil {
		return err
	}
	if lost.before != nil {
		next = max(next, lost.before.Next)
	}
	key, err := os.ReadFile(filepath.Join(s.dir, keyFile))
	if err == nil && len(key) != folderKeyBytes {
		err = fmt.Errorf("%s has %d bytes, not %d", keyFile, len(key), folderKeyBytes)
	}
	s.origin = transfer.Origin{Name: "the data folder " + s.dir, Store: "folder " + strconv.FormatInt(i.Identity.ID, 36), Use: strconv.FormatInt(i.Identity.Starts, 10), Key: key, Next: next}
	return err
}

// restore builds the index of the executions in the database.
func (s *Source) restore() error {
	r := recovery{&Store{live: live{index: newLiveIndex()}, clock: newClock(nil)}}
	r.batch = newBatch(r.Store)
	s.index = r.index
	if _, err := r.restoreChanges(s.tx); err != nil {
		return err
	}
	err := s.tx.Rows("SELECT seq FROM execution", nil, func(row sqlitedb.Row) (bool, error) {
		s.hot = append(s.hot, hotRef{seq: row.Int(0)})
		return true, nil
	})
	if err != nil {
		return err
	}
	err = s.tx.Rows("SELECT first, last FROM intake", nil, func(row sqlitedb.Row) (bool, error) {
		for seq := row.Int(0); seq <= row.Int(1); seq++ {
			if p := s.index.packOf[seq]; p == nil || p.state(seq) != memberPromoted {
				s.hot = append(s.hot, hotRef{seq, row.Int(0)})
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(s.hot, func(a, b hotRef) int { return int(min(max(a.seq-b.seq, -1), 1)) })
	return s.readRunning()
}

// readRunning reads which executions were running when the last program died.
func (s *Source) readRunning() error {
	clean, err := setting(s.tx, settingClean)
	if err != nil || clean == 1 {
		return err
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "running"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for ; len(b) >= 8; b = b[8:] {
		if seq := int64(binary.LittleEndian.Uint64(b)); seq > 0 {
			s.ran[seq] = true
		}
	}
	return err
}

// Origin identifies the content of the folder.
func (s *Source) Origin() transfer.Origin { return s.origin }

// StoredFiles returns how many files executions refer to; see blob.Store.
func (s *Source) StoredFiles() (n int64, err error) {
	_, err = s.tx.One("SELECT count(DISTINCT name) FROM stored_file", nil, func(r sqlitedb.Row) { n = r.Int(0) })
	return n, err
}

// MovedTo returns the target to which the folder was moved; "" if it was not.
func (s *Source) MovedTo(context.Context) (string, error) {
	m, _, err := datafolder.ReadMoved(s.dir)
	return m.To, err
}

// MarkMoved marks the folder as moved. No program starts on it from then on.
func (s *Source) MarkMoved(_ context.Context, target string) error {
	return datafolder.Moved{To: target, At: time.Now().UTC()}.Write(s.dir)
}

// Executions implements transfer.Reader. The database is right if both it and the
// history have an execution.
func (s *Source) Executions(ctx context.Context, after int64, at time.Time, each func(*transfer.Execution) error) error {
	hot, _ := slices.BinarySearchFunc(s.hot, after+1, func(r hotRef, seq int64) int { return int(min(max(r.seq-seq, -1), 1)) })
	past := s.past.Find(after)
	packs := &packCache{tx: s.tx}
	for hot < len(s.hot) || past < s.past.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		var x *transfer.Execution
		var err error
		if hot < len(s.hot) && (past == s.past.Len() || s.hot[hot].seq <= s.past.Seq(past)) {
			if past < s.past.Len() && s.hot[hot].seq == s.past.Seq(past) {
				past++
			}
			x, err = s.hotExecution(packs, s.hot[hot], at)
			hot++
		} else {
			x, err = s.pastExecution(past)
			past++
		}
		if err == nil && x != nil {
			err = each(x)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// packCache holds the pack that was read last.
type packCache struct {
	tx      *sqlitedb.Tx
	first   int64
	members []*storedMessage
}

func (c *packCache) member(seq, first int64) (*storedMessage, error) {
	if c.first != first {
		members, err := readPack(c.tx, first, true)
		if err != nil {
			return nil, err
		}
		c.first, c.members = first, members
	}
	if seq-first >= int64(len(c.members)) {
		return nil, fmt.Errorf("execution %d: its pack is missing", seq)
	}
	return c.members[seq-first], nil
}

// hotExecution reads an execution from the database.
func (s *Source) hotExecution(packs *packCache, ref hotRef, at time.Time) (*transfer.Execution, error) {
	x, err := s.hotRow(packs, ref)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(x.lost, s.blobs.load(x.storedMessage, x.entries, x.outcome)); err != nil {
		return nil, fmt.Errorf("execution %d of %s: %w", ref.seq, x.Process, err)
	}
	out := &transfer.Execution{Record: *x.record(), Journal: entriesOf(x.entries)}
	if x.outcome == nil {
		if until, found, err := startDeadline(s.tx, ref.seq); err != nil {
			return nil, err
		} else if found {
			out.Expires = time.Unix(0, until).UTC()
		}
		if s.ran[ref.seq] && (ref.pack != 0 || out.Due.IsZero() && x.state == codeAccepted || !out.Due.IsZero() && !out.Due.After(at)) {
			out.Crashes++
		}
		return out, nil
	}
	out.Outcome = &x.outcome.Outcome
	out.State, out.Due, out.Reason, out.Since = "", time.Time{}, "", x.outcome.Ended
	if len(x.outcome.Resolved) > 0 {
		out.Since = at
	}
	if out.Unresolved() {
		_, err = s.tx.One("SELECT bytes FROM failure WHERE seq = ?", []any{ref.seq}, func(r sqlitedb.Row) { out.Kept = r.Int(0) })
	}
	s.drop(out)
	return out, err
}

// drop removes the documents that are not kept.
func (s *Source) drop(x *transfer.Execution) {
	if x.Outcome.DropDocuments && !x.Unresolved() {
		x.Doc, x.Data, x.Journal = nil, nil, nil
	}
}

func (s *Source) hotRow(packs *packCache, ref hotRef) (x *row, err error) {
	member := s.index.active[ref.seq]
	if ref.pack != 0 {
		m, err := packs.member(ref.seq, ref.pack)
		if err != nil {
			return nil, err
		}
		own, message := *m, *m.Message
		own.Message = &message
		x = &row{storedMessage: &own, state: codeAccepted}
		if member != nil {
			x.entries = slices.Clone(member.entries)
		}
	} else {
		if x, err = readRow(s.tx, ref.seq); err != nil {
			return nil, err
		}
		if x == nil {
			return nil, fmt.Errorf("execution %d: its row is missing", ref.seq)
		}
		if x.entries, err = readEntries(s.tx, ref.seq); err != nil {
			return nil, err
		}
		if member != nil && member.pack == nil { // the last entries of an ended execution
			x.entries = append(x.entries, member.entries...)
		}
	}
	if member != nil && member.outcome != nil {
		outcome := *member.outcome
		x.outcome = &outcome
	}
	return x, nil
}

// pastExecution reads an execution from the history.
func (s *Source) pastExecution(i int) (*transfer.Execution, error) {
	summary, body, day, err := s.past.Read(i)
	if err != nil {
		return nil, err
	}
	x, err := decodeRecord(s.past.Seq(i), summary, body)
	if err != nil {
		return nil, err
	}
	out := &transfer.Execution{Record: x.Record, Outcome: x.Outcome, Journal: x.Journal, Since: x.Outcome.Ended}
	if day.After(out.Since) {
		out.Since = day
	}
	return out, nil
}

// rowSelects read the rows of each kind whose columns need no conversion.
var rowSelects = map[transfer.Kind]string{
	transfer.Contents: "SELECT hash, body FROM content",
	transfer.Lanes:    "SELECT scope, CAST(key AS BLOB), CASE WHEN state = 3 THEN since END, free FROM lane",
	transfer.LaneItems: `SELECT scope, CAST(key AS BLOB), pos, head, process, NULL FROM lane
		UNION ALL SELECT scope, CAST(key AS BLOB), pos, seq, process, CASE WHEN due <> 0 THEN due END FROM lane_item`,
	transfer.Dedupe:  "SELECT process, key, until, seq, received, holder, reply FROM dedupe",
	transfer.Origins: "SELECT key, seq, received, until FROM origin",
	transfer.Newest:  `SELECT process, key, seq FROM "coalesce"`,
	transfer.Holds:   "SELECT what, seq FROM held",
	transfer.States:  "SELECT process, CASE WHEN name = '' THEN '' ELSE '/' || name END, version FROM remembered WHERE version > 0",
	transfer.Values: `SELECT process, '', CAST(name AS BLOB), value FROM property
		UNION ALL SELECT process, '/' || name, CAST(key AS BLOB), hash FROM print AS p WHERE NOT EXISTS
			(SELECT 1 FROM stage AS g JOIN staged AS d ON d.stage = g.id WHERE g.counts = 1 AND g.process = p.process AND g.name = p.name AND d.key = p.key)
		UNION ALL SELECT g.process, '/' || g.name, CAST(d.key AS BLOB), d.hash FROM stage AS g JOIN staged AS d ON d.stage = g.id WHERE g.counts = 1 AND length(d.hash) > 0`,
	transfer.Cursors: "SELECT CAST(source AS BLOB), value FROM cursor",
	transfer.Marks:   "SELECT key, until FROM mark",
	transfer.Writes:  "SELECT seq, path, system, record, until FROM writing",
	transfer.Waits:   "SELECT seq, place, state, path, match, until, body FROM wait",
	transfer.Signals: "SELECT match, until, body FROM kept ORDER BY id",
	transfer.Replies: "SELECT seq, until, body, file FROM reply",
}

// Rows implements transfer.Reader.
func (s *Source) Rows(ctx context.Context, kind transfer.Kind, each func([]any) error) error {
	values := make([]any, 0, 16)
	return s.tx.Rows(rowSelects[kind], nil, func(r sqlitedb.Row) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		values = values[:0]
		for _, v := range r {
			values = append(values, v)
		}
		var err error
		switch kind {
		case transfer.Waits:
			values, err = waitValues(values)
		case transfer.Signals:
			values, err = signalValues(values[:2], r.Bytes(2))
		case transfer.Replies:
			values, err = s.replyValues(values, r)
		}
		if err == nil {
			err = each(values)
		}
		return err == nil, err
	})
}

// waitStates are the states of waits in rows, by those in the database.
var waitStates = map[int64]int64{waitEarly: transfer.WaitEarly, waitOpen: transfer.WaitOpen, waitSignaled: transfer.WaitSignaled, waitOver: transfer.WaitOver}

func waitValues(values []any) ([]any, error) {
	state, _ := values[2].(int64)
	body, _ := values[6].([]byte)
	values[2] = waitStates[state]
	if state != waitEarly {
		return append(values[:6], nil, nil, nil), nil
	}
	values[5] = nil
	return signalValues(values[:6], body)
}

// signalValues appends the columns of a signal that has arrived early.
func signalValues(values []any, body []byte) ([]any, error) {
	e, err := decodeEntry(body)
	if err != nil {
		return nil, fmt.Errorf("read an early signal: %w", err)
	}
	var document any
	if e.Body != nil {
		document = e.Body
	}
	return append(values, e.Kind, nullTime(e.At), document), nil
}

func (s *Source) replyValues(values []any, r sqlitedb.Row) ([]any, error) {
	if hash := r.Bytes(3); len(hash) == 32 {
		body, err := s.blobs.read(&fileRef{hash: [32]byte(hash)})
		if err != nil {
			return nil, fmt.Errorf("read the reply of execution %d: %w", r.Int(0), err)
		}
		return append(values[:2], body), nil
	}
	d := checked(r.Bytes(2))
	if d.err != nil {
		return nil, fmt.Errorf("read the reply of execution %d: %w", r.Int(0), d.err)
	}
	return append(values[:2], d.b), nil
}
