package servers

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// process is a server that runs as a process of its own, with its data in dir. It
// ends with the test.
type process struct {
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) log() string { return filepath.Join(p.dir, "log") }

// start starts the server and waits until it is ready. If it exits, it is started
// again: for the first time on another port, later on the same one.
func (p *process) start(port *int, command func() (*exec.Cmd, error), ready func(ctx context.Context) error) error {
	first := *port == 0
	return startServer(func(deadline time.Time) error {
		if first {
			var err error
			if *port, err = freePort(); err != nil {
				return err
			}
		}
		cmd, err := command()
		if err == nil {
			err = p.launch(cmd)
		}
		if err != nil {
			return err
		}
		return awaitServer(deadline, p.ended, ready)
	}, func() { p.end(syscall.SIGKILL) }, p.log())
}

func (p *process) launch(cmd *exec.Cmd) error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // it was killed, or its port is in use
		close(ended)
	}()
	return nil
}

// end sends a signal to the server and waits until it has ended.
func (p *process) end(signal syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal) // it may have ended
	<-p.ended
}

// Kill ends the server with SIGKILL.
func (p *process) Kill() { p.end(syscall.SIGKILL) }

// Close stops the server and removes its data.
func (p *process) Close() error {
	p.Kill()
	return os.RemoveAll(p.dir)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// dials reports whether a port of the loopback interface accepts connections.
func dials(ctx context.Context, port int) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", loopback(port))
	if err != nil {
		return err
	}
	return c.Close()
}
