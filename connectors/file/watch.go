package file

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/fault"
	"valence/internal/spec"
)

// watch is the settings of a subscription.
type watch struct {
	Folder, Pattern, As   string
	Ignore                []string
	StableFor, Every      time.Duration
	Archive, Failed, Work string
	Delete                bool
}

func subscription() *connectors.Subscription {
	return &connectors.Subscription{
		Doc: "Watches a folder. A file that has not changed for a while is taken: renamed into the work folder, handed to the process, and archived or deleted once that is on disk. " +
			"It is taken exactly once, whenever the program is killed: what is in the work folder is gone on with at the next start, and recognised. " +
			"A file that the process refuses, or that cannot be read as what it should be, goes to the failed folder. One atom watches a folder.",
		Sample:  "subscribe:\n  connection: inbox\n  folder: orders\n  pattern: \"*.json\"\n  archive: orders/done\n",
		NewWith: func() any { return &watch{} },
		With: []spec.Field{
			spec.String("folder", func(w *watch) *string { return &w.Folder }, "The folder, relative to the connection's; not those below it.").Or("."),
			spec.String("pattern", func(w *watch) *string { return &w.Pattern }, "Which names: `*`, `?` and `[a-z]` stand for others.").Or("*"),
			spec.Strings("ignore", func(w *watch) *[]string { return &w.Ignore }, "Names that are taken for files being written.").Or([]string{".*", "~*", "*.tmp", "*.part", "*.filepart"}),
			spec.Duration("stable_for", func(w *watch) *time.Duration { return &w.StableFor }, "How long size and time of a file must stay the same before it is taken; `0s` where files are renamed into the folder whole.").Or(2 * time.Second).Max(24 * time.Hour),
			spec.Duration("every", func(w *watch) *time.Duration { return &w.Every }, "How often the folder is looked at.").Or(time.Second).Min(10 * time.Millisecond).Max(24 * time.Hour),
			spec.Enum("as", func(w *watch) *string { return &w.As }, "What files are read as; by the ending of the name by default, and binary where that says nothing.", "json", "xml", "csv", "text", "binary"),
			spec.String("archive", func(w *watch) *string { return &w.Archive }, "The folder for files that were taken."),
			spec.Bool("delete", func(w *watch) *bool { return &w.Delete }, "Whether files that were taken are deleted instead."),
			spec.String("failed", func(w *watch) *string { return &w.Failed }, "The folder for files that were refused.").OrAs("", "`failed` in the folder"),
			spec.String("work", func(w *watch) *string { return &w.Work }, "The folder for files while they are taken, on the same disk.").OrAs("", "`.work` in the folder"),
		},
		Check: func(v any) (wrong []string) {
			w := v.(*watch)
			if (w.Archive == "") != w.Delete {
				wrong = append(wrong, "it needs one of `archive:` and `delete: true`: where files go once they are taken")
			}
			for _, p := range append([]string{w.Pattern}, w.Ignore...) {
				if _, err := path.Match(p, ""); err != nil {
					wrong = append(wrong, "the pattern `"+p+"` is none")
				}
			}
			return wrong
		},
		Props: "The process reads the file's `name`, `path`, `size` and `modified` as `props`.",
	}
}

var _ connectors.Listener = (*connection)(nil)

// sighting is how a file looked, and since when.
type sighting struct {
	size  int64
	mod   time.Time
	since time.Time
}

// Listen delivers the files of a folder; see connectors.Listener.
func (c *connection) Listen(ctx context.Context, v any, deliver connectors.Deliver) error {
	w := *v.(*watch)
	if w.Work == "" {
		w.Work = path.Join(w.Folder, ".work")
	}
	if w.Failed == "" {
		w.Failed = path.Join(w.Folder, "failed")
	}
	root, err := c.open()
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{w.Work, w.Failed, w.Archive} {
		if dir == "" {
			continue
		}
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return failed("make", dir, err)
		}
	}
	seen := map[string]sighting{}
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for {
		if err := c.pass(ctx, root, &w, seen, deliver); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// pass delivers what is in the work folder, and then what can be claimed.
func (c *connection) pass(ctx context.Context, root *os.Root, w *watch, seen map[string]sighting, deliver connectors.Deliver) error {
	left, err := files(root, w.Work, func(string) bool { return true })
	if err != nil {
		return failed("look into", w.Work, err)
	}
	for _, i := range left {
		if err := c.take(ctx, root, w, i.Name(), deliver); err != nil || ctx.Err() != nil {
			return err
		}
	}
	found, err := files(root, w.Folder, w.wants)
	if err != nil {
		return failed("look into", w.Folder, err)
	}
	now := time.Now()
	there := map[string]bool{}
	for _, i := range found {
		name := i.Name()
		there[name] = true
		s, known := seen[name]
		if !known || s.size != i.Size() || !s.mod.Equal(i.ModTime()) {
			s = sighting{i.Size(), i.ModTime(), now}
			seen[name] = s
		}
		if now.Sub(s.since) < w.StableFor {
			continue
		}
		claimed := rand.Text()[:16] + "-" + name
		if err := root.Rename(path.Join(w.Folder, name), path.Join(w.Work, claimed)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // somebody else was faster
			}
			return failed("take", name, err)
		}
		delete(seen, name)
		if err := c.take(ctx, root, w, claimed, deliver); err != nil || ctx.Err() != nil {
			return err
		}
	}
	for name := range seen {
		if !there[name] {
			delete(seen, name)
		}
	}
	return nil
}

func (w *watch) wants(name string) bool {
	for _, p := range w.Ignore {
		if skip, _ := path.Match(p, name); skip {
			return false
		}
	}
	ok, _ := path.Match(w.Pattern, name)
	return ok
}

// take delivers a claimed file, whose name in the work folder is its origin,
// and puts it where it belongs. An error means: not now.
func (c *connection) take(ctx context.Context, root *os.Root, w *watch, claimed string, deliver connectors.Deliver) error {
	_, name, _ := strings.Cut(claimed, "-")
	at := path.Join(w.Work, claimed)
	m, err := c.message(root, w, at, name)
	if err == nil {
		m.Origin = at
		err = deliver(ctx, m)
	}
	var f *fault.Failure
	switch {
	case err == nil && w.Delete:
		if err := root.Remove(at); err != nil {
			return failed("delete", name, err)
		}
		return nil
	case err == nil:
		return aside(root, at, w.Archive, claimed, name)
	case connectors.Refused(err) && errors.As(err, &f) && f.Code != CodeMissing:
		if err := aside(root, at, w.Failed, claimed, name); err != nil {
			return err
		}
		why := path.Join(w.Failed, claimed+".error.txt")
		if err := root.WriteFile(why, []byte(f.Error()+"\n"), 0o644); err != nil {
			return failed("note why", name, err)
		}
		return nil
	}
	return err
}

func (c *connection) message(root *os.Root, w *watch, at, name string) (*connectors.Message, error) {
	info, err := root.Lstat(at)
	if err != nil {
		return nil, failed("read", name, err)
	}
	b, err := c.load(root, at)
	if err != nil {
		return nil, err
	}
	doc, f := parse(b, name, w.As)
	if f != nil {
		return nil, f
	}
	return &connectors.Message{Doc: doc, Props: properties(path.Join(w.Folder, name), info)}, nil
}

// aside moves a file out of the work folder, never over another one.
func aside(root *os.Root, at, dir, claimed, name string) error {
	err := place(root, at, path.Join(dir, name), false)
	if errors.Is(err, fs.ErrExist) {
		err = root.Rename(at, path.Join(dir, claimed))
	}
	if err != nil {
		return failed("put aside", name, err)
	}
	return nil
}
