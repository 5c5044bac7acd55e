package sql

import (
	"context"
	"database/sql"
)

// work is a transaction on a connection of the pool, which it holds until its
// end.
type work struct {
	*sql.Tx
	conn    *sql.Conn
	release func() // ends the watch over ctx
}

// begin begins a transaction, which fails when ctx ends. In a readOnly one the
// database rejects every write, or it is rolled back in the end.
func (c *connection) begin(ctx context.Context, readOnly bool) (*work, error) {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &work{conn: conn, release: c.cutting(ctx, conn)}
	if mode := c.dialect.writable; mode != nil {
		_, err = conn.ExecContext(ctx, mode(!readOnly))
	}
	if err == nil {
		w.Tx, err = conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: readOnly && !c.dialect.rollsBack})
	}
	if err != nil {
		w.end()
		return nil, err
	}
	return w, nil
}

// end rolls back an uncommitted transaction, and returns the connection to the pool.
func (w *work) end() {
	if w.Tx != nil {
		_ = w.Rollback() // after a commit it does nothing
	}
	w.release()
	_ = w.conn.Close()
}
