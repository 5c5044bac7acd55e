package cli

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
)

// child is an atom, or a control plane, in a process of its own, so that it
// can be killed.
type child struct {
	what          string
	args          []string // of its command line
	ready         string   // the path that answers 200 once it is up
	project, data string
	listen, admin string // URLs
	hook          []byte
	env           []string
	cmd           *exec.Cmd
	ended         chan struct{}
	log           tail
}

func (c *demoCmd) newChild(folder, shopURL, erpURL, shopKey string) (*child, error) {
	a := &child{project: filepath.Join(folder, "project"), data: filepath.Join(folder, "data"), hook: make([]byte, 32)}
	rand.Read(a.hook) // never fails: crypto/rand
	if err := copyOut(demoProject, "demo", a.project); err != nil {
		return nil, failed("a TMPDIR that can be written to", "%v", err)
	}
	ports := []int{c.Port, c.Port + 1}
	if c.Port == 0 {
		var err error
		if ports, err = freePorts(2); err != nil {
			return nil, err
		}
	}
	a.listen = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	a.admin = fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	a.what, a.ready = "atom", "/readyz"
	a.args = []string{"run", a.project, "--data", a.data, "--log-level", "warn",
		"--listen", strings.TrimPrefix(a.listen, "http://"), "--admin", strings.TrimPrefix(a.admin, "http://")}
	a.env = append(withoutSettings(os.Environ()),
		"SHOP_URL="+shopURL, "ERP_URL="+erpURL, "SHOP_KEY="+shopKey,
		"SHOP_HOOK=whsec_"+base64.StdEncoding.EncodeToString(a.hook))
	return a, nil
}

// withoutSettings drops what would configure the child's command line.
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
func (a *child) start(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return failed("", "find this program: %v", err)
	}
	a.cmd = exec.Command(exe, a.args...)
	a.cmd.Env = a.env
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	a.cmd.SysProcAttr = childAttributes()
	if err := a.cmd.Start(); err != nil {
		return failed("", "start the %s: %v", a.what, err)
	}
	a.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // how it ended is told by what it was asked for
	}(a.cmd, a.ended)
	ready := func() bool {
		select {
		case <-a.ended:
			return true
		default:
		}
		resp, err := http.Get(a.listen + a.ready)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	if err := until(ctx, 15*time.Second, ready); err != nil {
		return failed("", "the %s did not become ready: %v\n%s", a.what, err, a.lastLines())
	}
	select {
	case <-a.ended:
		return failed("", "the %s did not start:\n%s", a.what, a.lastLines())
	default:
		return nil
	}
}

// kill ends the atom with SIGKILL: it gets no chance to tidy up.
func (a *child) kill() {
	if a.cmd == nil || a.cmd.Process == nil {
		return
	}
	if err := a.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-a.ended
}

// stop ends the atom with SIGTERM: it finishes what it has begun.
func (a *child) stop() error {
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return failed("", "stop the %s: %v", a.what, err)
	}
	select {
	case <-a.ended:
	case <-time.After(30 * time.Second):
		a.kill()
		return failed("", "the %s did not stop within 30 s", a.what)
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		return failed("", "the %s stopped with exit code %d:\n%s", a.what, code, a.lastLines())
	}
	return nil
}

// lastLines are the last of what the atom printed.
func (a *child) lastLines() string {
	text := strings.TrimSpace(a.log.String())
	if text == "" {
		return "(the " + a.what + " printed nothing)"
	}
	return indent(text)
}

// freePorts finds ports of this machine that nothing listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, failed("", "no port is free on this machine: %v", err)
		}
		defer ln.Close() // all are held until all are found
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const longestTail = 8 << 10

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - longestTail; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(b), nil
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
