package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Output      string
	FailedBuild string
}

// counts holds the results of tests. A test with subtests counts as itself and
// its subtests, as in go test.
type counts struct {
	Passed  int
	Failed  []string // names
	Skipped int
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, len(c.Failed), c.Skipped)
}

// read reads the events of one go test run. It writes one line per package and
// the output of every failed test, as plain `go test` does.
func read(r io.Reader, w io.Writer) (counts, error) {
	var c counts
	output := map[string][]string{} // of unfinished tests, packages and builds
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil { // a message of go test itself
				if _, err := w.Write(line); err != nil {
					return c, err
				}
			} else {
				c.take(e, output, w)
			}
		}
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return c, err
		}
	}
}

func (c *counts) take(e event, output map[string][]string, w io.Writer) {
	key := e.Package + "\x00" + e.Test
	if e.Action == "build-output" || e.Action == "build-fail" {
		key = "build\x00" + e.ImportPath
	}
	show := func(key string) {
		for _, s := range output[key] {
			fmt.Fprint(w, s)
		}
	}
	switch e.Action {
	case "output", "build-output":
		switch {
		case e.Test == "" && e.Action == "output" && packageLine(e.Output):
			fmt.Fprint(w, e.Output)
		case !strings.HasPrefix(e.Output, "=== "):
			output[key] = append(output[key], e.Output)
		}
		return
	case "build-fail":
		show(key)
	case "pass":
		if e.Test != "" {
			c.Passed++
		}
	case "skip":
		if e.Test != "" {
			c.Skipped++
		}
	case "fail":
		switch {
		case e.Test != "":
			show(key)
			c.Failed = append(c.Failed, e.Package+"."+e.Test)
		case e.FailedBuild != "":
			c.Failed = append(c.Failed, e.Package+" (build)")
		case !c.failedIn(e.Package): // the test binary exited outside a test: a panic, os.Exit or a deadlock
			show(key)
			c.Failed = append(c.Failed, e.Package)
		}
	default:
		return
	}
	delete(output, key)
}

func (c *counts) failedIn(pkg string) bool {
	for _, f := range c.Failed {
		if strings.HasPrefix(f, pkg+".") {
			return true
		}
	}
	return false
}

// packageLine reports whether a line is go test's result for a package.
func packageLine(s string) bool {
	for _, p := range []string{"ok  \t", "FAIL\t", "---\t"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
