// Command summary runs the stages of `make test` and reports their results.
//
//	summary -tally FILE tests NAME -- go test …        runs tests, prints go test's lines and every failure in full, and adds to the tally
//	summary -tally FILE step NAME -- COMMAND …         runs a command as one test; prints its output if it fails
//	summary -tally FILE vulnerabilities -- COMMAND …   runs govulncheck; a database out of reach counts as skipped
//	summary -tally FILE total                          prints the tally as `N passed, N failed, N skipped` and removes it
//
// The exit status is 0 only if everything that ran passed.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	tally := flag.String("tally", "", "file that adds up the stages")
	flag.Parse()
	ok, err := run(*tally, flag.Args(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: summary -tally FILE (tests NAME|step NAME|vulnerabilities) -- COMMAND… | total")

func run(tally string, args []string, w io.Writer) (bool, error) {
	if tally == "" || len(args) == 0 {
		return false, errUsage
	}
	if args[0] == "total" && len(args) == 1 {
		return total(tally, w)
	}
	kind, name, command := args[0], args[0], args[1:]
	if kind != "vulnerabilities" && len(command) > 0 {
		name, command = command[0], command[1:]
	}
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return false, errUsage
	}
	start := time.Now()
	fmt.Fprintf(w, "\n== %s\n", name)
	var c counts
	var err error
	switch kind {
	case "tests":
		c, err = tests(name, command, w)
	case "step":
		c, err = step(name, command, w)
	case "vulnerabilities":
		c, err = vulnerabilities(command, w)
	default:
		return false, errUsage
	}
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, "-- %s: %s in %.1fs\n", name, c, time.Since(start).Seconds())
	return len(c.Failed) == 0, add(tally, c)
}

// tests runs go test and reads its events.
func tests(name string, command []string, w io.Writer) (counts, error) {
	if len(command) < 2 || command[1] != "test" {
		return counts{}, fmt.Errorf("%q is not a go test command", command)
	}
	args := append([]string{"test", "-json"}, command[2:]...)
	cmd := exec.Command(command[0], args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return counts{}, err
	}
	if err := cmd.Start(); err != nil {
		return counts{}, err
	}
	c, readErr := read(out, w)
	err = cmd.Wait()
	if readErr != nil {
		return counts{}, readErr
	}
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return counts{}, err
	case err != nil && len(c.Failed) == 0: // the failure happened outside any test
		fmt.Fprintf(w, "%s\n", complaints.Bytes())
		c.Failed = []string{name + ": " + strings.Join(command, " ") + ": " + err.Error()}
	case err == nil && c.Passed == 0 && len(c.Failed) == 0:
		c.Failed = []string{name + ": " + strings.Join(command, " ") + " ran no test"}
	}
	return c, nil
}

// step runs a command that passes or fails as a whole.
func step(name string, command []string, w io.Writer) (counts, error) {
	out, err := output(command)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return counts{Passed: 1}, nil
	case !errors.As(err, &exit):
		return counts{}, err
	}
	fmt.Fprintf(w, "%s%s: %v\n", out, strings.Join(command, " "), err)
	return counts{Failed: []string{name}}, nil
}

// vulnerabilities runs govulncheck, which exits with 3 if it found
// vulnerabilities and with 1 if it could not check.
func vulnerabilities(command []string, w io.Writer) (counts, error) {
	out, err := output(command)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return counts{Passed: 1}, nil
	case !errors.As(err, &exit):
		return counts{}, err
	case exit.ExitCode() == 1 && unreachable(out):
		fmt.Fprintf(w, "%sNOT CHECKED for known vulnerabilities: the database is out of reach. Run `make vulnerabilities` on a machine that can reach it.\n", out)
		return counts{Skipped: 1}, nil
	}
	fmt.Fprintf(w, "%s%s: %v\n", out, strings.Join(command, " "), err)
	return counts{Failed: []string{"vulnerabilities"}}, nil
}

// unreachable reports whether govulncheck failed only because it could not reach
// its database.
func unreachable(out []byte) bool {
	return bytes.Contains(out, []byte("govulncheck: fetching vulnerabilities:"))
}

func output(command []string) ([]byte, error) {
	return exec.Command(command[0], command[1:]...).CombinedOutput()
}
