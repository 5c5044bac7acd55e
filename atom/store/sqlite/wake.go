package sqlite

import (
	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// dueNow is the Due of an execution that is ready whatever the clock says.
const dueNow = 1

// makeReady makes a live execution with a row ready, and reports it after the
// commit. A pack member was never suspended.
func (b *batch) makeReady(tx *sqlitedb.Tx, m *mutation) error {
	if m.pack != nil {
		return nil
	}
	if err := deleteHolds(tx, m); err != nil {
		return err
	}
	m.after = codeAccepted
	if _, err := tx.Exec("UPDATE execution SET state = ?, due = ?, why = NULL WHERE seq = ?", int64(codeAccepted), int64(dueNow), m.seq); err != nil {
		return err
	}
	b.ready = append(b.ready, store.Wakeup{Process: m.process, Seq: m.seq})
	return nil
}
