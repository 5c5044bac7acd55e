package sqlitedb

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

// Inspection is a database that was opened for a check.
type Inspection struct {
	Tx       *Tx
	Identity Identity
	Version  int // of its schema
}

// CheckFile checks the structure and the indexes of a database that no program
// uses, and calls more if it can be read. It changes nothing. It returns the
// problems found, and an error if the file could not be read.
func CheckFile(ctx context.Context, path string, more func(*Inspection) error) (found []string, err error) {
	c, err := connectReadOnly(ctx, path)
	if err == nil {
		found, err = problems(ctx, c, "PRAGMA integrity_check")
		if err == nil && len(found) == 0 {
			err = inspect(ctx, c, more)
		}
		err = errors.Join(err, c.close())
	}
	if IsDamage(err) {
		return append([]string{"it is malformed"}, found...), nil
	}
	return found, err
}

// connectReadOnly opens a database that no program uses.
func connectReadOnly(ctx context.Context, path string) (*conn, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// Without a log, nothing needs to be created next to the file.
	access := "&immutable=1"
	if _, err := os.Stat(path + "-wal"); err == nil {
		access = "&mode=ro"
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return connect(ctx, dsn(path, "", "query_only(ON)", "temp_store(MEMORY)")+access)
}

// ReadFile opens a database that no program uses, and changes nothing in it.
// The inspection is valid until it is closed.
func ReadFile(ctx context.Context, path string) (i *Inspection, closeFile func() error, err error) {
	c, err := connectReadOnly(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	err = inspect(ctx, c, func(found *Inspection) error { i = found; return nil })
	if err != nil {
		return nil, nil, errors.Join(err, c.close())
	}
	return i, c.close, nil
}

func inspect(ctx context.Context, c *conn, more func(*Inspection) error) error {
	if more == nil {
		return nil
	}
	i := &Inspection{Tx: &Tx{c, ctx}}
	tables, err := i.Tx.One("SELECT 1 FROM sqlite_schema WHERE name = 'write_marker'", nil, func(Row) {})
	if err != nil || !tables {
		return errors.Join(err, more(i))
	}
	_, err = i.Tx.One("PRAGMA user_version", nil, func(r Row) { i.Version = int(r.Int(0)) })
	if err == nil {
		i.Identity, err = readIdentity(ctx, c)
	}
	if err != nil {
		return err
	}
	return more(i)
}
