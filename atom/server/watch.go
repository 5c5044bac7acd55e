package server

import (
	"context"
	"time"

	"valence/processes"
	"valence/processes/watch"
)

// watchInterval is how often the project's files are read with --watch.
const watchInterval = 500 * time.Millisecond

// watch sends the files of the source whenever they change, until ctx ends.
// done is closed when watching has ended.
func (s *Server) watch(ctx context.Context, source Source) (changes <-chan []processes.File, done <-chan struct{}) {
	send, end := make(chan []processes.File), make(chan struct{})
	go func() {
		defer close(end)
		if !source.Watch || source.Project == nil {
			return
		}
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		watch.Files(ctx, tick.C, source.Read, source.Project.Files, func(files []processes.File) {
			select {
			case send <- files:
			case <-ctx.Done():
			}
		})
	}()
	return send, end
}
