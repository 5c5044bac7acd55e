package sqlite

import (
	"context"
	"fmt"
	"log/slog"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// A change with very many digests would block all other commits while it is
// written. Instead, it is written beforehand to a stage, in many small
// transactions. The commit of the change makes the stage part of the snapshot
// by updating one row. After that, the digests are merged into the snapshot,
// again in small transactions. A snapshot has at most one committed stage.
const migrationStages = `
CREATE TABLE stage(id INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT NOT NULL, name TEXT NOT NULL, counts INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX stage_counts ON stage(process, name) WHERE counts = 1;
CREATE TABLE staged(stage INTEGER NOT NULL, key TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(stage, key)) WITHOUT ROWID;
`

// digestsPerCommit is the number of digests written in one transaction.
const digestsPerCommit = 1000

// stager merges committed stages and deletes abandoned ones.
type stager struct {
	db        *sqlitedb.DB
	log       *slog.Logger
	perCommit int
	kick      chan struct{}
	drop      chan int64 // abandoned stages
	orphans   []int64    // uncommitted when the store was opened
}

func newStager(db *sqlitedb.DB, log *slog.Logger) stager {
	return stager{db: db, log: log, perCommit: digestsPerCommit, kick: make(chan struct{}, 1), drop: make(chan int64, 64)}
}

// stage writes the large snapshots of a change to stages, and returns these by
// the index of the snapshot. It first merges stages committed earlier. The
// caller must call done with whether the change was committed.
func (g *stager) stage(ctx context.Context, m *store.StateUpdate) (stages map[int]int64, done func(committed bool), err error) {
	stages = map[int]int64{}
	done = func(committed bool) {
		for _, id := range stages {
			g.finish(id, committed)
		}
	}
	for i := range m.Snapshots {
		c := &m.Snapshots[i]
		for more := true; more && err == nil; {
			more, err = g.mergeStage(ctx, c.Process, c.Name)
		}
		if err == nil && len(c.Digests) > g.perCommit {
			stages[i], err = g.writeStage(ctx, c)
		}
		if err != nil {
			done(false)
			return nil, nil, err
		}
	}
	return stages, done, nil
}

// finish reports the fate of a stage to the stager without blocking. Stages
// that are not reported are found at the next start.
func (g *stager) finish(id int64, counts bool) {
	if counts {
		select {
		case g.kick <- struct{}{}:
		default:
		}
		return
	}
	select {
	case g.drop <- id:
	default:
	}
}

// writeStage writes the digests of a snapshot to a new stage.
func (g *stager) writeStage(ctx context.Context, c *store.SnapshotChange) (id int64, err error) {
	err = g.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.One("INSERT INTO stage(process, name) VALUES(?,?) RETURNING id", []any{c.Process, c.Name}, func(r sqlitedb.Row) { id = r.Int(0) })
		return err
	}))
	if err != nil {
		return 0, err // if it exists nevertheless, the next start deletes it
	}
	for rest := c.Digests; err == nil && len(rest) > 0; {
		some := rest[:min(len(rest), g.perCommit)]
		rest = rest[len(some):]
		err = g.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			for _, p := range some {
				if _, err := tx.Exec("INSERT OR REPLACE INTO staged(stage, key, hash) VALUES(?,?,?)", id, p.Key, orEmpty(p.Hash)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	if err != nil {
		g.finish(id, false)
		return 0, err
	}
	return id, nil
}

// commitStage makes a stage part of its snapshot.
func commitStage(tx *sqlitedb.Tx, id int64) error {
	n, err := tx.Exec("UPDATE stage SET counts = 1 WHERE id = ?", id)
	if err == nil && n != 1 {
		err = fmt.Errorf("stage %d does not exist", id)
	}
	return err
}

// committedStage returns the committed stage of a snapshot, or 0.
func committedStage(tx *sqlitedb.Tx, process, name string) (id int64, err error) {
	_, err = tx.One("SELECT id FROM stage WHERE process = ? AND name = ? AND counts = 1", []any{process, name}, func(r sqlitedb.Row) { id = r.Int(0) })
	return id, err
}

// mergeStage merges some digests of the committed stage into the snapshot, and
// reports whether there may be more.
func (g *stager) mergeStage(ctx context.Context, process, name string) (more bool, err error) {
	id := int64(0)
	if err := g.db.Read(ctx, func(tx *sqlitedb.Tx) (err error) { id, err = committedStage(tx, process, name); return err }); id == 0 || err != nil {
		return false, err
	}
	err = g.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		digests, err := g.firstDigests(tx, id)
		if err != nil {
			return err
		}
		for _, p := range digests {
			if err := writeDigest(tx, process, name, p); err != nil {
				return err
			}
		}
		more = len(digests) == g.perCommit
		return deleteStaged(tx, id, digests, more)
	}))
	return more, err
}

// firstDigests returns the first digests of a stage.
func (g *stager) firstDigests(tx *sqlitedb.Tx, id int64) ([]store.Digest, error) {
	return readDigests(tx, "SELECT key, hash FROM staged WHERE stage = ? ORDER BY key LIMIT ?", id, g.perCommit)
}

func readDigests(tx *sqlitedb.Tx, query string, args ...any) (digests []store.Digest, err error) {
	err = tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
		digests = append(digests, store.Digest{Key: r.Text(0), Hash: r.Bytes(1)})
		return true, nil
	})
	return digests, err
}

// mergeDigests returns a page of a snapshot with its committed stage applied:
// digests of the stage replace those of the base, and those without a hash
// delete them. Both sources return at most limit digests after a key.
func mergeDigests(after string, limit int, base, stage func(after string) ([]store.Digest, error)) (out []store.Digest, err error) {
	for len(out) < limit {
		below, err := base(after)
		if err != nil {
			return nil, err
		}
		above, err := stage(after)
		if err != nil {
			return nil, err
		}
		more, until := false, "" // end of the shorter page
		for _, page := range [][]store.Digest{below, above} {
			if len(page) == limit && (!more || page[limit-1].Key < until) {
				more, until = true, page[limit-1].Key
			}
		}
		known := func(page []store.Digest) bool { return len(page) > 0 && (!more || page[0].Key <= until) }
		for known(below) || known(above) {
			var p store.Digest
			if !known(above) || known(below) && below[0].Key < above[0].Key {
				p, below = below[0], below[1:]
			} else {
				if known(below) && below[0].Key == above[0].Key {
					below = below[1:]
				}
				p, above = above[0], above[1:]
			}
			if len(p.Hash) > 0 {
				out = append(out, p)
			}
		}
		if !more {
			break
		}
		after = until
	}
	return out[:min(len(out), limit)], nil
}

// deleteStaged deletes the first digests of a stage, and the stage after the
// last of them.
func deleteStaged(tx *sqlitedb.Tx, id int64, digests []store.Digest, more bool) error {
	if len(digests) > 0 {
		if _, err := tx.Exec("DELETE FROM staged WHERE stage = ? AND key <= ?", id, digests[len(digests)-1].Key); err != nil {
			return err
		}
	}
	if more {
		return nil
	}
	_, err := tx.Exec("DELETE FROM stage WHERE id = ?", id)
	return err
}

// writeDigest sets a digest, or deletes it if it has no hash.
func writeDigest(tx *sqlitedb.Tx, process, name string, p store.Digest) (err error) {
	if len(p.Hash) == 0 {
		_, err = tx.Exec("DELETE FROM print WHERE process = ? AND name = ? AND key = ?", process, name, p.Key)
	} else {
		_, err = tx.Exec("INSERT OR REPLACE INTO print(process, name, key, hash) VALUES(?,?,?,?)", process, name, p.Key, p.Hash)
	}
	return err
}

// run merges and deletes stages until ctx ends.
func (g *stager) run(ctx context.Context) {
	left := g.orphans
	g.finish(0, true)
	for ctx.Err() == nil {
		for _, id := range left {
			if err := g.dropStage(ctx, id); err != nil && ctx.Err() == nil {
				g.log.Error("cannot delete an uncommitted snapshot", "error", err)
			}
		}
		left = nil
		select {
		case id := <-g.drop:
			left = append(left, id)
		case <-g.kick:
			if err := g.mergeStages(ctx); err != nil && ctx.Err() == nil {
				g.log.Error("cannot merge a snapshot; its next change retries", "error", err)
			}
		case <-ctx.Done():
		}
	}
}

func (g *stager) mergeStages(ctx context.Context) error {
	var all [][2]string
	err := g.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		all = all[:0]
		return tx.Rows("SELECT process, name FROM stage WHERE counts = 1", nil, func(r sqlitedb.Row) (bool, error) {
			all = append(all, [2]string{r.Text(0), r.Text(1)})
			return true, nil
		})
	})
	for _, of := range all {
		for more := true; more && err == nil; {
			more, err = g.mergeStage(ctx, of[0], of[1])
		}
	}
	return err
}

// dropStage deletes a stage unless it is committed: a commit that returned an
// error may have succeeded.
func (g *stager) dropStage(ctx context.Context, id int64) (err error) {
	for more := true; more && err == nil; {
		err = g.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			more = false
			unused, err := tx.One("SELECT 1 FROM stage WHERE id = ? AND counts = 0", []any{id}, func(sqlitedb.Row) {})
			if err != nil || !unused {
				return err
			}
			digests, err := g.firstDigests(tx, id)
			if err != nil {
				return err
			}
			more = len(digests) == g.perCommit
			return deleteStaged(tx, id, digests, more)
		}))
	}
	return err
}

// uncommittedStages returns the stages that are not committed.
func uncommittedStages(tx *sqlitedb.Tx) (ids []int64, err error) {
	err = tx.Rows("SELECT id FROM stage WHERE counts = 0", nil, func(r sqlitedb.Row) (bool, error) {
		ids = append(ids, r.Int(0))
		return true, nil
	})
	return ids, err
}
