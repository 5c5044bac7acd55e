package processes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(dir string, files []File) string {
	var out []string
	for _, f := range files {
		out = append(out, strings.TrimPrefix(f.Name, filepath.ToSlash(dir)+"/"))
	}
	return strings.Join(out, " ")
}

func TestReadDir(t *testing.T) {
	dir := lay(t, map[string]string{
		"b.yaml": "process: b\nsteps: []\n", "a/c.yml": "profile: c\nfile: ../schemas/c.json\n---\nprofile: d\nfile: schemas/none.json\n",
		"schemas/c.json": "{}", "schemas/unused.json": "{}", ".git/x.yaml": "no", "node_modules/x.yaml": "no",
		"notes.txt": "no", ".hidden.yaml": "no", "a/.b/c.yaml": "no",
	})
	if err := os.Symlink("b.yaml", filepath.Join(dir, "linked.yaml")); err != nil {
		t.Fatal(err)
	}
	files, err := ReadDir(dir)
	if got := names(dir, files); err != nil || got != "a/c.yml b.yaml linked.yaml schemas/c.json" {
		t.Errorf("%s %v", got, err)
	}
	files, err = ReadDir(filepath.Join(dir, "b.yaml"), dir)
	if got := names(dir, files); err != nil || got != "a/c.yml b.yaml linked.yaml schemas/c.json" {
		t.Errorf("a file and its folder: %s %v", got, err)
	}
	files, err = ReadDir(filepath.Join(dir, "b.yaml"))
	if got := names(dir, files); err != nil || got != "b.yaml" {
		t.Errorf("one file: %s %v", got, err)
	}
	if _, err := ReadDir(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that there is not is read")
	}
	t.Chdir(dir)
	files, err = ReadDir(".")
	if got := names("-", files); err != nil || got != "a/c.yml b.yaml linked.yaml schemas/c.json" {
		t.Errorf("here: %s %v", got, err)
	}
}

func TestReadDirStaysInside(t *testing.T) {
	outside := lay(t, map[string]string{"secret.yaml": "process: x\nsteps: []\n", "s.json": "{}"})
	for name, link := range map[string]string{"absolute": filepath.Join(outside, "secret.yaml"), "relative": "../" + filepath.Base(outside) + "/secret.yaml"} {
		dir := lay(t, map[string]string{"a.yaml": "process: a\nsteps: []\n"})
		if err := os.Symlink(link, filepath.Join(dir, "link.yaml")); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadDir(dir); err == nil || !strings.Contains(err.Error(), "link.yaml: it leads out of the project") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A schema behind a link that leads out is not there.
	dir := lay(t, map[string]string{"a.yaml": "profile: a\nfile: s.json\n"})
	if err := os.Symlink(filepath.Join(outside, "s.json"), filepath.Join(dir, "s.json")); err != nil {
		t.Fatal(err)
	}
	files, err := ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("%v %v", files, err)
	}
}

func TestHugeFile(t *testing.T) {
	dir := lay(t, map[string]string{"a.yaml": strings.Repeat("# x\n", MaxFile/4+100)})
	files, err := ReadDir(dir)
	if err != nil || len(files[0].Content) != MaxFile+1 {
		t.Fatal(err)
	}
	files[0].Name = "a.yaml"
	_, problems := Load(files, testCatalog())
	want := "a.yaml: error: the file has 4194305B, the most is 4MiB [too-large]\n    try: split it: every file of the project is read, and a file may hold several components"
	if got := problems.Error(); got != want {
		t.Errorf("got %s", got)
	}
}
