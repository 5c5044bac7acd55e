package server

import (
	"context"
	"time"

	"valence/processes"
	"valence/processes/watch"
)

// Bounds of the interval at which the project's files are read with --watch.
const (
	minWatchInterval = 50 * time.Millisecond
	maxWatchInterval = 500 * time.Millisecond
	maxWatchShare    = 20 // of the time, one part in this many is spent reading
)

// watch sends the files of the source whenever they change, until ctx ends.
// done is closed when watching has ended.
func (s *Server) watch(ctx context.Context, source Source) (changes <-chan []processes.File, done <-chan struct{}) {
	send, end := make(chan []processes.File), make(chan struct{})
	go func() {
		defer close(end)
		if !source.Watch || source.Project == nil {
			return
		}
		tick := time.NewTicker(watchInterval(source.Read))
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

// watchInterval returns how often to read the files, by the duration of one read.
func watchInterval(read func() ([]processes.File, error)) time.Duration {
	start := time.Now()
	if _, err := read(); err != nil {
		return maxWatchInterval
	}
	return min(max(time.Since(start)*maxWatchShare, minWatchInterval), maxWatchInterval)
}
