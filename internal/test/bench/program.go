package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a process started by this run. It is stopped by its process id.
type program struct {
	name    string
	url     string // base URL
	admin   string // an atom's admin plane
	data    string // data folder, removed by discard
	cmd     *exec.Cmd
	log     string
	exited  chan struct{}
	started time.Time
	stopped bool
}

// freeAddress returns a loopback address that nothing listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launch starts a program that ends together with this one.
func (b *bench) launch(ctx context.Context, name, address, data string, args, env []string) (*program, error) {
	p := &program{name: name, url: "http://" + address, data: data, log: filepath.Join(b.folder, name+".log"), exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		log.Close()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the program and waits for its exit.
func (p *program) stop() {
	if p.stopped {
		return
	}
	p.stopped = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// discard stops the program and removes its data.
func (p *program) discard() error {
	p.stop()
	if p.data == "" {
		return nil
	}
	return os.RemoveAll(p.data)
}

// ready waits until a request is answered with the given status.
func (p *program) ready(ctx context.Context, path string, status int, within time.Duration) error {
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	deadline := time.After(within)
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if status == 0 || resp.StatusCode == status {
				return nil
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-p.exited:
			return fmt.Errorf("%s ended while starting:\n%s", p.name, p.tail())
		case <-deadline:
			return fmt.Errorf("%s is not ready after %v:\n%s", p.name, within, p.tail())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tail returns the end of the program's log.
func (p *program) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// memory returns the current and the peak resident memory in MiB.
func (p *program) memory() (now, most float64, err error) {
	file := "/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status"
	if now, err = kib(fact(file, "VmRSS")); err != nil {
		return 0, 0, fmt.Errorf("memory of %s: %w", p.name, err)
	}
	most, err = kib(fact(file, "VmHWM"))
	return now, most, err
}

func kib(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	return n / 1024, err
}

// sink starts the destination.
func (b *bench) sink(ctx context.Context) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := b.launch(ctx, "sink", address, "", []string{b.binary("sink"), "-listen", address}, nil)
	if err != nil {
		return nil, err
	}
	return p, b.orStop(p, p.ready(ctx, "/stats", http.StatusOK, 10*time.Second))
}

// baseline starts one of the baseline programs.
func (b *bench) baseline(ctx context.Context, name string, args ...string) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.data, name+"-")
	if err != nil {
		return nil, err
	}
	line := append([]string{b.binary(name), "-listen", address}, args...)
	if name == "appender" {
		line = append(line, "-file", filepath.Join(data, "events.log"))
	}
	p, err := b.launch(ctx, name, address, data, line, nil)
	if err != nil {
		return nil, err
	}
	return p, b.orStop(p, p.ready(ctx, "/", 0, 10*time.Second))
}

// atom starts `valence run` on a project, with a new data folder or the given
// one.
func (b *bench) atom(ctx context.Context, project, data, sink string) (*program, error) {
	p, err := b.startAtom(ctx, project, data, sink)
	if err != nil {
		return nil, err
	}
	return p, b.orStop(p, p.ready(ctx, "/readyz", http.StatusOK, 2*time.Minute))
}

// site starts a destination and an atom with an empty data folder that delivers
// to it. discard stops both and removes the folder.
func (b *bench) site(ctx context.Context) (sink, atom *program, discard func() error, err error) {
	if sink, err = b.sink(ctx); err != nil {
		return nil, nil, nil, err
	}
	if atom, err = b.atom(ctx, b.project(), "", sink.url); err != nil {
		sink.stop()
		return nil, nil, nil, err
	}
	return sink, atom, func() error {
		defer sink.stop()
		return atom.discard()
	}, nil
}

// startAtom starts an atom and returns without waiting for it.
func (b *bench) startAtom(ctx context.Context, project, data, sink string, env ...string) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if data == "" {
		if data, err = os.MkdirTemp(b.data, "atom-"); err != nil {
			return nil, err
		}
	}
	p, err := b.launch(ctx, "valence", address, data,
		[]string{b.valence, "run", project, "--listen", address, "--admin", admin, "--data", data, "--log-level", "warn"},
		append(env, "SINK_URL="+sink))
	if err != nil {
		return nil, err
	}
	p.admin = "http://" + admin
	return p, nil
}

func (b *bench) orStop(p *program, err error) error {
	if err != nil {
		return errors.Join(err, p.discard())
	}
	return nil
}

func (b *bench) binary(name string) string { return filepath.Join(b.folder, "bin", name) }

// build builds the measured programs.
func (b *bench) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(b.folder, "bin"), 0o755); err != nil {
		return err
	}
	packages := []string{"./internal/test/bench/baseline/handler", "./internal/test/bench/baseline/appender", "./internal/test/bench/baseline/sink"}
	if b.valence = b.Valence; b.valence == "" {
		b.valence = b.binary("valence")
		packages = append(packages, "./cmd/valence")
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-o", filepath.Join(b.folder, "bin") + "/"}, packages...)...)
	cmd.Dir = b.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}
