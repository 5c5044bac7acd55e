package platform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
)

// TestOtherClients drives the API with third-party clients of the public API.
// Only the base URL and the credentials are changed.
func TestOtherClients(t *testing.T) {
	packages := installClients(t)
	d := open(t, cloudtest.Options{}).furnish()
	server := httptest.NewServer(d.handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "testdata/clients/clients.py", server.URL, cloud.DefaultAccount, string(cloud.Admin), d.tokens[cloud.Admin], d.atom)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "ok ") {
			passed++
		}
		if request, ok := strings.CutPrefix(line, "REPORT "); ok {
			d.report("from-a-client", request, "completed")
			_, _ = io.WriteString(in, "\n") // if the client has exited, Wait reports it
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after %d steps: %v", passed, err)
	}
	if passed < 19 {
		t.Errorf("got %d steps, want at least 19", passed)
	}
}

// installClients returns the folder of the clients. Their versions are pinned,
// and an installation is reused.
func installClients(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		unable(t, "python3 is needed to run clients of the public API, and is not here: `make setup` installs it where it may; otherwise install Python 3.9 or newer with pip")
	}
	dir, err := filepath.Abs("../../.cache/clients")
	if err != nil {
		t.Fatal(err)
	}
	const list = "testdata/clients/requirements.txt"
	want, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(dir, "installed")
	if have, err := os.ReadFile(done); err == nil && string(have) == string(want) {
		return dir
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "--target", dir, "-r", list)
	if out, err := cmd.CombinedOutput(); err != nil {
		unable(t, fmt.Sprintf("pip cannot install clients of the public API: %v\n%s", err, out))
	}
	if err := os.WriteFile(done, want, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unable skips a test that this machine cannot run, or fails it if all tests
// must run.
func unable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(`got %q, want ""`, why)
	}
	t.Skip(why)
}
