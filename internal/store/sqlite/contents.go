package sqlite

import (
	"context"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/sqlitedb"
)

// Contents are versions of projects and values of environments. One is needed
// as long as an execution refers to it: a live or failed one, to go on or to be
// done again, and one in the history, to be shown or done again. Which ones the
// history refers to is not looked up in it. A content that nothing in the
// database refers to is noted as idle, with the time; when the history holds
// nothing any more that was received before, nothing there can refer to it, and
// it is deleted. What is put in this run may be the version that is deployed
// and is never idle; an acceptance that refers to an idle one ends that.

// contents is what is known of them in memory.
type contents struct {
	watching atomic.Bool // acceptances are to be looked at

	mu     sync.Mutex
	put    map[string]bool // in this run
	idle   map[string]bool // in the database, or deleted by the latest sweep
	recent map[string]bool // accepted with, since the latest sweep began
}

// idleTime is how long a content is idle at least before it is deleted: longer
// than a request lasts that ran on it in memory.
const idleTime = 24 * time.Hour

// contentEvery is the time between two sweeps.
const contentEvery = 6 * time.Hour

// keep notes that a content is put. It tells whether it is noted as idle, and
// so must be written again.
func (c *contents) keep(name string) (idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put[name] = true
	return c.idle[name]
}

// restore reads which contents an earlier run noted as idle.
func (c *contents) restore(tx *sqlitedb.Tx) error {
	err := tx.Rows("SELECT hash FROM content WHERE idle IS NOT NULL", nil, func(r sqlitedb.Row) (bool, error) {
		c.idle[r.Text(0)] = true
		return true, nil
	})
	c.watching.Store(len(c.idle) > 0)
	return err
}

// content names the content that a plan or an environment stands for.
func content(name string) string {
	if _, files, ok := strings.Cut(name, "@"); ok {
		return files
	}
	return name
}

// isHash tells contents that are named by what they are from those that the
// atom keeps under a name of its own.
func isHash(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == 16
}

// refer is told of what an acceptance refers to.
func (c *contents) refer(tx *sqlitedb.Tx, names ...string) error {
	if !c.watching.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		name = content(name)
		if c.put[name] {
			continue
		}
		c.recent[name] = true
		if !c.idle[name] {
			continue
		}
		if _, err := tx.Exec("UPDATE content SET idle = NULL WHERE hash = ?", name); err != nil {
			return err
		}
	}
	return nil
}

// sweepContents notes which contents are idle, and deletes those that nothing
// refers to.
func (s *Store) sweepContents(ctx context.Context, now time.Time) error {
	c := &s.contents
	c.mu.Lock()
	clear(c.recent)
	c.mu.Unlock()
	c.watching.Store(true)
	candidates := map[string]int64{} // with the time they are idle since, 0 if they were not
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT hash, idle FROM content", nil, func(r sqlitedb.Row) (bool, error) {
			name := r.Text(0)
			c.mu.Lock()
			defer c.mu.Unlock()
			if isHash(name) && !c.put[name] {
				candidates[name] = r.Int(1)
			}
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	referred := map[string]bool{}
	oldest := now
	if len(candidates) > 0 {
		if err := s.referred(ctx, referred); err != nil {
			return err
		}
		if oldest, err = s.history.Oldest(now); err != nil {
			return err
		}
	}
	return s.db.Do(ctx, &contentOp{s: s, candidates: candidates, referred: referred, now: now, oldest: oldest})
}

// referred collects what everything in the database refers to.
func (s *Store) referred(ctx context.Context, into map[string]bool) error {
	for _, query := range []string{
		"SELECT seq, head FROM execution WHERE seq > ? ORDER BY seq LIMIT 200",
		"SELECT first, head FROM intake WHERE first > ? ORDER BY first LIMIT 200",
	} {
		for after, more := int64(-1), true; more; {
			more = false
			err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
				return tx.Rows(query, []any{after}, func(r sqlitedb.Row) (bool, error) {
					after, more = r.Int(0), true
					names, err := headTable(r.Bytes(1))
					for _, n := range names {
						into[content(n)] = true
					}
					return true, err
				})
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// contentOp is the end of a sweep. No acceptance is written while it runs, and
// it knows of all that were since the sweep began.
type contentOp struct {
	s           *Store
	candidates  map[string]int64
	referred    map[string]bool
	now, oldest time.Time
}

func (o *contentOp) Do(tx *sqlitedb.Tx) error {
	c := &o.s.contents
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := map[string]bool{}
	for name, since := range o.candidates {
		var err error
		switch {
		case c.put[name] || c.recent[name] || o.referred[name]:
			if since != 0 {
				_, err = tx.Exec("UPDATE content SET idle = NULL WHERE hash = ?", name)
			}
		case since == 0:
			idle[name] = true
			_, err = tx.Exec("UPDATE content SET idle = ? WHERE hash = ?", o.now.UnixNano(), name)
		case since < o.oldest.UnixNano() && since < o.now.Add(-idleTime).UnixNano():
			idle[name] = true // whoever puts it meanwhile must write it
			_, err = tx.Exec("DELETE FROM content WHERE hash = ?", name)
		default:
			idle[name] = true
		}
		if err != nil {
			return err
		}
	}
	c.idle = idle
	c.watching.Store(len(idle) > 0)
	return nil
}
