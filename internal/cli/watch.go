package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"valence/processes"
)

// watchEvery is how often --watch looks at the project's files.
const watchEvery = 500 * time.Millisecond

// watch reads the files of a project again and again until ctx ends, and
// calls changed once they have changed and then stayed the same for one look,
// so that a save of several files is one change. now is what they hold at first.
func watch(ctx context.Context, tick <-chan time.Time, read func() ([]processes.File, error), now []processes.File, changed func([]processes.File)) {
	current := contentOf(now)
	pending := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		files, err := read()
		if err != nil {
			continue // a folder that is being replaced: the next look finds it
		}
		switch content := contentOf(files); {
		case content == current:
			pending = ""
		case content == pending:
			current, pending = content, ""
			changed(files)
		default:
			pending = content
		}
	}
}

// contentOf names what files hold.
func contentOf(files []processes.File) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%d %s %d ", len(f.Name), f.Name, len(f.Content))
		h.Write(f.Content)
	}
	return string(h.Sum(nil))
}
