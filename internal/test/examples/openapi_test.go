package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOpenAPIOfExamples sends generated requests, valid and invalid, to the
// listeners of each example and compares every response with the OpenAPI
// document. The generator, Schemathesis, knows nothing of Valence.
func TestOpenAPIOfExamples(t *testing.T) {
	packages := installPython(t, "schemathesis")
	config, err := filepath.Abs("testdata/schemathesis/schemathesis.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range folders(t) {
		if filepath.Base(dir) == "soap-front" {
			continue // faults of SOAP 1.1 have the status 500, which Schemathesis reports
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			e, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			systems := startSystems(t, e)
			a := run(t, dir, e.Env(systems.Addresses)...)
			credentials, listeners := credentialsOf(t, a, e)
			if listeners == 0 {
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "python3", "-m", "schemathesis.cli", "--config-file", config, "run", a.listen+"/openapi.json",
				"--max-examples", "3", "--seed", "1", "--phases", "coverage,fuzzing", "--no-color", "--warnings", "off", "--request-timeout", "20")
			cmd.Args = append(cmd.Args, "--suppress-health-check", "too_slow") // it measures the machine
			for name, value := range credentials {
				cmd.Args = append(cmd.Args, "--header", name+": "+value)
			}
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1", "COLUMNS=160")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("schemathesis: %v\n%s", err, out)
			}
		})
	}
}

// credentialsOf returns the credentials that the example's requests send in
// headers, as the OpenAPI document names them, and the number of listeners.
func credentialsOf(t *testing.T, a *atom, e *Example) (headers map[string]string, listeners int) {
	t.Helper()
	resp, err := http.Get(a.listen + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths      map[string]any
		Components struct {
			SecuritySchemes map[string]struct{ Type, Name, In string }
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	names := []string{"Authorization"}
	for _, scheme := range document.Components.SecuritySchemes {
		if scheme.Type == "apiKey" && scheme.In == "header" {
			names = append(names, scheme.Name)
		}
	}
	headers = map[string]string{}
	for _, r := range slices.Backward(e.Requests) {
		for name, value := range r.Headers {
			known := func(n string) bool { return strings.EqualFold(n, name) }
			if r.Expect.Status < http.StatusBadRequest && slices.ContainsFunc(names, known) {
				headers[name] = value
			}
		}
	}
	return headers, len(document.Paths)
}

// installPython returns the folder of a Python package. Its version is pinned,
// and an installation is reused.
func installPython(t *testing.T, name string) string {
	t.Helper()
	unable := func(why string) {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		unable("python3 is needed to run " + name + ", and is not here: `make setup` installs it where it may; otherwise install Python 3.10 or newer with pip")
	}
	dir, err := filepath.Abs("../../../.cache/" + name)
	if err != nil {
		t.Fatal(err)
	}
	list := "testdata/" + name + "/requirements.txt"
	want, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(dir, "installed")
	if have, err := os.ReadFile(done); err == nil && bytes.Equal(have, want) {
		return dir
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "--target", dir, "-r", list)
	if out, err := cmd.CombinedOutput(); err != nil {
		unable("pip cannot install " + name + ": " + err.Error() + "\n" + string(out))
	}
	if err := os.WriteFile(done, want, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
