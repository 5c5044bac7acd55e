package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

func opened(t *testing.T) (*connection, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &connection{settings{Root: dir, MaxSize: 1000}}, dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// names gives the files below a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	var found []string
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
	return strings.Join(found, " ")
}

func (c *connection) do(op string, w with, body string) (string, error) {
	if w.Pattern == "" {
		w.Pattern = "*"
	}
	r, err := c.Call(context.Background(), &connectors.Call{Operation: op, With: &w, Body: document.FromText(body)})
	if err != nil {
		return "", err
	}
	return r.Doc.Data(), nil
}

func TestOperations(t *testing.T) {
	c, dir := opened(t)
	put(t, dir+"/../secret.txt", "s3cret")
	put(t, dir+"/big.txt", strings.Repeat("x", 1001))
	put(t, dir+"/bad.json", "{")
	if err := os.Symlink("../secret.txt", dir+"/link.txt"); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		op   string
		with with
		body string
		want string
	}{
		{"write", with{Path: "a/b.json", IfExists: "replace"}, `{"n":0.10}`, "null"},
		{"read", with{Path: "a/b.json"}, "", `{"n":0.10}`},
		{"write", with{Path: "a/b.json", IfExists: "fail"}, "x", "exists"},
		{"write", with{Path: "log.csv", IfExists: "append"}, "a,b\n", "null"},
		{"write", with{Path: "log.csv", IfExists: "append"}, "1,2\n", "null"},
		{"read", with{Path: "log.csv"}, "", `[{"a":"1","b":"2"}]`},
		{"read", with{Path: "log.csv", As: "text"}, "", `"a,b\n1,2\n"`},
		{"move", with{Path: "log.csv", To: "old/log.csv", IfExists: "fail"}, "", "null"},
		{"move", with{Path: "log.csv", To: "old/log.csv", IfExists: "fail"}, "", "null"}, // again, as after a crash
		{"move", with{Path: "none", To: "x", IfExists: "fail"}, "", "not_found"},
		{"move", with{Path: "a/b.json", To: "old/log.csv", IfExists: "fail"}, "", "exists"},
		{"read", with{Path: "none.json"}, "", "not_found"},
		{"read", with{Path: "big.txt"}, "", "too_large"},
		{"read", with{Path: "bad.json"}, "", "bad_answer"},
		{"read", with{Path: "a"}, "", "bad_call"},
		{"read", with{Path: "../secret.txt"}, "", "bad_call"},
		{"read", with{Path: "link.txt"}, "", "bad_call"},
		{"read", with{Path: "/etc/passwd"}, "", "bad_call"},
		{"read", with{Path: "a\x00b"}, "", "bad_call"},
		{"write", with{Path: "../x", IfExists: "replace"}, "", "bad_call"},
		{"move", with{Path: "a/b.json", To: "../x", IfExists: "replace"}, "", "bad_call"},
		{"list", with{Path: "..", Pattern: "*"}, "", "bad_call"},
	} {
		got, err := c.do(x.op, x.with, x.body)
		var f *fault.Failure
		if errors.As(err, &f) {
			got = f.Code
		}
		if got != x.want {
			t.Errorf("%s %+v: %s %v, want %s", x.op, x.with, got, err, x.want)
		}
	}
	got, err := c.do("list", with{Path: ".", Pattern: "b*"}, "")
	if err != nil || strings.Count(got, `"name"`) != 2 || !strings.Contains(got, `{"name":"bad.json","path":"bad.json","size":1,`) {
		t.Error(got, err)
	}
	if got := names(t, dir); got != "a/b.json bad.json big.txt link.txt old/log.csv" {
		t.Error("left over:", got)
	}
}

// inbox is who the files are delivered to: what a store would make of them.
type inbox struct {
	mu     sync.Mutex
	got    []string
	origin map[string]bool
	err    error
	last   *connectors.Message
}

func (b *inbox) deliver(_ context.Context, m *connectors.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.last = m; !b.origin[m.Origin] {
		b.origin[m.Origin] = true
		b.got = append(b.got, string(m.Doc.Body()))
	}
	return nil
}

func TestWatch(t *testing.T) {
	c, dir := opened(t)
	synctest.Test(t, func(t *testing.T) {
		b := &inbox{origin: map[string]bool{}}
		w := &watch{Folder: "in", Pattern: "*.json", Ignore: []string{".*", "*.part"}, StableFor: 2 * time.Second, Every: time.Second, Archive: "done"}
		put(t, dir+"/in/1.json", "1")
		put(t, dir+"/in/2.json", `[1`) // being written
		put(t, dir+"/in/x.part", `x`)
		put(t, dir+"/in/.work/0000-0.json", "0") // claimed before a kill, and taken on before it
		b.origin["in/.work/0000-0.json"] = true
		if err := os.Symlink("1.json", dir+"/in/9.json"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- c.Listen(ctx, w, b.deliver) }()
		step := func(d time.Duration, want string) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			if got := strings.Join(b.got, " "); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		step(1500*time.Millisecond, "")
		put(t, dir+"/in/2.json", `[1,2]`)
		step(time.Second, "1")
		step(2*time.Second, "1 [1,2]")
		if n, _ := b.last.Props.Get("name"); n != "2.json" {
			t.Errorf("props %v", b.last.Props)
		}
		put(t, dir+"/in/1.json", "{") // the same name again, and no JSON
		step(4*time.Second, "1 [1,2]")
		b.mu.Lock()
		b.err = errors.New("not now")
		b.mu.Unlock()
		put(t, dir+"/in/3.json", "3")
		<-time.After(5 * time.Second)
		if err := <-ended; err == nil {
			t.Error("it goes on although nothing is taken")
		}
		b.mu.Lock()
		b.err = nil
		b.mu.Unlock()
		put(t, dir+"/done/3.json", "older")
		go func() { ended <- c.Listen(ctx, w, b.deliver) }()
		step(10*time.Millisecond, "1 [1,2] 3") // it was claimed
		b.mu.Lock()
		b.err = &fault.Failure{Code: fault.CodeInvalid, Message: "not an order"}
		b.mu.Unlock()
		put(t, dir+"/in/4.json", "4")
		step(4*time.Second, "1 [1,2] 3")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	got := names(t, dir)
	for _, want := range []string{"done/0.json", "done/1.json", "done/2.json", "done/3.json", "-3.json", "in/9.json", "in/failed/1.json", "in/failed/4.json", "-4.json.error.txt", "in/x.part"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing: %s", want, got)
		}
	}
	if strings.Contains(got, ".work/") {
		t.Errorf("left in the work folder: %s", got)
	}
}
