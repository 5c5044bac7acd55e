package sqlite

import (
	"valence/atom"
	"valence/internal/sqlitedb"
)

// atOnce is the due of an execution that is to run as soon as a worker is
// free, whatever the clock says.
const atOnce = 1

// release makes a live execution that has a row ready to run again, and tells
// of it once that is committed. One that is in a pack was never set aside.
func (b *batch) release(tx *sqlitedb.Tx, t *touch) error {
	if t.home != nil {
		return nil
	}
	if err := letGo(tx, t); err != nil {
		return err
	}
	t.becomes = stAccepted
	if _, err := tx.Exec("UPDATE execution SET state = ?, due = ?, why = NULL WHERE seq = ?", int64(stAccepted), int64(atOnce), t.seq); err != nil {
		return err
	}
	b.ready = append(b.ready, atom.Ready{Process: t.process, Seq: t.seq})
	return nil
}
