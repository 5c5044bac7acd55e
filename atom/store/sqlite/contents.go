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

// A content is the files of a project or the values of an environment. It is
// needed while an execution refers to it, in the database or in the history.
// The history is not searched for references. Instead, a content without
// references in the database is marked idle, with the time. It is deleted once
// the history holds nothing received before that time. Contents put in this run
// may be deployed and are never idle. Accepting a message that refers to an
// idle content ends its idle time.

// contents is the in-memory state of the sweep.
type contents struct {
	watching atomic.Bool // acceptances must be checked

	mu     sync.Mutex
	put    map[string]bool // in this run
	idle   map[string]bool // in the database, or deleted by the last sweep
	recent map[string]bool // referred to by messages accepted since the last sweep began
}

func newContents() contents {
	return contents{put: map[string]bool{}, idle: map[string]bool{}, recent: map[string]bool{}}
}

// idleTime is how long a content is idle before it is deleted. It must exceed
// the duration of a request that runs in memory.
const idleTime = 24 * time.Hour

// contentEvery is the interval between sweeps.
const contentEvery = 6 * time.Hour

// noteUse records that a content is put. It reports whether the content is
// idle, and so must be written again.
func (c *contents) noteUse(name string) (idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put[name] = true
	return c.idle[name]
}

// restore reads which contents an earlier run marked idle.
func (c *contents) restore(tx *sqlitedb.Tx) error {
	err := tx.Rows("SELECT hash FROM content WHERE idle IS NOT NULL", nil, func(r sqlitedb.Row) (bool, error) {
		c.idle[r.Text(0)] = true
		return true, nil
	})
	c.watching.Store(len(c.idle) > 0)
	return err
}

// content returns the name of the content that a plan or an environment refers
// to.
func content(name string) string {
	if _, files, ok := strings.Cut(name, "@"); ok {
		return files
	}
	return name
}

// isHash reports whether a content is named by its hash, and not by the atom.
func isHash(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == 16
}

// noteReferences records the contents that an accepted message refers to.
func (c *contents) noteReferences(tx *sqlitedb.Tx, names ...string) error {
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

// sweepContents marks contents without references idle, and deletes those that
// have been idle long enough.
func (s janitor) sweepContents(ctx context.Context, now time.Time) error {
	c := &s.contents
	c.mu.Lock()
	clear(c.recent)
	c.mu.Unlock()
	c.watching.Store(true)
	candidates := map[string]int64{} // name → idle since; 0: not idle
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
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
		if err := s.collectReferences(ctx, referred); err != nil {
			return err
		}
		if oldest, err = s.history.Oldest(now); err != nil {
			return err
		}
	}
	return s.db.Do(ctx, &contentOp{s: s.Store, candidates: candidates, referred: referred, now: now, oldest: oldest})
}

// collectReferences adds every content that the database refers to.
func (s janitor) collectReferences(ctx context.Context, into map[string]bool) error {
	for _, query := range []string{
		"SELECT seq, head FROM execution WHERE seq > ? ORDER BY seq LIMIT 200",
		"SELECT first, head FROM intake WHERE first > ? ORDER BY first LIMIT 200",
	} {
		for after, more := int64(-1), true; more; {
			more = false
			err := s.read(ctx, func(tx *sqlitedb.Tx) error {
				return tx.Rows(query, []any{after}, func(r sqlitedb.Row) (bool, error) {
					after, more = r.Int(0), true
					names, err := decodeTable(r.Bytes(1))
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

// contentOp completes a sweep. No message is accepted while it runs, and it
// knows all those accepted since the sweep began.
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
			idle[name] = true // a concurrent PutContent must write it
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
