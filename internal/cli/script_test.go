package cli_test

import (
	"bytes"
	"context"
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

	"valence/atom/admin"
	"valence/internal/cli"
	"valence/internal/datafolder"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"valence": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the program in the scripts of testdata/script.
func TestScripts(t *testing.T) {
	p := newPlanes(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"plane": p.start, "install-token": p.token, "up": up, "address": address,
			"http": httpCommand, "http-refused": httpRefused, "eventually": eventually,
			"code": code, "until": until, "hold": hold, "rewrite": rewrite, "appears": appears, "examples": examples,
		},
	})
}

// up waits until the atom of a data folder is ready, and sets LISTEN, ADMIN,
// PID and TOKEN: `up data`.
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: up DATA")
	}
	var a datafolder.AtomAddress
	poll(ts, "the atom on "+args[0]+" to be ready", func() (ok bool) {
		a, ok = datafolder.ReadAtomAddress(ts.MkAbs(args[0]))
		return ok
	})
	token, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), admin.TokenFile))
	ts.Check(err)
	ts.Setenv("LISTEN", a.Listen)
	ts.Setenv("ADMIN", a.Admin)
	ts.Setenv("PID", fmt.Sprint(a.PID))
	ts.Setenv("TOKEN", strings.TrimSpace(string(token)))
}

// poll calls ok until it returns true. Scripts observe other programs, which
// cannot notify them.
func poll(ts *testscript.TestScript, what string, ok func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("timeout: waited for %s", what)
		}
	}
}

// httpCommand makes one HTTP request, prints status, content type and body, and
// fails if the status differs: `http 200 POST URL [BODY] [Name: value]...`.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http STATUS METHOD URL [BODY] [HEADER]...")
	}
	status, head, body := send(ts, args[1:])
	fmt.Fprintf(ts.Stdout(), "%d %s\n%s\n", status, head.Get("Content-Type"), body)
	if fmt.Sprint(status) != args[0] {
		ts.Fatalf("%s %s: got status %d, want %s:\n%s", args[1], args[2], status, args[0], body)
	}
}

// send makes one HTTP request.
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

// eventually repeats a request until the body of its response contains a text: `eventually TEXT METHOD URL...`.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: eventually TEXT METHOD URL [BODY] [HEADER]...")
	}
	poll(ts, args[0], func() bool {
		_, _, body := send(ts, args[1:])
		return strings.Contains(body, args[0])
	})
}

// httpRefused waits until nothing answers at a URL: `http-refused URL`.
func httpRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: http-refused URL")
	}
	poll(ts, "nothing to answer at "+args[0], func() bool {
		resp, err := http.Get(args[0])
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
}

// examples runs every example in the help of a command: `examples COMMAND`.
func examples(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: examples COMMAND")
	}
	var help bytes.Buffer
	cli.Main(append(args, "--help"), strings.NewReader(""), &help, io.Discard)
	count := 0
	for line := range strings.Lines(help.String()) {
		if command := strings.TrimSpace(line); strings.HasPrefix(line, "    valence ") || strings.HasPrefix(line, "  valence ") {
			count++
			if err := ts.Exec("sh", "-c", command); err != nil {
				ts.Fatalf("%s: %v", command, err)
			}
		}
	}
	if count == 0 {
		ts.Fatalf("got no example in the help of %v, want at least one:\n%s", args, help.String())
	}
}

// appears waits until a file contains a text: `appears TEXT FILE`.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: appears TEXT FILE")
	}
	poll(ts, args[0]+" in "+args[1], func() bool {
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
	a, ok := datafolder.ReadCloudAddress(ts.MkAbs(args[0]))
	if !ok {
		ts.Fatalf("no control plane runs on %s", args[0])
	}
	ts.Setenv(args[1], a.URL)
}

// until repeats a command until it prints a text: `until TEXT ARG...`.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT ARG...")
	}
	poll(ts, args[0], func() bool {
		return ts.Exec("valence", args[1:]...) == nil && strings.Contains(ts.ReadFile("stdout"), args[0])
	})
}

// hold occupies a free port until the script ends and sets a variable to its
// address: `hold VARIABLE`.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold VARIABLE")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv(args[0], ln.Addr().String())
}

// code runs a command and fails if its exit code differs: `code 3 run --listen x`.
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
		ts.Fatalf("valence %s: got exit code %d, want %s", strings.Join(args[1:], " "), got, args[0])
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
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(text, []byte(args[1]), []byte(args[2])), 0o644))
}
