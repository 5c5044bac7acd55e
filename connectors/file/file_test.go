package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/connectors/content"
	"valence/connectors/folder"
	"valence/internal/document"
	"valence/internal/fault"
)

func opened(t *testing.T) (*connection, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &connection{root: dir, Common: folder.Common{MaxSize: 1000}}, dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// names returns the paths of the files below a folder.
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

// op returns an operation of the connector.
func op(name string) connectors.Operation {
	op, _ := Connector("1").Operation(name)
	return *op
}

// do performs one operation; with is a pointer to its settings.
func (c *connection) do(op connectors.Operation, with any, body string) (string, error) {
	doc := document.FromText(body)
	if strings.HasPrefix(body, "{") {
		doc = document.FromJSON([]byte(body))
	}
	r, err := op.Run(context.Background(), c, with, &connectors.Call{Body: doc})
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
		op   connectors.Operation
		with any
		body string
		want string
	}{
		{op("write"), &folder.Write{Path: "a/b.json", IfExists: "replace"}, `{"n":0.10}`, "null"},
		{op("read"), &folder.Read{Path: "a/b.json"}, "", `{"n":0.10}`},
		{op("write"), &folder.Write{Path: "a/b.json", IfExists: "fail"}, "x", "exists"},
		{op("write"), &folder.Write{Path: "log.csv", IfExists: "append"}, "a,b\n", "null"},
		{op("write"), &folder.Write{Path: "log.csv", IfExists: "append"}, "1,2\n", "null"},
		{op("read"), &folder.Read{Path: "log.csv"}, "", `[{"a":"1","b":"2"}]`},
		{op("read"), &folder.Read{Path: "log.csv", Format: content.Format{As: "text"}}, "", `"a,b\n1,2\n"`},
		{op("write"), &folder.Write{Path: "ansi.csv", IfExists: "replace"}, "id;name\r\n1;M\xfcller \x80\r\n", "null"},
		{op("read"), &folder.Read{Path: "ansi.csv", Format: content.Format{Encoding: "windows-1252", Delimiter: ";"}}, "", `[{"id":"1","name":"Müller €"}]`},
		{op("read"), &folder.Read{Path: "ansi.csv", Format: content.Format{Delimiter: ";"}}, "", "bad_answer"},
		{op("read"), &folder.Read{Path: "ansi.csv", Format: content.Format{Encoding: "windows-1252"}}, "", "bad_answer"},
		{op("read"), &folder.Read{Path: "ansi.csv", Format: content.Format{Delimiter: ";;"}}, "", "bad_call"},
		{op("write"), &folder.Write{Path: "bom.json", IfExists: "replace"}, "\xef\xbb\xbf{\"a\":1.50}", "null"},
		{op("read"), &folder.Read{Path: "bom.json"}, "", `{"a":1.50}`},
		{op("write"), &folder.Write{Path: "utf16.txt", IfExists: "replace"}, "\xff\xfeM\x00\xfc\x00", "null"},
		{op("read"), &folder.Read{Path: "utf16.txt"}, "", `"Mü"`},
		{op("write"), &folder.Write{Path: "log.csv", IfExists: "append"}, `{"filename":"x","raw":"Myw0Cg==","encoding":"base64"}`, "null"},
		{op("read"), &folder.Read{Path: "log.csv", Format: content.Format{As: "text"}}, "", `"a,b\n1,2\n3,4\n"`},
		{op("write"), &folder.Write{Path: "log.csv", IfExists: "append"}, `{"raw":"?","encoding":"base64"}`, "bad_call"},
		{op("move"), &folder.Move{Path: "log.csv", To: "old/log.csv", IfExists: "fail"}, "", "null"},
		{op("move"), &folder.Move{Path: "log.csv", To: "old/log.csv", IfExists: "fail"}, "", "null"}, // again, as after a crash
		{op("move"), &folder.Move{Path: "none", To: "x", IfExists: "fail"}, "", "not_found"},
		{op("move"), &folder.Move{Path: "a/b.json", To: "old/log.csv", IfExists: "fail"}, "", "exists"},
		{op("append"), &folder.Extend{Path: "b/log"}, "1", "null"},
		{op("append"), &folder.Extend{Path: "b/log"}, "2", "null"},
		{op("read"), &folder.Read{Path: "b/log", Format: content.Format{As: "text"}}, "", `"12"`},
		{op("delete"), &folder.Delete{Path: "b"}, "", "bad_call"},
		{op("delete"), &folder.Delete{Path: "b/log"}, "", "null"},
		{op("delete"), &folder.Delete{Path: "b/log"}, "", "null"}, // again, as after a crash
		{op("delete"), &folder.Delete{Path: "../secret.txt"}, "", "bad_call"},
		{op("mkdir"), &folder.MakeDir{Path: "b/c/d"}, "", "null"},
		{op("mkdir"), &folder.MakeDir{Path: "b/c/d"}, "", "null"},
		{op("read"), &folder.Read{Path: "none.json"}, "", "not_found"},
		{op("read"), &folder.Read{Path: "big.txt"}, "", "too_large"},
		{op("read"), &folder.Read{Path: "bad.json"}, "", "bad_answer"},
		{op("read"), &folder.Read{Path: "a"}, "", "bad_call"},
		{op("read"), &folder.Read{Path: "../secret.txt"}, "", "bad_call"},
		{op("read"), &folder.Read{Path: "link.txt"}, "", "bad_call"},
		{op("read"), &folder.Read{Path: "/etc/passwd"}, "", "bad_call"},
		{op("read"), &folder.Read{Path: "a\x00b"}, "", "bad_call"},
		{op("delete"), &folder.Delete{Path: "a\r\nb"}, "", "bad_call"},
		{op("write"), &folder.Write{Path: "../x", IfExists: "replace"}, "", "bad_call"},
		{op("move"), &folder.Move{Path: "a/b.json", To: "../x", IfExists: "replace"}, "", "bad_call"},
		{op("list"), &folder.List{Path: "..", Pattern: "*"}, "", "bad_call"},
		{op("list"), &folder.List{Path: "a/../..", Pattern: "*"}, "", "bad_call"},
	} {
		got, err := c.do(x.op, x.with, x.body)
		var f *fault.Failure
		if errors.As(err, &f) {
			got = f.Code
		}
		if got != x.want {
			t.Errorf("%s %+v: got %s (%v), want %s", x.op.Name, x.with, got, err, x.want)
		}
	}
	got, err := c.do(op("list"), &folder.List{Path: ".", Pattern: "b[ai]*"}, "")
	if err != nil || strings.Count(got, `"name"`) != 2 || !strings.Contains(got, `{"name":"bad.json","path":"bad.json","size":1,`) {
		t.Errorf("list b*: got %s (%v), want bad.json and big.txt", got, err)
	}
	const want = "a/b.json ansi.csv bad.json big.txt bom.json link.txt old/log.csv utf16.txt"
	if got := names(t, dir); got != want {
		t.Errorf("files: got %s, want %s", got, want)
	}
}

// TestPathsStayInTheFolder checks that no operation reads, writes, moves or lists
// outside of the folder or in the work folder of a subscription, whatever its
// path says.
func TestPathsStayInTheFolder(t *testing.T) {
	c, dir := opened(t)
	put(t, dir+"/../private/x", "s3cret")
	for _, name := range []string{"/in/.work/1.json", "/claimed/1.json", "/ok.json"} {
		put(t, dir+name, "{}")
	}
	if err := errors.Join(os.Symlink("../private", dir+"/out"), os.Symlink("/etc", dir+"/etc")); err != nil {
		t.Fatal(err)
	}
	c.AddWork("./claimed/")
	before := names(t, filepath.Dir(dir))
	for _, p := range []string{
		"../private/x", "in/../../private/x", `..\private\x`, "/etc/passwd", dir + "/ok.json", "out/x", "etc/passwd",
		".work", "in/.work/1.json", "in/.WORK/1.json", "in/./.work/1.json", `in\.work\1.json`, "claimed/1.json", "claimed", "Claimed/1.json", "x/../claimed/1.json",
	} {
		for _, x := range []struct {
			op   connectors.Operation
			with any
		}{
			{op("read"), &folder.Read{Path: p}},
			{op("write"), &folder.Write{Path: p, IfExists: "replace"}},
			{op("write"), &folder.Write{Path: p, IfExists: "append"}},
			{op("move"), &folder.Move{Path: p, To: "stolen", IfExists: "replace"}},
			{op("move"), &folder.Move{Path: "ok.json", To: p, IfExists: "replace"}},
			{op("list"), &folder.List{Path: p, Pattern: "*"}},
			{op("append"), &folder.Extend{Path: p}},
			{op("mkdir"), &folder.MakeDir{Path: p + "/made"}},
		} {
			got, err := c.do(x.op, x.with, "overwritten")
			if f := (*fault.Failure)(nil); !errors.As(err, &f) || f.Code != folder.CodeBadCall && f.Code != folder.CodeMissing {
				t.Errorf("%s %+v: got %s, %v, want %s", x.op.Name, x.with, got, err, folder.CodeBadCall)
			}
		}
	}
	if after := names(t, filepath.Dir(dir)); after != before {
		t.Errorf("files: got %s, want %s", after, before)
	}
	if b, err := os.ReadFile(dir + "/../private/x"); string(b) != "s3cret" {
		t.Errorf("a file outside: got %q, %v, want it unchanged", b, err)
	}
}

// TestLiteralPathsAreChecked checks that lint reports paths that always fail.
func TestLiteralPathsAreChecked(t *testing.T) {
	for p, want := range map[string]string{
		"orders/4711.json": "", "orders/${doc.id}.json": "", "${doc.id}": "", ".": "",
		"/orders/x": "path must be relative to the folder of the connection", "../x": "path must not contain `..`",
		"../${doc.id}": "path must not contain `..`", "in/.work/${doc.id}": "path leads into the work folder of a subscription",
	} {
		for _, check := range []func() []string{
			func() []string { return op("read").Check(&folder.Read{Path: p}) },
			func() []string { return op("write").Check(&folder.Write{Path: p}) },
			func() []string { return op("list").Check(&folder.List{Path: p}) },
			func() []string { return op("move").Check(&folder.Move{Path: p, To: "x"}) },
		} {
			if got := strings.Join(check(), "; "); got != want {
				t.Errorf("%s: got %q, want %q", p, got, want)
			}
		}
	}
	if got := op("move").Check(&folder.Move{Path: "x", To: "../x"}); len(got) != 1 || got[0] != "to must not contain `..`" {
		t.Errorf("to: got %q, want len(got) 1 and \"to must not contain `..`\"", got)
	}
}

func TestWatch(t *testing.T) {
	c, dir := opened(t)
	synctest.Test(t, func(t *testing.T) {
		b := connectortest.NewRuntime()
		var answer atomic.Pointer[fault.Failure] // of the process
		b.Answer = func(*connectors.Message) error {
			if f := answer.Load(); f != nil {
				return f
			}
			return nil
		}
		w := &folder.Settings{Folder: "in", Pattern: "*.json", Ignore: []string{".*", "*.part"}, StableFor: 2 * time.Second, Every: time.Second, Archive: "done"}
		put(t, dir+"/in/1.json", "1")
		put(t, dir+"/in/2.json", `[1`) // being written
		put(t, dir+"/in/x.part", `x`)
		put(t, dir+"/in/.work/0000-0.json", "0") // claimed and delivered before a kill
		if err := b.Host().Deliver(t.Context(), &connectors.Message{Doc: document.FromText("0"), Origin: "in/.work/0000-0.json", Remember: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("1.json", dir+"/in/9.json"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- c.Listen(ctx, w, b.Host()) }()
		step := func(d time.Duration, want string) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			var list []string
			for _, m := range b.State().Accepted {
				list = append(list, m.Doc.Text())
			}
			if got := strings.Join(list, " "); got != want {
				t.Errorf("delivered: got %s, want %s", got, want)
			}
		}
		step(1500*time.Millisecond, "0")
		put(t, dir+"/in/2.json", `[1,2]`)
		step(time.Second, "0 1")
		step(2*time.Second, "0 1 [1,2]")
		if n, _ := b.State().Accepted[2].Props.Get("name"); n != "2.json" {
			t.Errorf("props.name: got %v, want 2.json", n)
		}
		put(t, dir+"/in/1.json", "{") // the same name again, but not JSON
		step(4*time.Second, "0 1 [1,2]")
		answer.Store(&fault.Failure{Code: fault.CodeUnavailable, Retryable: true})
		put(t, dir+"/in/3.json", "3")
		<-time.After(5 * time.Second)
		if err := <-ended; err == nil {
			t.Error("Listen: got nil, want the error of a delivery")
		}
		if b.State().Ups == 0 {
			t.Error("Listen did not report that it listens")
		}
		answer.Store(nil)
		put(t, dir+"/done/3.json", "older")
		go func() { ended <- c.Listen(ctx, w, b.Host()) }()
		step(10*time.Millisecond, "0 1 [1,2] 3") // claimed before
		answer.Store(&fault.Failure{Code: fault.CodeInvalid, Message: "not an order"})
		put(t, dir+"/in/4.json", "4")
		step(4*time.Second, "0 1 [1,2] 3")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Listen: got %v, want nil", err)
		}
	})
	got := names(t, dir)
	for _, want := range []string{"done/0.json", "done/1.json", "done/2.json", "done/3.json", "-3.json", "in/9.json", "in/failed/1.json", "in/failed/4.json", "-4.json.error.txt", "in/x.part"} {
		if !strings.Contains(got, want) {
			t.Errorf("files: got %s, want %s among them", got, want)
		}
	}
	if strings.Contains(got, ".work/") {
		t.Errorf("files: got %s, want none in the work folder", got)
	}
}

// TestInspect checks that a folder that cannot be used is named with a remedy.
func TestInspect(t *testing.T) {
	c, dir := opened(t)
	if o := c.Inspect(); o != nil {
		t.Errorf("got %+v for a folder, want nil", o)
	}
	c.root = filepath.Join(dir, "gone")
	if o := c.Inspect(); o == nil || !strings.Contains(o.Problem, c.root+" does not exist") || !strings.Contains(o.Hint, "mkdir -p") {
		t.Errorf("got %+v for a missing folder, want it named, and mkdir", o)
	}
	c.root = filepath.Join(dir, "file")
	put(t, c.root, "x")
	if o := c.Inspect(); o == nil || !strings.Contains(o.Problem, "is not a folder") {
		t.Errorf("got %+v for a file, want that it is not a folder", o)
	}
}
