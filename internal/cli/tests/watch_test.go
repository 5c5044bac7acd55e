package tests

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"valence/internal/cli/terminal"
)

// TestWatchRunsAgainAfterChanges changes the files of a watched project: each
// change runs the tests, and errors of the project do not end the command.
func TestWatchRunsAgainAfterChanges(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	test := "---\ntest: it logs\ntarget: greet\nexpect: { log: [hello] }\n"
	write("process: greet\nsteps: [ { log: bye } ]\n" + test)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errs bytes.Buffer
		ended := make(chan error)
		c := &Command{Paths: []string{dir}, Format: "text"}
		go func() { ended <- c.watch(ctx, &terminal.Streams{Out: &out, Err: &errs}) }()
		step := func(about, wantOut, wantErr string) {
			t.Helper()
			time.Sleep(10 * watchInterval)
			synctest.Wait()
			if !bytes.Contains(out.Bytes(), []byte(wantOut)) || wantOut == "" && out.Len() > 0 {
				t.Errorf("%s: got %q on stdout, want %q", about, &out, wantOut)
			}
			if !bytes.Contains(errs.Bytes(), []byte(wantErr)) || wantErr == "" && errs.Len() > 0 {
				t.Errorf("%s: got %q on stderr, want %q", about, &errs, wantErr)
			}
			out.Reset()
			errs.Reset()
		}
		step("at first", "1 test: 0 passed, 1 failed ", "waiting for changes\n")
		step("without a change", "", "")
		write("process: greet\nsteps: [ { lug: hello } ]\n" + test)
		step("with an error", "", "error: the project has 1 error\ntry: ")
		write("process: greet\nsteps: [ { log: hello } ]\n" + test)
		step("when it is correct", "1 test: 1 passed, 0 failed ", "waiting for changes\n")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v, want no error after an interruption", err)
		}
	})
}
