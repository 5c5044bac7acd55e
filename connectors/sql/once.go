package sql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"

	"valence/connectors"
)

// doneID returns the id of a call in the table.
func doneID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// remember writes the key of a call to the table. done reports whether it was
// there with the recorded result. A transaction that is writing the same key is
// waited for.
func (c *connection) remember(ctx context.Context, tx *work, key string) (recorded []byte, done bool, err error) {
	first, arg := c.dialect.param(1, doneID(key))
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(c.dialect.remember, first), arg); err != nil {
		return nil, false, c.noTable(ctx, tx, err)
	}
	var text sql.NullString
	err = tx.QueryRowContext(ctx, "select result from valence_done where id = "+first, arg).Scan(&text)
	if err != nil {
		return nil, false, err
	}
	return []byte(text.String), text.Valid, nil
}

// record writes the result of a call.
func (c *connection) record(ctx context.Context, tx *work, key string, result []byte) error {
	first, text := c.dialect.param(1, string(result))
	second, id := c.dialect.param(2, doneID(key))
	_, err := tx.ExecContext(ctx, "update valence_done set result = "+first+" where id = "+second, text, id)
	return err
}

// noTable returns the failure for a missing table, and otherwise err.
func (c *connection) noTable(ctx context.Context, tx *work, err error) error {
	code, _, ok := c.dialect.state(err)
	missing := ok && code == c.dialect.noTable
	if ok && c.dialect.noTable == "" {
		var name string
		missing = tx.QueryRowContext(ctx, c.dialect.tables).Scan(&name) == sql.ErrNoRows
	}
	if !missing {
		return err
	}
	return connectors.Failf(CodeNoTable, false, err, "`once: true` needs the table valence_done in %s: run `valence connection prepare`, or create it:\n%s", c.where, c.dialect.doneTable)
}

var _ connectors.Preparer = (*connection)(nil)

// Prepare creates the table for `once: true`.
func (c *connection) Prepare(ctx context.Context) (string, error) {
	rows, err := c.db.QueryContext(ctx, "select id from valence_done where 1 = 0")
	if err == nil {
		return "", rows.Close()
	}
	if code, _, ok := c.dialect.state(err); !ok || c.dialect.noTable != "" && code != c.dialect.noTable {
		return "", c.failed(ctx, "prepare", err)
	}
	if err := c.create(ctx, c.dialect.doneTable); err != nil {
		f := c.failed(ctx, "prepare", err)
		f.Message += "; create the table valence_done as its owner:\n" + c.dialect.doneTable
		return "", f
	}
	return "Created the table valence_done in " + c.where + ".", nil
}

func (c *connection) create(ctx context.Context, ddl string) error {
	w, err := c.begin(ctx, false)
	if err != nil {
		return err
	}
	defer w.end()
	if _, err := w.ExecContext(ctx, ddl); err != nil {
		return err
	}
	return w.Commit()
}
