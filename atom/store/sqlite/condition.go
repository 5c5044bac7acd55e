package sqlite

import (
	"context"
	"errors"
	"fmt"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// condition is a store.Condition prepared for a commit.
type condition interface {
	// check returns a refusal if the condition does not hold. It changes
	// nothing observable, and may run again after a rollback.
	check(b *batch, tx *sqlitedb.Tx, seq int64) (refusal, err error)
	// commit applies the effect of a condition that holds.
	commit(b *batch, tx *sqlitedb.Tx, seq int64) error
}

// conditions prepares the conditions of a change. The caller must call done
// with whether the change was committed.
func (s *Store) conditions(ctx context.Context, require []store.Condition) (list []condition, done func(committed bool), err error) {
	var updates []*stateCondition
	done = func(committed bool) {
		for _, u := range updates {
			u.done(committed)
		}
	}
	for _, r := range require {
		switch r := r.(type) {
		case store.Begin:
			list = append(list, beginCondition{})
		case store.NotBegun:
			list = append(list, notBegunCondition{})
		case store.GiveUp:
			list = append(list, giveUpCondition{r.WaitID})
		case *store.Signal:
			list = append(list, &delivery{signal: r, files: s.files.mentions(r.Entry.Body)})
		case *store.StateUpdate:
			u := &stateCondition{update: r}
			if u.stages, u.done, err = s.stager.stage(ctx, r); err != nil {
				done(false)
				return nil, nil, err
			}
			updates = append(updates, u)
			list = append(list, u)
		default:
			done(false)
			return nil, nil, fmt.Errorf("unknown condition %T", r)
		}
	}
	return list, done, nil
}

// beginCondition is a store.Begin.
type beginCondition struct{}

func (beginCondition) check(b *batch, tx *sqlitedb.Tx, seq int64) (refusal, err error) {
	until, found, err := startDeadline(tx, seq)
	if err == nil && found && until <= b.now.UnixNano() {
		return store.ErrExpired, nil
	}
	return nil, err
}

func (beginCondition) commit(_ *batch, tx *sqlitedb.Tx, seq int64) error { return clearStart(tx, seq) }

// notBegunCondition is a store.NotBegun.
type notBegunCondition struct{}

func (notBegunCondition) check(_ *batch, tx *sqlitedb.Tx, seq int64) (refusal, err error) {
	_, found, err := startDeadline(tx, seq)
	if err == nil && !found {
		return store.ErrBegun, nil
	}
	return nil, err
}

func (notBegunCondition) commit(_ *batch, tx *sqlitedb.Tx, seq int64) error {
	return clearStart(tx, seq)
}

// giveUpCondition is a store.GiveUp.
type giveUpCondition struct{ waitID int64 }

func (c giveUpCondition) check(_ *batch, tx *sqlitedb.Tx, seq int64) (refusal, err error) {
	signaled, err := tx.One("SELECT 1 FROM wait WHERE seq = ? AND place = ? AND state IN (0, 2)", []any{seq, c.waitID}, func(sqlitedb.Row) {})
	if err == nil && signaled {
		return store.ErrSignaled, nil
	}
	return nil, err
}

func (c giveUpCondition) commit(_ *batch, tx *sqlitedb.Tx, seq int64) error {
	_, err := tx.Exec("INSERT INTO wait(seq, place, state, path) VALUES(?,?,?,'') ON CONFLICT DO UPDATE SET state = excluded.state, match = NULL",
		seq, c.waitID, int64(waitOver))
	return err
}

// stateCondition is a store.StateUpdate with its large snapshots staged.
type stateCondition struct {
	update *store.StateUpdate
	stages map[int]int64
	done   func(committed bool)
}

func (c *stateCondition) check(_ *batch, tx *sqlitedb.Tx, _ int64) (refusal, err error) {
	err = checkVersions(tx, c.update)
	if errors.Is(err, store.ErrConflict) {
		return err, nil
	}
	return nil, err
}

func (c *stateCondition) commit(_ *batch, tx *sqlitedb.Tx, _ int64) error {
	return writeState(tx, c.update, c.stages)
}
