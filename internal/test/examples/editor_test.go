package examples

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestEditor drives the language server with the protocol library of Visual
// Studio Code's clients: every example, each feature, a huge file, and a client
// that vanishes.
func TestEditor(t *testing.T) {
	modules := extension(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "editor/client.mjs", binary, modules, absolute(t, "../../../examples"), t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestExtension packs the extension for Visual Studio Code.
func TestExtension(t *testing.T) {
	modules := extension(t)
	source := absolute(t, "../../../editors/vscode")
	for _, name := range []string{"extension.js", "README.md", ".vscodeignore"} {
		b, err := os.ReadFile(filepath.Join(source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(modules, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	packed := filepath.Join(t.TempDir(), "valence.vsix")
	for _, command := range [][]string{{"node", "--check", "extension.js"}, {"npm", "run", "package", "--", "--out", packed}} {
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir = modules
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	if info, err := os.Stat(packed); err != nil || info.Size() < 100_000 {
		t.Errorf("got %v, %v, want a package with the client library", info, err)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

// extension returns a folder with the packages of the extension. Without npm the
// test is skipped.
func extension(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed, and the extension needs it: run `make setup`", program)
		}
	}
	return installed(t, "../../../editors/vscode", "the packages of the extension")
}
