package examples

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	commandTime = 60 * time.Second // longest run of one command
	outputTime  = 30 * time.Second // longest time until a listing matches the page
	pollTime    = 50 * time.Millisecond
)

// portMap replaces the fixed ports of a page by free ones, so that pages run at
// the same time.
type portMap struct{ there, back *strings.Replacer }

var address = regexp.MustCompile(`127\.0\.0\.1:\d{4,5}`)

func newPortMap(t *testing.T, all []fence) portMap {
	t.Helper()
	used := map[string]bool{listenAddress: true, adminAddress: true, cloudAddress: true}
	for _, f := range all {
		for _, a := range address.FindAllString(f.text, -1) {
			used[a] = true
		}
	}
	var there, back []string
	for a := range used {
		free := pageAddress(t)
		there = append(there, a, free)
		back = append(back, free, a)
	}
	return portMap{strings.NewReplacer(there...), strings.NewReplacer(back...)}
}

// nextPort counts the ports of pages. They are below the ports that the system
// assigns to connections, so nothing else takes a free one.
var nextPort atomic.Int32

// pageAddress returns a loopback address that nothing listens on and no other
// page uses.
func pageAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		a := fmt.Sprintf("127.0.0.1:%d", 20000+os.Getpid()%8000+int(nextPort.Add(1)))
		if l, err := net.Listen("tcp", a); err == nil {
			l.Close()
			return a
		}
	}
	t.Fatal("got no free port in 100 attempts")
	return ""
}

func (p portMap) toFree(s string) string { return p.there.Replace(s) }
func (p portMap) toPage(s string) string { return p.back.Replace(s) }

// The default addresses of an atom and of a control plane.
const (
	listenAddress = "127.0.0.1:9090"
	adminAddress  = "127.0.0.1:9091"
	cloudAddress  = "127.0.0.1:9092"
)

// shell is the terminal of a reader: one bash that runs command after command.
type shell struct {
	t      *testing.T
	dir    string
	ports  portMap
	in     io.Writer
	lines  chan string // output, line by line; closed when bash has ended
	logs   int
	joined bool // an atom of this page has joined a control plane
}

// startShell starts a bash in dir. When the test ends, everything that it
// started receives SIGTERM and must end within 20 s.
func startShell(t *testing.T, dir string, ports portMap) *shell {
	t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, dir: dir, ports: ports, in: in, lines: make(chan string)}
	done := make(chan struct{})
	go func() {
		defer close(s.lines)
		scan := bufio.NewScanner(out)
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			select {
			case s.lines <- scan.Text():
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		if t.Failed() {
			t.Logf("programs in the background:\n%s", s.log())
		}
		_, _ = io.WriteString(in, "kill $(jobs -p) 2>/dev/null; wait; exit 0\n") // fails if bash has ended
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // the exit code does not matter
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
			t.Errorf("not everything ends on SIGTERM:\n%s", s.log())
		}
	})
	return s
}

// end marks the end of a command's output and carries its exit code.
const end = "\x1e"

// run types a command and returns its output and exit code.
func (s *shell) run(command string) (string, int) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, "{\n%s\n} </dev/null 2>&1; printf '\\n%s%%d\\n' $?\n", s.ports.toFree(command), end); err != nil {
		s.t.Fatal(err)
	}
	var out []string
	late := time.After(commandTime)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the shell ended during $ %s", command)
			}
			if code, ok := strings.CutPrefix(line, end); ok {
				n, err := strconv.Atoi(code)
				if err != nil {
					s.t.Fatal(err)
				}
				return s.ports.toPage(strings.TrimRight(strings.Join(out, "\n"), "\n")), n
			}
			out = append(out, line)
		case <-late:
			s.t.Fatalf("still running after %v: $ %s\n%s\n%s", commandTime, command, strings.Join(out, "\n"), s.log())
		}
	}
}

// repeatable matches commands that only read. They are typed again, as a reader
// would, until their output matches the page.
var repeatable = regexp.MustCompile(`^(?:cat|ls|bin/valence (?:executions|failed|sequences|processes)(?: (?:list|show|groups)\b| --|$)|bin/valence cloud (?:atoms|executions|deployments|schedules|listeners)(?: --|$)|curl [^|]*$)`)

// sends matches the flags of curl that send something.
var sends = regexp.MustCompile(` (?:-d|--data|-X|-T|-F|--json)`)

// follow types one command of a page and compares its output.
func (s *shell) follow(page string, c session) {
	s.t.Helper()
	if background, ok := strings.CutSuffix(c.command, " &"); ok {
		s.serve(background)
		return
	}
	command := c.command
	if m := regexp.MustCompile(`^kill( -9)? (%\d)$`).FindStringSubmatch(command); m != nil {
		command += "; wait " + m[2] + " 2>/dev/null"
		if m[1] != "" {
			command += " || :"
		}
	}
	if strings.Contains(command, "valence join") {
		s.joined = true
	}
	again := repeatable.MatchString(command) && (!strings.HasPrefix(command, "curl") || !sends.MatchString(command))
	for late := time.Now().Add(outputTime); ; time.Sleep(pollTime) { // another program is polled
		got, code := s.run(command)
		ok := pattern(c.prints).MatchString(got)
		if ok && code == 0 {
			return
		}
		if !again || time.Now().After(late) {
			s.t.Errorf("%s:%d: $ %s\ngot (exit code %d)\n%s\nwant\n%s", page, c.line, c.command, code, got, c.prints)
			return
		}
	}
}

// serve starts a program in the background and waits until it is ready.
func (s *shell) serve(command string) {
	s.t.Helper()
	listen, path := listenAddress, "/readyz"
	switch {
	case strings.Contains(command, "valence cloud"):
		listen = cloudAddress
	case strings.Contains(command, "valence run"):
		if !strings.Contains(command, "--admin ") {
			command += " --admin " + adminAddress
		}
		if s.joined {
			path = "/healthz" // it may have no deployment yet
		}
	}
	if m := regexp.MustCompile(`--listen (\S+)`).FindStringSubmatch(command); m != nil {
		listen = m[1]
	} else {
		command += " --listen " + listen
	}
	s.logs++
	if out, code := s.run(fmt.Sprintf("%s >log-%d.txt 2>&1 &", command, s.logs)); code != 0 {
		s.t.Fatalf("$ %s\n%s", command, out)
	}
	url := "http://" + s.ports.toFree(listen) + path
	for late := time.Now().Add(outputTime); ; time.Sleep(pollTime) { // another program is polled
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(late) {
			s.t.Fatalf("not ready: $ %s\n%s", command, s.log())
		}
	}
}

// log returns the output of the programs in the background.
func (s *shell) log() string {
	var b strings.Builder
	for n := 1; n <= s.logs; n++ {
		text, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprintf("log-%d.txt", n)))
		if err == nil {
			b.Write(text)
		}
	}
	return b.String()
}
