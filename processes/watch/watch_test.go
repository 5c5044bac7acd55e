package watch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"valence/processes"
)

// Saving several files is one change; a file that appears and disappears is none.
func TestWatchWaitsForFilesToSettle(t *testing.T) {
	file := func(text string) []processes.File {
		return []processes.File{{Name: "a.yaml", Content: []byte(text)}}
	}
	reads := [][]processes.File{file("1"), file("2"), file("3"), file("3"), file("3"), file("4"), file("3"), file("5"), nil, file("5"), file("5")}
	ctx, cancel := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	var changes []string
	i := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		Files(ctx, tick, func() ([]processes.File, error) {
			files := reads[i]
			i++
			if files == nil {
				return nil, errors.New("no such folder")
			}
			return files, nil
		}, file("1"), func(files []processes.File) { changes = append(changes, string(files[0].Content)) })
	}()
	for range reads {
		tick <- time.Time{}
	}
	cancel()
	<-done
	if want := []string{"3", "5"}; !slices.Equal(changes, want) {
		t.Errorf("got changes %v, want %v", changes, want)
	}
}
