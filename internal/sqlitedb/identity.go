package sqlitedb

import "context"

// Identity distinguishes a database from others, and from older copies of it.
type Identity struct {
	ID     int64 // random; 0: none yet
	Starts int64 // how often it was opened for use
}

// Rows of the table write_marker. The first is that of writeMarker.
const (
	rowID     = 2
	rowStarts = 3
)

// Identity returns the identity as it was before SetIdentity. It must be called
// before Run.
func (db *DB) Identity() (Identity, error) { return readIdentity(context.Background(), db.writer) }

func readIdentity(ctx context.Context, c *conn) (i Identity, err error) {
	err = c.query(ctx, "SELECT id, n FROM write_marker", nil, func(r Row) (bool, error) {
		switch r.Int(0) {
		case rowID:
			i.ID = r.Int(1)
		case rowStarts:
			i.Starts = r.Int(1)
		}
		return true, nil
	})
	return i, err
}

// SetIdentity stores the identity, in the transaction of Setup.
func SetIdentity(tx *Tx, i Identity) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO write_marker VALUES(?, ?), (?, ?)", rowID, i.ID, rowStarts, i.Starts)
	return err
}
