package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"valence/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"valence": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the program as its users do.
func TestScripts(t *testing.T) {
	p := newPlanes(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"plane": p.start, "install-token": p.token, "up": up, "http": request, "hold": hold, "code": code, "eventually": eventually, "rewrite": rewrite, "appears": appears, "http-refused": refused,
			"address": address, "until": until,
		},
	})
}

// running is what the atom of a data folder writes down about itself.
type running struct {
	PID    int    `json:"pid"`
	Listen string `json:"listen"`
	Admin  string `json:"admin"`
}

// up waits until the atom of a data folder is ready, and sets LISTEN, ADMIN,
// PID and TOKEN: `up data`.
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: up DATA")
	}
	var r running
	wait(ts, "the atom on "+args[0]+" to be ready", func() bool {
		text, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), "running.json"))
		return err == nil && json.Unmarshal(text, &r) == nil
	})
	token, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), "admin.token"))
	ts.Check(err)
	ts.Setenv("LISTEN", r.Listen)
	ts.Setenv("ADMIN", r.Admin)
	ts.Setenv("PID", fmt.Sprint(r.PID))
	ts.Setenv("TOKEN", strings.TrimSpace(string(token)))
}

// wait looks again and again, since what it looks at is another process.
func wait(ts *testscript.TestScript, what string, ok func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("waited in vain for %s", what)
		}
	}
}

// request makes one HTTP request, prints status, content type and body, and
// fails unless the status is the one given: `http 200 POST URL [BODY] [Name: value]...`.
func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http STATUS METHOD URL [BODY] [HEADER]...")
	}
	status, head, body := send(ts, args[1:])
	fmt.Fprintf(ts.Stdout(), "%d %s\n%s\n", status, head.Get("Content-Type"), body)
	if fmt.Sprint(status) != args[0] {
		ts.Fatalf("%s %s: status %d, want %s:\n%s", args[1], args[2], status, args[0], body)
	}
}

func send(ts *testscript.TestScript, args []string) (int, http.Header, string) {
	var body io.Reader = http.NoBody
	if len(args) > 2 {
		body = strings.NewReader(args[2])
	}
	req, err := http.NewRequest(args[0], args[1], body)
	ts.Check(err)
	if len(args) > 2 && args[2] != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range args[min(3, len(args)):] {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	return resp.StatusCode, resp.Header, string(text)
}

// eventually makes a request until its body holds a text: `eventually TEXT METHOD URL...`.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: eventually TEXT METHOD URL [BODY] [HEADER]...")
	}
	wait(ts, args[0], func() bool {
		_, _, body := send(ts, args[1:])
		return strings.Contains(body, args[0])
	})
}

// refused waits until nothing answers at a URL: `http-refused URL`.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: http-refused URL")
	}
	wait(ts, "nothing to answer at "+args[0], func() bool {
		resp, err := http.Get(args[0])
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
}

// appears waits until a file holds a text: `appears TEXT FILE`.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: appears TEXT FILE")
	}
	wait(ts, args[0]+" in "+args[1], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		return err == nil && bytes.Contains(text, []byte(args[0]))
	})
}

// address sets a variable to the address of the control plane of a data folder:
// `address plane CLOUD`.
func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: address DATA VARIABLE")
	}
	var at struct{ URL string }
	text, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), "cloud.json"))
	ts.Check(err)
	ts.Check(json.Unmarshal(text, &at))
	ts.Setenv(args[1], at.URL)
}

// until runs the program again and again until it prints a text: `until TEXT ARG...`.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT ARG...")
	}
	wait(ts, args[0], func() bool {
		return ts.Exec("valence", args[1:]...) == nil && strings.Contains(ts.ReadFile("stdout"), args[0])
	})
}

// hold takes a free port until the script ends, and names it: `hold PORT`.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold VARIABLE")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// code runs the program and fails unless it ends with the exit code:
// `code 3 run --listen x`.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N [ARG]...")
	}
	err := ts.Exec("valence", args[1:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("valence %s: exit code %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// rewrite replaces a text in a file: `rewrite FILE OLD NEW`.
func rewrite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: rewrite FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	text, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(text, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(text, []byte(args[1]), []byte(args[2])), 0o644))
}
