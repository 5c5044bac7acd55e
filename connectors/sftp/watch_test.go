package sftp

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/connectors/connectortest"
	"valence/connectors/folder"
)

// TestWatchHostileFiles checks that files with unusual names and times are
// received once each.
func TestWatchHostileFiles(t *testing.T) {
	dir := root(t)
	names := []string{"-rf", "$(id);x", "a b", "ü€", "latin\xe9", "back\\slash", "\"q\"", "line\nbreak", strings.Repeat("n", 200), "past", "future"}
	for _, n := range names {
		put(t, dir+"/in/"+n, "x")
	}
	for n, at := range map[string]time.Time{"past": time.Unix(0, 0), "future": time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := os.Chtimes(dir+"/in/"+n, at, at); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, at(t, sshd.Address, nil))
	w := &folder.Settings{Folder: "in", Pattern: "*", Every: 10 * time.Millisecond, Archive: "done"}
	r := connectortest.NewRuntime()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Listen(ctx, w, r.Host()) }()
	state, err := r.Await(ctx, func(connectortest.State) bool {
		entries, err := os.ReadDir(dir + "/done")
		return err == nil && len(entries) == len(names)
	})
	cancel()
	if e := <-ended; e != nil || err != nil || len(state.Accepted) != len(names) {
		t.Fatalf("got %v, %v with %d messages, want %d", e, err, len(state.Accepted), len(names))
	}
	want := slices.Clone(names)
	slices.Sort(want)
	if got := connectortest.FileNames(t, dir+"/done"); !slices.Equal(got, want) {
		t.Errorf("archived: got %q, want %q", got, want)
	}
}
