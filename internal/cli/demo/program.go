package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// program is an atom or a control plane in an operating-system process of its
// own, so that it can be killed.
type program struct {
	name          string
	args          []string // command line
	env           []string
	ready         string // path that answers 200 when the program is ready
	project, data string // folders
	listen, admin string // URLs
	hookSecret    []byte // signs the shop's events

	cmd   *exec.Cmd
	ended chan struct{}
	log   tail
}

// newAtom returns the atom that runs the orders project.
func (c *Command) newAtom(folder, shopURL, erpURL, shopKey string) (*program, error) {
	p := &program{name: "atom", ready: "/readyz", project: filepath.Join(folder, "project"), data: filepath.Join(folder, "data"), hookSecret: make([]byte, 32)}
	rand.Read(p.hookSecret) // never fails: crypto/rand
	if err := copyProject("orders", p.project); err != nil {
		return nil, err
	}
	ports := []int{c.Port, c.Port + 1}
	if c.Port == 0 {
		var err error
		if ports, err = freePorts(2); err != nil {
			return nil, err
		}
	}
	p.listen = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	p.admin = fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	p.args = []string{"run", p.project, "--data", p.data, "--log-level", "warn",
		"--listen", strings.TrimPrefix(p.listen, "http://"), "--admin", strings.TrimPrefix(p.admin, "http://")}
	p.env = append(withoutSettings(os.Environ()),
		"SHOP_URL="+shopURL, "ERP_URL="+erpURL, "SHOP_KEY="+shopKey,
		"SHOP_HOOK=whsec_"+base64.StdEncoding.EncodeToString(p.hookSecret))
	return p, nil
}

// withoutSettings removes the environment variables that configure valence.
func withoutSettings(env []string) []string {
	var kept []string
	for _, e := range env {
		if !strings.HasPrefix(e, "VALENCE_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// start starts the program and waits until it is ready.
func (p *program) start(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return clierror.Failed("", "find this program: %v", err)
	}
	p.cmd = exec.Command(exe, p.args...)
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = processAttributes()
	if err := p.cmd.Start(); err != nil {
		return clierror.Failed("", "start the %s: %v", p.name, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // stop reads the exit code
	}(p.cmd, p.ended)
	if err := await(ctx, 15*time.Second, func() bool { return p.hasEnded() || p.isReady() }); err != nil {
		return clierror.Failed("", "the %s did not become ready: %v\n%s", p.name, err, p.lastLines())
	}
	if p.hasEnded() {
		return clierror.Failed("", "the %s did not start:\n%s", p.name, p.lastLines())
	}
	return nil
}

func (p *program) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *program) isReady() bool {
	resp, err := http.Get(p.listen + p.ready)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// kill ends the program with SIGKILL, without a chance to clean up.
func (p *program) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-p.ended
}

// stopTimeout is how long a program may take to stop.
const stopTimeout = 30 * time.Second

// stop ends the program with SIGTERM and waits for it.
func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return clierror.Failed("", "stop the %s: %v", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.kill()
		return clierror.Failed("", "the %s did not stop within %s", p.name, stopTimeout)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return clierror.Failed("", "the %s stopped with exit code %d:\n%s", p.name, code, p.lastLines())
	}
	return nil
}

// lastLines returns the end of the program's output.
func (p *program) lastLines() string {
	text := strings.TrimSpace(p.log.String())
	if text == "" {
		return "(the " + p.name + " printed nothing)"
	}
	return terminal.Indent(text)
}

// freePorts returns n different free ports of this machine.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, clierror.Failed("", "no port is free on this machine: %v", err)
		}
		defer ln.Close() // open until all are found, so that they differ
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// tail stores the last bytes written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// maxTail is the number of bytes that a tail stores.
const maxTail = 8 << 10

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(b), nil
}

// String returns the stored bytes.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
