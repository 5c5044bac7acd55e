package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"valence/atom/server"
	"valence/atom/store/sqlite"
	"valence/cloud/store"
	"valence/internal/cli/controlplane"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// CheckCommand reads a data folder and reports damage.
type CheckCommand struct {
	Data string `default:"data" env:"VALENCE_DATA" help:"Data folder of a stopped atom or control plane, or a backup."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help returns the text below the command's summary.
func (*CheckCommand) Help() string {
	return `Everything is read and nothing is changed: the database with its journals, the
documents, the history, the packages of a control plane, and the keys. The
program that uses the folder must be stopped. To check a running atom, back it
up and check the backup.

The exit code is 0 if all is well, 1 if there are problems, and 3 if something
could not be read.

Examples:

    valence check
    valence check --data /backups/valence-2026-01-02
    valence check --data /var/lib/valence-cloud --json
`
}

// spoolDatabase is the database of an atom that is enrolled with a control
// plane.
const spoolDatabase = "agent/agent.db"

// Run checks a folder.
func (c *CheckCommand) Run(s *terminal.Streams) error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	progress := terminal.NewProgress(s.Err)
	shown := time.Time{}
	reports := []datafolder.FileReport{}
	checker := datafolder.Checker{
		Report: func(r datafolder.FileReport) { reports = append(reports, r) },
		Progress: func(file string) {
			if now := time.Now(); now.Sub(shown) >= 100*time.Millisecond {
				shown = now
				progress.Show("checking " + file)
			}
		},
	}
	err = c.check(ctx, checker)
	progress.Clear()
	if err != nil {
		return err
	}
	return c.print(s, reports)
}

// lock prevents other programs from starting on the folder. A folder on which none
// has run, such as a backup, has no lock.
func (c *CheckCommand) lock() (release func(), err error) {
	list, err := os.ReadDir(c.Data)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, clierror.Failed("--data DIR with a data folder or a backup", "there is no data folder %s", c.Data)
	case errors.Is(err, os.ErrPermission):
		return nil, datafolder.NotOwner(c.Data)
	case err != nil:
		return nil, clierror.Failed("--data DIR with a readable folder", "%v", err)
	case len(list) == 0:
		return nil, clierror.Failed("--data DIR with a data folder or a backup", "the folder %s is empty", c.Data)
	}
	if _, err := os.Stat(filepath.Join(c.Data, sqlitedb.LockFile)); err != nil {
		return func() {}, nil
	}
	lock, err := sqlitedb.LockDir(c.Data)
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return nil, clierror.Failed("stop it, or check a backup", "%v", locked)
	}
	if err != nil {
		return nil, clierror.Failed("--data DIR with a folder of this user", "%v", err)
	}
	return func() { lock.Release() }, nil
}

// check checks the folder of a control plane or of an atom.
func (c *CheckCommand) check(ctx context.Context, checker datafolder.Checker) error {
	if err := datafolder.CheckFinished(c.Data); err != nil {
		return &clierror.Error{Code: clierror.ExitInvalid, Message: err.Error(), Hint: "delete it and back up again"}
	}
	err := server.CheckAlone(c.Data)
	switch {
	case err != nil:
		return err
	case c.has("cloud.db") || c.isPlane():
		err = store.Check(ctx, c.Data, controlplane.KeyFile, checker)
	case c.has("hot.db") || c.has(datafolder.InventoryFile) || c.has("history") || c.has(server.KeyFile):
		err = sqlite.Check(ctx, c.Data, server.KeyFile, checker)
		if err == nil && c.has(spoolDatabase) {
			checkSpool(ctx, c.Data, checker)
		}
	default:
		return clierror.Failed("--data DIR with a data folder or a backup", "%s is neither a data folder nor a backup", c.Data)
	}
	if err != nil {
		return clierror.Failed("run it again", "the check was interrupted")
	}
	return nil
}

func (c *CheckCommand) has(name string) bool {
	_, err := os.Stat(filepath.Join(c.Data, name))
	return err == nil
}

// isPlane reports whether the inventory is that of a control plane.
func (c *CheckCommand) isPlane() bool {
	v, err := datafolder.ReadInventory(c.Data)
	return err == nil && v != nil && v.Database == "cloud.db"
}

func checkSpool(ctx context.Context, folder string, checker datafolder.Checker) {
	r := datafolder.FileReport{File: spoolDatabase}
	name := filepath.Join(folder, filepath.FromSlash(spoolDatabase))
	if info, err := os.Stat(name); err == nil {
		r.Bytes = info.Size()
	}
	found, err := sqlitedb.CheckFile(ctx, name, nil)
	r.Problems = found
	r.Fail(err)
	checker.Report(r)
}

// print prints the reports and returns the exit code.
func (c *CheckCommand) print(s *terminal.Streams, reports []datafolder.FileReport) error {
	problems, unreadable, bytes := 0, false, int64(0)
	for _, r := range reports {
		problems += len(r.Problems)
		unreadable = unreadable || r.Unreadable
		bytes += r.Bytes
	}
	var err error
	if c.JSON {
		err = terminal.EncodeJSON(s.Out, struct {
			Folder   string                  `json:"folder"`
			Problems int                     `json:"problems"`
			Files    []datafolder.FileReport `json:"files"`
		}{c.Data, problems, reports})
	} else {
		err = printReports(s.Out, reports)
	}
	switch {
	case err != nil:
		return err
	case unreadable:
		return clierror.Failed("run the command as the user that owns the folder", "some files of %s could not be read", c.Data)
	case problems > 0:
		return clierror.Invalid("restore a backup as the whole folder; valence check --data BACKUP checks it first", "%s in %s", terminal.Count(problems, "problem", "problems"), c.Data)
	}
	if !c.JSON {
		_, err = fmt.Fprintf(s.Out, "no problems in %s, %d bytes read\n", c.Data, bytes)
	}
	return err
}

func printReports(w io.Writer, reports []datafolder.FileReport) error {
	t := &terminal.Table{Head: []string{"FILE", "BYTES", "ITEMS", "RESULT"}}
	for _, r := range reports {
		result := "ok"
		switch {
		case len(r.Problems) > 0:
			result = r.Problems[0]
		case r.Note != "":
			result = "ok; " + r.Note
		}
		t.Add(r.File, fmt.Sprint(r.Bytes), fmt.Sprint(r.Items), result)
		for _, p := range r.Problems[min(1, len(r.Problems)):] {
			t.Add("", "", "", p)
		}
	}
	return t.Print(w)
}
