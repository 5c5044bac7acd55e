package sqlite

import (
	"context"
	"fmt"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// A change of very many prints would keep everybody else from committing for
// as long as it takes to write them. It is written to a stage beforehand, in
// many small transactions; the commit that it belongs to makes the stage part
// of the snapshot, in one row, and afterwards its prints move to their places,
// in small transactions again. A snapshot has one such stage at most.
const migrationStages = `
CREATE TABLE stage(id INTEGER PRIMARY KEY AUTOINCREMENT, process TEXT NOT NULL, name TEXT NOT NULL, counts INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX stage_counts ON stage(process, name) WHERE counts = 1;
CREATE TABLE staged(stage INTEGER NOT NULL, key TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(stage, key)) WITHOUT ROWID;
`

// printsAtOnce is how many prints are written in one transaction.
const printsAtOnce = 1000

// stager moves what was staged to its place, and deletes what never counted.
type stager struct {
	atOnce int
	kick   chan struct{}
	drop   chan int64 // stages that do not count
}

func newStager() stager {
	return stager{atOnce: printsAtOnce, kick: make(chan struct{}, 1), drop: make(chan int64, 64)}
}

// stage writes the large snapshots of a change beforehand, and gives their
// stages, by the index of the snapshot. What was staged for them before is in
// its place then. done is for when the change is committed, or never will be.
func (s *Store) stage(ctx context.Context, m *atom.Memory) (stages map[int]int64, done func(committed bool), err error) {
	stages = map[int]int64{}
	done = func(committed bool) {
		for _, id := range stages {
			s.stager.settle(id, committed)
		}
	}
	if m == nil {
		return nil, done, nil
	}
	for i := range m.Snapshots {
		c := &m.Snapshots[i]
		for more := true; more && err == nil; {
			more, err = s.unstage(ctx, c.Process, c.Name)
		}
		if err == nil && len(c.Prints) > s.stager.atOnce {
			stages[i], err = s.writeStage(ctx, c)
		}
		if err != nil {
			done(false)
			return nil, nil, err
		}
	}
	return stages, done, nil
}

// settle says what became of a stage. It does not block: what is not heard is
// found at the next start.
func (g *stager) settle(id int64, counts bool) {
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

// writeStage writes the prints of a snapshot to a stage of its own.
func (s *Store) writeStage(ctx context.Context, c *atom.SnapshotChange) (id int64, err error) {
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.One("INSERT INTO stage(process, name) VALUES(?,?) RETURNING id", []any{c.Process, c.Name}, func(r sqlitedb.Row) { id = r.Int(0) })
		return err
	}))
	if err != nil {
		return 0, err // if it is there all the same, under whatever number, the next start finds it
	}
	for rest := c.Prints; err == nil && len(rest) > 0; {
		some := rest[:min(len(rest), s.stager.atOnce)]
		rest = rest[len(some):]
		err = s.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			for _, p := range some {
				if _, err := tx.Exec("INSERT OR REPLACE INTO staged(stage, key, hash) VALUES(?,?,?)", id, p.Key, orEmpty(p.Hash)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	if err != nil {
		s.stager.settle(id, false)
		return 0, err
	}
	return id, nil
}

// count makes a stage part of its snapshot.
func count(tx *sqlitedb.Tx, id int64) error {
	n, err := tx.Exec("UPDATE stage SET counts = 1 WHERE id = ?", id)
	if err == nil && n != 1 {
		err = fmt.Errorf("the stage %d is gone", id)
	}
	return err
}

// stageOf gives the stage that counts for a snapshot, 0 for none.
func stageOf(tx *sqlitedb.Tx, process, name string) (id int64, err error) {
	_, err = tx.One("SELECT id FROM stage WHERE process = ? AND name = ? AND counts = 1", []any{process, name}, func(r sqlitedb.Row) { id = r.Int(0) })
	return id, err
}

// unstage moves some prints of the stage that counts to their place, and
// reports whether there may be more.
func (s *Store) unstage(ctx context.Context, process, name string) (more bool, err error) {
	id := int64(0)
	if err := s.db.Read(ctx, func(tx *sqlitedb.Tx) (err error) { id, err = stageOf(tx, process, name); return err }); id == 0 || err != nil {
		return false, err
	}
	err = s.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		prints, err := s.some(tx, id)
		if err != nil {
			return err
		}
		for _, p := range prints {
			if err := writePrint(tx, process, name, p); err != nil {
				return err
			}
		}
		more = len(prints) == s.stager.atOnce
		return leaveStage(tx, id, prints, more)
	}))
	return more, err
}

// some gives the first prints of a stage.
func (s *Store) some(tx *sqlitedb.Tx, id int64) ([]atom.Print, error) {
	return printsIn(tx, "SELECT key, hash FROM staged WHERE stage = ? ORDER BY key LIMIT ?", id, s.stager.atOnce)
}

func printsIn(tx *sqlitedb.Tx, query string, args ...any) (prints []atom.Print, err error) {
	err = tx.Rows(query, args, func(r sqlitedb.Row) (bool, error) {
		prints = append(prints, atom.Print{Key: r.Text(0), Hash: r.Bytes(1)})
		return true, nil
	})
	return prints, err
}

// overlaid gives the first prints behind a key of a snapshot and the stage
// that counts for it: what is on the stage replaces what is below, and removes
// it where it has no hash. Both give at most limit prints behind a key.
func overlaid(after string, limit int, base, stage func(after string) ([]atom.Print, error)) (out []atom.Print, err error) {
	for len(out) < limit {
		below, err := base(after)
		if err != nil {
			return nil, err
		}
		above, err := stage(after)
		if err != nil {
			return nil, err
		}
		more, until := false, "" // as far as both are known
		for _, page := range [][]atom.Print{below, above} {
			if len(page) == limit && (!more || page[limit-1].Key < until) {
				more, until = true, page[limit-1].Key
			}
		}
		known := func(page []atom.Print) bool { return len(page) > 0 && (!more || page[0].Key <= until) }
		for known(below) || known(above) {
			var p atom.Print
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

// leaveStage takes the first prints of a stage out of it, and the stage with
// the last of them.
func leaveStage(tx *sqlitedb.Tx, id int64, prints []atom.Print, more bool) error {
	if len(prints) > 0 {
		if _, err := tx.Exec("DELETE FROM staged WHERE stage = ? AND key <= ?", id, prints[len(prints)-1].Key); err != nil {
			return err
		}
	}
	if more {
		return nil
	}
	_, err := tx.Exec("DELETE FROM stage WHERE id = ?", id)
	return err
}

// writePrint sets one print; without a hash it removes it.
func writePrint(tx *sqlitedb.Tx, process, name string, p atom.Print) (err error) {
	if len(p.Hash) == 0 {
		_, err = tx.Exec("DELETE FROM print WHERE process = ? AND name = ? AND key = ?", process, name, p.Key)
	} else {
		_, err = tx.Exec("INSERT OR REPLACE INTO print(process, name, key, hash) VALUES(?,?,?,?)", process, name, p.Key, p.Hash)
	}
	return err
}

// staging moves and deletes what was staged, until ctx ends. left are the
// stages that did not count when the store was opened: nobody writes to them
// any more.
func (s *Store) staging(ctx context.Context, left []int64) {
	s.stager.settle(0, true)
	for ctx.Err() == nil {
		for _, id := range left {
			if err := s.dropStage(ctx, id); err != nil && ctx.Err() == nil {
				s.log.Error("a snapshot that was not committed cannot be deleted", "error", err)
			}
		}
		left = nil
		select {
		case id := <-s.stager.drop:
			left = append(left, id)
		case <-s.stager.kick:
			if err := s.unstageAll(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("a snapshot cannot be moved to its place; its next change tries again", "error", err)
			}
		case <-ctx.Done():
		}
	}
}

func (s *Store) unstageAll(ctx context.Context) error {
	var all [][2]string
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		all = all[:0]
		return tx.Rows("SELECT process, name FROM stage WHERE counts = 1", nil, func(r sqlitedb.Row) (bool, error) {
			all = append(all, [2]string{r.Text(0), r.Text(1)})
			return true, nil
		})
	})
	for _, of := range all {
		for more := true; more && err == nil; {
			more, err = s.unstage(ctx, of[0], of[1])
		}
	}
	return err
}

// dropStage deletes a stage, unless it counts all the same: of a commit that
// failed it is not always known.
func (s *Store) dropStage(ctx context.Context, id int64) (err error) {
	for more := true; more && err == nil; {
		err = s.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
			more = false
			unused, err := tx.One("SELECT 1 FROM stage WHERE id = ? AND counts = 0", []any{id}, func(sqlitedb.Row) {})
			if err != nil || !unused {
				return err
			}
			prints, err := s.some(tx, id)
			if err != nil {
				return err
			}
			more = len(prints) == s.stager.atOnce
			return leaveStage(tx, id, prints, more)
		}))
	}
	return err
}

// uncounted gives the stages that do not count.
func uncounted(tx *sqlitedb.Tx) (ids []int64, err error) {
	err = tx.Rows("SELECT id FROM stage WHERE counts = 0", nil, func(r sqlitedb.Row) (bool, error) {
		ids = append(ids, r.Int(0))
		return true, nil
	})
	return ids, err
}
