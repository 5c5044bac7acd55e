package tests

import (
	"context"
	"fmt"
	"time"

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/processes"
	"valence/processes/loader"
	"valence/processes/watch"
)

// watchInterval is how often the files are read with --watch.
const watchInterval = 500 * time.Millisecond

// watch runs the tests, and again after each change of the files, until ctx ends.
// A project with errors is reported, and then the next change is awaited.
func (c *Command) watch(ctx context.Context, s *terminal.Streams) error {
	read := func() ([]processes.File, error) {
		if len(c.Paths) == 0 {
			return loader.ReadDir(".")
		}
		return loader.ReadDir(c.Paths...)
	}
	files, err := read()
	if err != nil {
		return clierror.Failed("name the folder with the project's YAML files", "%v", err)
	}
	rerun := func() {
		if err := c.runOnce(ctx, s); err != nil && ctx.Err() == nil {
			clierror.Report(s.Err, err)
		}
		if ctx.Err() == nil {
			fmt.Fprintf(s.Err, "waiting for changes\n")
		}
	}
	rerun()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	watch.Files(ctx, tick.C, read, files, func([]processes.File) {
		fmt.Fprintln(s.Err)
		rerun()
	})
	return nil
}
