package servers

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// inetd starts a program for each connection, as the program of that name does.
// It listens itself, so that no port can be lost to another program.
type inetd struct {
	Address string

	listener net.Listener
	ended    sync.WaitGroup

	mu       sync.Mutex
	sessions map[*exec.Cmd]bool
	failures []error
}

// listen starts the server. Its messages go to a file.
func (i *inetd) listen(log, program string, args ...string) (err error) {
	if i.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	i.Address, i.sessions = i.listener.Addr().String(), map[*exec.Cmd]bool{}
	i.ended.Go(func() {
		for {
			c, err := i.listener.Accept()
			if err != nil {
				return // closed
			}
			if err := i.start(c.(*net.TCPConn), log, program, args); err != nil {
				i.mu.Lock()
				i.failures = append(i.failures, err)
				i.mu.Unlock()
			}
		}
	})
	return nil
}

func (i *inetd) start(c *net.TCPConn, log, program string, args []string) error {
	defer c.Close() // the program has its own descriptor
	f, err := c.File()
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	i.sessions[cmd] = true
	i.ended.Go(func() {
		_ = cmd.Wait() // killed, or the client has left
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.sessions, cmd)
	})
	return nil
}

// Kill ends all sessions with SIGKILL.
func (i *inetd) Kill() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for cmd := range i.sessions {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	}
}

// close stops the server. It fails if a session could not be started.
func (i *inetd) close() error {
	err := i.listener.Close()
	i.Kill()
	i.ended.Wait()
	return errors.Join(append(i.failures, err)...)
}
