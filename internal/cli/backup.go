package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite"
)

type backupCmd struct {
	remote
	Dest string `arg:"" files:"" help:"The folder to make; it must not exist."`
}

// Help is shown below the command's summary.
func (*backupCmd) Help() string {
	return `The copy is what an atom would find after a crash at one instant: nothing that
was acknowledged before is missing. It holds the keys of the data folder too, so
an atom started on it goes on where this one was. The atom may run meanwhile.

Example:

    valence backup /backups/valence-2026-01-02 --data /var/lib/valence
`
}

// Run makes a backup.
func (c *backupCmd) Run(s *streams) error {
	dest, err := filepath.Abs(c.Dest)
	if err != nil {
		return failed("", "%v", err)
	}
	if _, err := os.Lstat(dest); err == nil {
		return usage("a folder that does not exist yet", "%s exists already", c.Dest)
	}
	if c.Admin == "" {
		done, err := c.stopped(dest)
		if err != nil {
			return err
		}
		if done {
			return c.done(s, dest)
		}
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	api.http.Timeout = 0 // as long as the copy takes
	if _, err := api.call(context.Background(), "POST", "/backup", map[string]string{"folder": dest}); err != nil {
		return err
	}
	return c.done(s, dest)
}

func (c *backupCmd) done(s *streams, dest string) error {
	_, err := fmt.Fprintf(s.out, "the backup is in %s\n", shown(dest))
	return err
}

// stopped copies a data folder that no atom uses; done is false if one does.
func (c *backupCmd) stopped(dest string) (done bool, err error) {
	if _, err := os.Stat(c.Data); errors.Is(err, fs.ErrNotExist) {
		return false, failed("--data DIR with the data folder of the atom", "there is no data folder %s", c.Data)
	}
	store, err := sqlite.Open(c.Data, sqlite.Options{Log: slog.New(slog.DiscardHandler)})
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return false, nil
	}
	if err != nil {
		return false, openError(c.Data, err)
	}
	p := newParts()
	p.start("store", store.Run)
	err = backupTo(context.Background(), store, c.Data, dest)
	if err := errors.Join(err, p.stop(), store.Close()); err != nil {
		return false, failed("a folder that can be written to", "%v", err)
	}
	return true, nil
}

// backupTo copies the store, and beside it the keys of the data folder.
func backupTo(ctx context.Context, store *sqlite.Store, data, dest string) error {
	if err := store.Backup(ctx, dest); err != nil {
		return err
	}
	for _, name := range []string{keyFile} {
		content, err := os.ReadFile(filepath.Join(data, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := writeWhole(filepath.Join(dest, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
