// Package watch notices changes of the files of a project.
package watch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"valence/processes"
)

// Files reads the files of a project at every tick until ctx ends. It calls changed
// when two consecutive reads return the same new content, so that saving
// several files is one change. initial is the content before the first tick.
func Files(ctx context.Context, tick <-chan time.Time, read func() ([]processes.File, error), initial []processes.File, changed func([]processes.File)) {
	current := contentHash(initial)
	pending := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		files, err := read()
		if err != nil {
			continue // the folder may be replaced at this moment
		}
		switch content := contentHash(files); {
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

// contentHash identifies the names and contents of files.
func contentHash(files []processes.File) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%d %s %d ", len(f.Name), f.Name, len(f.Content))
		h.Write(f.Content)
	}
	return string(h.Sum(nil))
}
