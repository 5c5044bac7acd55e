package loader

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
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

func names(dir string, files []processes.File) string {
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
		t.Errorf(`got %s, %v, want "a/c.yml b.yaml linked.yaml schemas/c.json" and no error`, got, err)
	}
	files, err = ReadDir(filepath.Join(dir, "b.yaml"), dir)
	if got := names(dir, files); err != nil || got != "a/c.yml b.yaml linked.yaml schemas/c.json" {
		t.Errorf("a file and its folder: got %s, %v", got, err)
	}
	files, err = ReadDir(filepath.Join(dir, "b.yaml"))
	if got := names(dir, files); err != nil || got != "b.yaml" {
		t.Errorf("one file: got %s, %v", got, err)
	}
	if _, err := ReadDir(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("got no error for a missing folder")
	}
	t.Chdir(dir)
	files, err = ReadDir(".")
	if got := names("-", files); err != nil || got != "a/c.yml b.yaml linked.yaml schemas/c.json" {
		t.Errorf("current folder: got %s, %v", got, err)
	}
}

func TestReadDirStaysInside(t *testing.T) {
	outside := lay(t, map[string]string{"secret.yaml": "process: x\nsteps: []\n", "s.json": "{}"})
	for name, link := range map[string]string{"absolute": filepath.Join(outside, "secret.yaml"), "relative": "../" + filepath.Base(outside) + "/secret.yaml"} {
		dir := lay(t, map[string]string{"a.yaml": "process: a\nsteps: []\n"})
		if err := os.Symlink(link, filepath.Join(dir, "link.yaml")); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadDir(dir); err == nil || !strings.Contains(err.Error(), "link.yaml: the link leads out of the project") {
			t.Errorf("%s: got %v, want an error", name, err)
		}
	}
	// A link to a schema outside of the project is skipped.
	dir := lay(t, map[string]string{"a.yaml": "profile: a\nfile: s.json\n"})
	if err := os.Symlink(filepath.Join(outside, "s.json"), filepath.Join(dir, "s.json")); err != nil {
		t.Fatal(err)
	}
	files, err := ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("got %v, %v; want one file", files, err)
	}
}

func TestHugeFile(t *testing.T) {
	dir := lay(t, map[string]string{"a.yaml": strings.Repeat("# x\n", MaxFile/4+100)})
	files, err := ReadDir(dir)
	if err != nil || len(files[0].Content) != MaxFile+1 {
		t.Fatalf("got %v, want len(files[0].Content) %v and no error", err, MaxFile+1)
	}
	files[0].Name = "a.yaml"
	_, problems := Load(files, testCatalog())
	want := "a.yaml: error: the file has 4194305B, the maximum is 4MiB [too-large]\n    try: split it into several files"
	if got := problems.Error(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// place is a value of the environment.
type place struct{}

func (place) Name(name string) (any, bool) {
	return document.FromPlain(map[string]any{"PLACE": "in/box"}), name == "env"
}

// TestRelativePathsStartFromTheProject checks that relative paths of
// connections and secrets start from the folder of the project, and that paths
// of packages, which have no folder, stay as they are.
func TestRelativePathsStartFromTheProject(t *testing.T) {
	const text = `connection: box
connector: folder
root: ${env.PLACE}
tls: { ca: certs/ca.pem, cert: "-----BEGIN CERTIFICATE-----", key: /etc/key.pem }
---
environment: prod
secrets: { KEY: { file: secrets/key }, OTHER: { variable: OTHER } }
`
	dir := lay(t, map[string]string{"app/sub/box.yaml": text})
	type tls struct{ CA, Cert, Key string }
	type settings struct {
		Root string
		TLS  tls
	}
	tlsFields := []spec.Field{
		spec.String("ca", func(s *tls) *string { return &s.CA }, "").Local(),
		spec.String("cert", func(s *tls) *string { return &s.Cert }, "").Local(),
		spec.String("key", func(s *tls) *string { return &s.Key }, "").Local(),
	}
	connector := &connectors.Connector{Name: "folder", NewSettings: func() any { return &settings{} }, Settings: []spec.Field{
		spec.String("root", func(s *settings) *string { return &s.Root }, "").Local(),
		spec.Object("tls", func(s *settings) *tls { return &s.TLS }, "", tlsFields...),
	}}
	t.Chdir(dir)
	read, err := ReadDir("app")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		files  []processes.File
		folder string
	}{
		{"a folder", read, filepath.Join(dir, "app") + "/"},
		{"a package", []processes.File{{Name: "box.yaml", Content: []byte(text)}}, ""},
	} {
		project, problems := Load(c.files, &processes.Catalog{Connectors: connectors.Registry{"folder": connector}})
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		env := &expression.Env{Names: place{}}
		_, got, err := project.Connections["box"].Resolve(env, nil, nil)
		want := settings{Root: c.folder + "in/box", TLS: tls{CA: c.folder + "certs/ca.pem", Cert: "-----BEGIN CERTIFICATE-----", Key: "/etc/key.pem"}}
		if err != nil || *got.(*settings) != want {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, want)
		}
		secrets := project.Environments["prod"].Secrets
		if got, want := secrets["KEY"].File, c.folder+"secrets/key"; got != want || secrets["OTHER"].File != "" {
			t.Errorf("%s: got %s and %s, want %s and nothing", c.name, got, secrets["OTHER"].File, want)
		}
	}
}
