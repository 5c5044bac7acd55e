package sqlite

import (
	"errors"
	"fmt"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// A suspect is an execution that two unclean stops interrupted. Before it runs
// again, and can count as their cause, the store must have been open for twice
// as long as before the last stops. So it is not blamed for a machine that
// dies again and again, whatever runs.

const migrationSuspects = `CREATE INDEX execution_suspect ON execution(seq) WHERE unclean = 2;`

// suspectAfter is the number of unclean stops that make a suspect.
const suspectAfter = 2

// Bounds of the time that a suspect waits after the start.
const (
	minSuspectDelay = 5 * time.Second
	maxSuspectDelay = 20 * time.Second
)

// Settings of the store.
const (
	settingStarted = "started" // when it was opened, in nanoseconds
	settingLife    = "life"    // how long it was open before the last unclean stops, in nanoseconds
)

// suspectDelay records a start, and returns how long suspects wait after it.
func (s recovery) suspectDelay(tx *sqlitedb.Tx) (time.Duration, error) {
	now := s.clock.monotonic()
	started, err := setting(tx, settingStarted)
	if err != nil {
		return 0, err
	}
	before, err := setting(tx, settingLife)
	if err != nil {
		return 0, err
	}
	life := time.Duration(0)
	if s.unclean && started > 0 {
		life = min(max(now.Sub(time.Unix(0, started)), time.Duration(before)/2), maxSuspectDelay/2)
	}
	return max(2*life, minSuspectDelay), errors.Join(setSetting(tx, settingStarted, now.UnixNano()), setSetting(tx, settingLife, int64(life)))
}

// countCrashes counts an unclean stop for the executions that it interrupted,
// and delays suspects. If it interrupted only executions that no stop had
// interrupted before, the suspects are not the cause of this one: they lose a
// crash and run at once.
func (s recovery) countCrashes(tx *sqlitedb.Tx, ran []int64) error {
	delay, err := s.suspectDelay(tx)
	if err != nil || !s.unclean {
		return err
	}
	s.batch.Begin()
	again := false // an execution was interrupted again
	for _, seq := range ran {
		crashes, err := s.batch.countCrash(tx, seq)
		if err != nil {
			return fmt.Errorf("count the crash of execution %d: %w", seq, err)
		}
		again = again || crashes > 1
	}
	suspects, err := suspects(tx)
	if err != nil {
		return err
	}
	for _, seq := range suspects {
		if again {
			err = s.batch.delaySuspect(tx, seq, delay)
		} else {
			err = clearSuspect(tx, seq)
		}
		if err != nil {
			return fmt.Errorf("delay execution %d: %w", seq, err)
		}
	}
	return s.batch.Flush(tx)
}

func suspects(tx *sqlitedb.Tx) (seqs []int64, err error) {
	err = tx.Rows("SELECT seq FROM execution WHERE unclean = 2 AND state < 4", nil, func(r sqlitedb.Row) (bool, error) {
		seqs = append(seqs, r.Int(0))
		return true, nil
	})
	return seqs, err
}

// countCrash increments the crash count of a live execution, unless it is
// suspended, and returns the count.
func (b *batch) countCrash(tx *sqlitedb.Tx, seq int64) (crashes int64, err error) {
	m, err := b.mutate(tx, seq)
	switch {
	case errors.Is(err, store.ErrEnded) || errors.Is(err, errNotLive):
		return 0, nil
	case err != nil:
		return 0, err
	case m.pack != nil:
		return 1, b.promote(tx, m, codeAccepted, 0, 1, nil)
	}
	_, err = tx.One("UPDATE execution SET unclean = unclean + 1 WHERE seq = ? AND (state = 1 AND due IS NULL OR due <= ?) RETURNING unclean",
		[]any{seq, b.now.UnixNano()}, func(r sqlitedb.Row) { crashes = r.Int(0) })
	return crashes, err
}

// delaySuspect makes a suspect ready after a delay.
func (b *batch) delaySuspect(tx *sqlitedb.Tx, seq int64, delay time.Duration) error {
	m, err := b.mutate(tx, seq)
	if err != nil {
		return err
	}
	if err := deleteHolds(tx, m); err != nil {
		return err
	}
	if err := b.lanes().suspendHead(tx, m); err != nil {
		return err
	}
	m.after = codeAccepted
	_, err = tx.Exec("UPDATE execution SET state = ?, due = ?, why = ? WHERE seq = ?", int64(codeAccepted), b.now.Add(delay).UnixNano(),
		"the atom stopped uncleanly twice in a row while it ran; it waits until the atom has been up for "+delay.Round(time.Second).String(), seq)
	return err
}

// clearSuspect makes a delayed suspect run again as others do.
func clearSuspect(tx *sqlitedb.Tx, seq int64) error {
	_, err := tx.Exec("UPDATE execution SET unclean = ?, due = ?, why = NULL WHERE seq = ?", suspectAfter-1, int64(dueNow), seq)
	return err
}
