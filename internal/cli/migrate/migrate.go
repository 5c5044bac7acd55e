// Package migrate has the command that moves everything of an atom to a group, or
// back.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"valence/atom"
	"valence/atom/server"
	"valence/atom/store/postgres"
	"valence/atom/store/sqlite"
	"valence/atom/store/transfer"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/pgdb"
	"valence/internal/sqlitedb"
)

// Command moves everything of an atom to a group, or back.
type Command struct {
	From           string `required:"" placeholder:"DIR|URL" files:"" help:"Data folder of a stopped atom, or address of the database of a stopped group."`
	To             string `required:"" placeholder:"URL|DIR" files:"" help:"Address of an empty database, or a folder to create."`
	Group          string `required:"" placeholder:"NAME" help:"Name of the group."`
	StorePlaintext bool   `name:"store-allow-plaintext" help:"Connect to a database on another machine without TLS. Anyone who can read that network can read messages and keys."`
	JSON           bool   `name:"json" help:"Print JSON."`
}

// Help returns the text below the command's summary.
func (*Command) Help() string {
	return `Executions in any state, their journals and documents, the history, replies, keys,
waits, states and positions move, with the key that signs execution ids: ids that
were handed out stay valid. The source is not changed. When the copy was read back
and is equal, the source is marked as moved, and nothing starts on it any more.

The atom or the group must be stopped. After an interruption, run the same command
again: it continues. Once it has succeeded, another run adds nothing.

The password of the database comes from PGPASSWORD_FILE or ~/.pgpass.

Examples:

    valence migrate --from data/ --to 'postgres://valence@db.example/valence?sslmode=verify-full' --group shop
    valence migrate --from postgres://valence@127.0.0.1/valence --group shop --to data-2/
`
}

// source is a store that is moved.
type source interface {
	transfer.Reader
	Origin() transfer.Origin
	MovedTo(context.Context) (string, error)
	MarkMoved(ctx context.Context, target string) error
	Close() error
}

// target is a store to which another is moved.
type target interface {
	transfer.Writer
	Name() string
	Progress() transfer.Progress
	Reader(context.Context) (transfer.Reader, error)
	Restart(context.Context) error
	Finish(context.Context) error
	Close() error
}

// result is the output of the command.
type result struct {
	From    string            `json:"from"`
	To      string            `json:"to"`
	Already bool              `json:"already"` // an earlier run has moved everything
	Counts  map[string]int64  `json:"counts,omitempty"`
	Digests map[string]string `json:"digests,omitempty"`
}

// Run moves everything.
func (c *Command) Run(s *terminal.Streams) error {
	if pgdb.IsAddress(c.From) == pgdb.IsAddress(c.To) {
		return clierror.Usage("--from data/ --to postgres://user@host:5432/database, or the other way round", "--from and --to are not a data folder and a database")
	}
	for option, value := range map[string]*string{"--from": &c.From, "--to": &c.To} {
		if !pgdb.IsAddress(*value) {
			path, err := filepath.Abs(*value)
			if err != nil {
				return clierror.Failed("name the folder with its absolute path", "%v", err)
			}
			*value = path
			continue
		}
		if err := pgdb.CheckAddress(option, *value); err != nil {
			e := (*pgdb.Error)(nil)
			errors.As(err, &e)
			return clierror.Usage(e.Hint, "%s", e.Text)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := terminal.NewProgress(s.Err)
	r, err := c.move(ctx, progress)
	progress.Clear()
	if err != nil && ctx.Err() != nil {
		return clierror.Failed("run the same command again; it continues", "the migration was interrupted")
	}
	if err != nil {
		return explain(err)
	}
	return c.print(s.Out, r)
}

// explain returns an error with its hint.
func explain(err error) error {
	if e := (*pgdb.Error)(nil); errors.As(err, &e) {
		return clierror.Failed(e.Hint, "%s", e.Text)
	}
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return clierror.Failed("stop the atom, then migrate", "an atom is running: %v", locked)
	}
	if errors.Is(err, postgres.ErrRunning) {
		return clierror.Failed("stop all members, and wait 10 s if one was killed", "the group is running")
	}
	return clierror.AsFailed(err, "run the same command again; it continues")
}

// move copies and verifies, and then marks the source.
func (c *Command) move(ctx context.Context, progress *terminal.Progress) (r *result, err error) {
	from, err := c.openSource(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := c.openTarget(ctx, from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	moved, err := from.MovedTo(ctx)
	if err != nil {
		return nil, err
	}
	r = &result{From: from.Origin().Name, To: to.Name()}
	if to.Progress().Done {
		if r.Already = true; moved == "" { // the mark was removed, and the source was not used since
			err = from.MarkMoved(ctx, to.Name())
		}
		return r, err
	}
	if err := transfer.Copy(ctx, from, to, to.Progress(), c.report(progress, "copying")); err != nil {
		return nil, err
	}
	if err := c.verify(ctx, from, to, progress, r); err != nil {
		return nil, err
	}
	// Both refuse to start between these two, and another run ends it.
	if err := from.MarkMoved(ctx, to.Name()); err != nil {
		return nil, err
	}
	return r, to.Finish(ctx)
}

// openSource opens the source, and checks the connection to its database.
func (c *Command) openSource(ctx context.Context) (source, error) {
	if !pgdb.IsAddress(c.From) {
		s, err := sqlite.OpenSource(ctx, c.From, server.KeyFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, clierror.Failed("--from with the data folder of an atom", "there is no data folder %s", c.From)
		case err != nil:
			return nil, err
		}
		n, err := s.StoredFiles()
		if err == nil && n > 0 {
			err = clierror.Failed("wait until these executions have ended and their documents are deleted, see retention",
				"executions refer to %d stored files, which a migration does not copy", n)
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	}
	return postgres.OpenSource(ctx, c.options(c.From), func(conn *pgdb.Conn) error { return c.checkEncrypted("--from", conn) })
}

func (c *Command) options(url string) postgres.Options {
	return postgres.Options{URL: url, Group: c.Group}
}

func (c *Command) checkEncrypted(option string, conn *pgdb.Conn) error {
	if c.StorePlaintext {
		return nil
	}
	return pgdb.CheckEncrypted(conn, option, "--store-allow-plaintext")
}

// openTarget opens the target, unless the source was moved elsewhere.
func (c *Command) openTarget(ctx context.Context, from source) (target, error) {
	moved, err := from.MovedTo(ctx)
	if err != nil {
		return nil, err
	}
	if !pgdb.IsAddress(c.To) {
		if err := checkMoved(from, moved, "the data folder "+c.To); err != nil {
			return nil, err
		}
		return sqlite.OpenTarget(c.To, sqlite.Options{KeyFile: server.KeyFile, BareTrace: atom.BareTrace}, from.Origin())
	}
	name, err := postgres.Describe(c.options(c.To))
	if err == nil {
		err = checkMoved(from, moved, name)
	}
	if err != nil {
		return nil, err
	}
	return postgres.OpenTarget(ctx, c.options(c.To), from.Origin(), func(conn *pgdb.Conn) error { return c.checkEncrypted("--to", conn) })
}

// checkMoved returns an error if the source was moved to another target.
func checkMoved(from source, moved, name string) error {
	if moved == "" || moved == name {
		return nil
	}
	return clierror.Failed("migrate from there", "%s was moved to %s", from.Origin().Name, moved)
}

// verify compares the source with the copy.
func (c *Command) verify(ctx context.Context, from source, to target, progress *terminal.Progress, r *result) error {
	at := to.Progress().At
	want, err := transfer.Summarize(ctx, from, at, c.report(progress, "reading"))
	if err != nil {
		return err
	}
	copied, err := to.Reader(ctx)
	if err != nil {
		return err
	}
	have, err := transfer.Summarize(ctx, copied, at, c.report(progress, "verifying"))
	if err != nil {
		return err
	}
	if difference := want.Differs(have); difference != "" {
		return errors.Join(clierror.Failed("run the same command again: it begins from the start", "the copy is not equal: %s", difference), to.Restart(ctx))
	}
	r.Counts, r.Digests = map[string]int64{}, map[string]string{}
	for kind, d := range want {
		if d.Count > 0 {
			r.Counts[string(kind)], r.Digests[string(kind)] = d.Count, d.Hex()
		}
	}
	return nil
}

// report returns a function that shows the progress.
func (c *Command) report(progress *terminal.Progress, verb string) transfer.Report {
	shown := time.Time{}
	return func(kind transfer.Kind, n int64) {
		if now := time.Now(); now.Sub(shown) >= 100*time.Millisecond {
			shown = now
			progress.Show(fmt.Sprintf("%s %s: %d", verb, kind, n))
		}
	}
}

func (c *Command) print(w io.Writer, r *result) error {
	if c.JSON {
		return terminal.EncodeJSON(w, r)
	}
	if r.Already {
		_, err := fmt.Fprintf(w, "%s was moved to %s before; nothing was added\n", r.From, r.To)
		return err
	}
	for _, kind := range append([]transfer.Kind{transfer.Executions}, transfer.Kinds...) {
		if n := r.Counts[string(kind)]; n > 0 {
			if _, err := fmt.Fprintf(w, "%10d %s\n", n, kind); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "moved %s to %s; counts and digests are equal\nnothing starts on the source any more\n", r.From, r.To)
	return err
}
