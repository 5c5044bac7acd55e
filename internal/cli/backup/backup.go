// Package backup has the command that copies the data of an atom.
package backup

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"valence/atom/server"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// Command copies the data folder of an atom.
type Command struct {
	client.AtomFlags
	Dest string `arg:"" files:"" help:"Folder to create; it must not exist."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `The atom keeps running. The copy is consistent, like the data folder after a crash:
nothing acknowledged before the backup is missing. It contains the keys of the
data folder, so an atom started on it continues where this one was.

Example:

    valence backup /backups/valence-2026-01-02 --data /var/lib/valence
`
}

// Run makes a backup.
func (c *Command) Run(s *terminal.Streams) error {
	dest, err := filepath.Abs(c.Dest)
	if err != nil {
		return clierror.Failed("name the folder with its absolute path", "%v", err)
	}
	if _, err := os.Lstat(dest); err == nil {
		return clierror.Usage("name a folder that does not exist", "%s already exists", c.Dest)
	}
	ctx := context.Background()
	if c.Admin == "" {
		done, err := server.BackupStopped(ctx, c.Data, dest)
		if err != nil {
			return err
		}
		if done {
			return printDone(s, dest)
		}
	}
	api, err := c.Connect()
	if err != nil {
		return err
	}
	api.SetTimeout(0) // a large copy needs time
	if _, err := api.Call(ctx, http.MethodPost, "/backup", map[string]string{"folder": dest}); err != nil {
		return err
	}
	return printDone(s, dest)
}

func printDone(s *terminal.Streams, dest string) error {
	_, err := fmt.Fprintf(s.Out, "the backup is in %s\n", terminal.RelativePath(dest))
	return err
}
