package connectortest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/fault"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// FileNames returns the paths of the files below a folder.
func FileNames(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			found = append(found, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Files checks the operations on files. call makes one attempt of a call on a
// connection whose root is dir and whose max_size is 1000 bytes, and returns the
// data view of the result.
func Files(t *testing.T, dir string, call func(op, body string, with Settings) (string, error)) {
	t.Helper()
	write(t, dir+"/../secret.txt", "s3cret")
	write(t, dir+"/big.txt", strings.Repeat("x", 1001))
	write(t, dir+"/bad.json", "{")
	if err := os.MkdirAll(dir+"/in/.work", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		op, path, to, body string
		want               string
	}{
		{"write", "a/b.json", "replace", `{"n":0.10}`, "null"},
		{"read", "a/b.json", "", "", `{"n":0.10}`},
		{"write", "a/b.json", "replace", `{"n":2}`, "null"},
		{"read", "a/b.json", "", "", `{"n":2}`},
		{"write", "a/b.json", "fail", "x", "exists"},
		{"write", "a/new.txt", "fail", "x", "null"},
		{"write", "a/empty.txt", "replace", "", "null"},
		{"append", "log.csv", "", "a,b\n", "null"},
		{"append", "log.csv", "", "1,2\n", "null"},
		{"read", "log.csv", "", "", `[{"a":"1","b":"2"}]`},
		{"move", "log.csv", "old/log.csv", "", "null"},
		{"move", "log.csv", "old/log.csv", "", "null"}, // again, as after a crash
		{"move", "none", "x", "", "not_found"},
		{"move", "a/b.json", "old/log.csv", "", "exists"},
		{"read", "none.json", "", "", "not_found"},
		{"read", "big.txt", "", "", "too_large"},
		{"read", "bad.json", "", "", "bad_answer"},
		{"read", "a", "", "", "bad_call"},
		{"read", "../secret.txt", "", "", "bad_call"},
		{"read", "/etc/passwd", "", "", "bad_call"},
		{"read", "a\x00b", "", "", "bad_call"},
		{"read", "in/.work/x", "", "", "bad_call"},
		{"write", "../x", "replace", "", "bad_call"},
		{"move", "a/b.json", "../x", "", "bad_call"},
		{"list", "..", "", "", "bad_call"},
		{"list", "none", "", "", "not_found"},
		{"delete", "a", "", "", "bad_call"},
		{"delete", "a/new.txt", "", "", "null"},
		{"delete", "a/new.txt", "", "", "null"}, // again
		{"delete", "../secret.txt", "", "", "bad_call"},
		{"mkdir", "x/y/z", "", "", "null"},
		{"mkdir", "x/y/z", "", "", "null"},
	} {
		with := Settings{"path": x.path}
		switch {
		case x.op == "move":
			with["to"] = x.to
		case x.to != "":
			with["if_exists"] = x.to
		}
		got, err := call(x.op, x.body, with)
		if err != nil {
			got = fault.AsFailure(err).Code
		}
		if got != x.want {
			t.Errorf("%s %q %s: got %s (%v), want %s", x.op, x.path, x.to, got, err, x.want)
		}
	}
	got, err := call("list", "", Settings{"path": ".", "pattern": "b[ai]*"})
	if err != nil || strings.Count(got, `"name"`) != 2 || !strings.Contains(got, `{"name":"bad.json","path":"bad.json","size":1,`) {
		t.Errorf("list b*: got %s (%v), want bad.json and big.txt", got, err)
	}
	const want = "a/b.json a/empty.txt bad.json big.txt old/log.csv"
	if got := strings.Join(FileNames(t, dir), " "); got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
}
