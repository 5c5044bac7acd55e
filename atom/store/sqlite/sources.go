package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// migrationSources adds the cursors of sources, and origins that are remembered
// for a time of their own.
const migrationSources = `
CREATE TABLE cursor(source TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
ALTER TABLE origin ADD COLUMN until INTEGER;
CREATE INDEX origin_until ON origin(until) WHERE until IS NOT NULL;
`

// maxCursor is the size of the largest cursor.
const maxCursor = 4 << 10

// acceptAllOp commits the arrivals of one AcceptAll.
type acceptAllOp struct {
	b        *batch
	prepared []pendingAccept
	accepts  []pendingAccept
	arrivals []*store.Arrival
	errs     []error // refusals, without rolling back
}

func (o *acceptAllOp) Do(tx *sqlitedb.Tx) error {
	copy(o.accepts, o.prepared)
	clear(o.errs)
	stopped := map[string]error{} // by source
	for i, a := range o.arrivals {
		source := a.Source()
		if o.errs[i] = stopped[source]; o.errs[i] != nil {
			continue
		}
		refusal, err := o.b.arrive(tx, a, &o.accepts[i])
		if err != nil {
			return err
		}
		o.errs[i] = refusal
		if refusal != nil && (source != "" || refusal != store.ErrKeyReused) {
			stopped[source] = refusal
		}
	}
	return nil
}

// arrive stages one arrival. It returns a refusal if the arrival does not fit.
func (b *batch) arrive(tx *sqlitedb.Tx, a *store.Arrival, accept *pendingAccept) (refusal, err error) {
	if c := a.Cursor; c != nil {
		current, err := b.cursor(tx, c.Source)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(current, c.From) {
			return store.ErrCursorMoved, nil
		}
	}
	if a.Message != nil {
		if refusal, err := b.acceptLimited(tx, accept); refusal != nil || err != nil {
			return refusal, err
		}
		if err := a.Conflict(accept.receipt); err != nil {
			return err, nil
		}
	}
	if c := a.Cursor; c != nil {
		b.cursors[c.Source] = c.To
	}
	return nil, nil
}

// cursor returns the position in a source, as the transaction leaves it.
func (b *batch) cursor(tx *sqlitedb.Tx, source string) ([]byte, error) {
	if c, ok := b.cursors[source]; ok {
		return c, nil
	}
	return readCursor(tx, source)
}

func readCursor(tx *sqlitedb.Tx, source string) (cursor []byte, err error) {
	_, err = tx.One("SELECT value FROM cursor WHERE source = ?", []any{source}, func(r sqlitedb.Row) { cursor = r.Bytes(0) })
	return cursor, err
}

func (b *batch) flushCursors(tx *sqlitedb.Tx) error {
	for source, value := range b.cursors {
		if _, err := tx.Exec("INSERT OR REPLACE INTO cursor(source, value) VALUES(?,?)", source, orEmpty(value)); err != nil {
			return err
		}
	}
	return nil
}

// AcceptAll implements store.Sources.
func (s *Store) AcceptAll(ctx context.Context, arrivals []*store.Arrival) error {
	if s.space.Level() >= sqlitedb.Low {
		return store.ErrFull
	}
	n := len(arrivals)
	op := &acceptAllOp{b: s.batch, arrivals: arrivals, prepared: make([]pendingAccept, n), accepts: make([]pendingAccept, n), errs: make([]error, n)}
	var all pins
	waits := false
	defer func() { all.release() }()
	for i, a := range arrivals {
		if err := checkArrival(a); err != nil {
			return err
		}
		if a.Message == nil {
			continue
		}
		pinned, err := s.blobs.spillMessage(a.Message, &op.prepared[i])
		all = append(all, pinned...)
		if err == nil && a.Outcome != nil {
			waits = true
			op.prepared[i].ended = &storedOutcome{Outcome: *a.Outcome}
			pinned, err = s.blobs.spill(a.Outcome.Trace, &op.prepared[i].ended.traceFile)
			all = append(all, pinned...)
		}
		if err != nil {
			return s.storeError(err)
		}
	}
	if waits {
		if err := s.archiver.waitForRoom(ctx); err != nil {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
	}
	if err := s.db.Do(ctx, op); err != nil {
		return s.storeError(err)
	}
	for i, a := range arrivals {
		a.Receipt, a.Err = op.accepts[i].receipt, op.errs[i]
	}
	return nil
}

// Outcomes implements store.Sources.
func (s *Store) Outcomes() (stored, cautious bool) { return true, s.unclean }

// checkArrival rejects an arrival that no store could hold.
func checkArrival(a *store.Arrival) error {
	if a.Message != nil {
		if err := checkMessage(a.Message); err != nil {
			return err
		}
	}
	if err := a.Check(); err != nil {
		return err
	}
	switch c := a.Cursor; {
	case c == nil:
	case c.Source == "" || len(c.To) == 0:
		return errors.New("the cursor names no source or no position")
	case len(c.To) > maxCursor:
		return fmt.Errorf("the cursor has %d bytes, more than 4 KiB", len(c.To))
	}
	return nil
}

// Cursor implements store.Sources.
func (s *Store) Cursor(ctx context.Context, source string) (cursor []byte, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		cursor, err = readCursor(tx, source)
		return err
	})
	return cursor, s.storeError(err)
}
