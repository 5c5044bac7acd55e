// Package servers starts real servers for tests, each with its own data in a
// temporary folder and on a free loopback port.
package servers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RabbitMQ is a RabbitMQ broker with the user RabbitMQUser.
type RabbitMQ struct {
	Port int // of AMQP 0.9.1

	dir    string
	epmd   *exec.Cmd
	env    []string
	broker *exec.Cmd
	ended  chan struct{} // closed when broker has ended
}

// The user of a RabbitMQ broker, who may do everything.
const (
	RabbitMQUser     = "valence"
	RabbitMQPassword = "not-in-any-message"
)

const rabbitMQPrograms = "/usr/lib/rabbitmq/bin/"

// URL returns the URL of the broker, without the user.
func (r *RabbitMQ) URL() string { return "amqp://127.0.0.1:" + strconv.Itoa(r.Port) }

// NewRabbitMQ starts a broker. Close stops it.
func NewRabbitMQ() (*RabbitMQ, error) {
	if _, err := os.Stat(rabbitMQPrograms + "rabbitmq-server"); err != nil {
		return nil, fmt.Errorf("RabbitMQ is not installed: run `make setup`: %w", err)
	}
	dir, err := os.MkdirTemp("", "valence-rabbitmq")
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{dir: dir}
	err = startServer(func(time.Time) error {
		if err := r.configure(); err != nil {
			return err
		}
		return r.Start()
	}, r.stop, filepath.Join(dir, "output"))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// configure chooses ports and writes the configuration.
func (r *RabbitMQ) configure() error {
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return err
		}
	}
	r.Port = ports[0]
	config := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\ndefault_user = %s\ndefault_pass = %s\nlog.file.level = info\n", ports[0], RabbitMQUser, RabbitMQPassword)
	files := map[string]string{"rabbitmq.conf": config, "plugins": "[].\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	epmd := strconv.Itoa(ports[1])
	r.env = append(os.Environ(), "HOME="+r.dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+epmd, "RABBITMQ_NODENAME=rabbit@localhost",
		"RABBITMQ_CONFIG_FILE="+filepath.Join(r.dir, "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(r.dir, "plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(r.dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(r.dir, "log"),
		"RABBITMQ_PID_FILE="+r.pidFile(), "RABBITMQ_DIST_PORT="+strconv.Itoa(ports[2]))
	return nil
}

func (r *RabbitMQ) pidFile() string { return filepath.Join(r.dir, "pid") }

// Start starts the broker, also again after Kill, and waits until it accepts
// connections.
func (r *RabbitMQ) Start() error {
	if r.epmd == nil {
		epmd := exec.Command("epmd")
		epmd.Env = r.env
		epmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := epmd.Start(); err != nil {
			return err
		}
		r.epmd = epmd
	}
	log, err := os.OpenFile(filepath.Join(r.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r.broker = exec.Command(rabbitMQPrograms + "rabbitmq-server")
	r.broker.Env, r.broker.Stdout, r.broker.Stderr = r.env, log, log
	r.broker.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.broker.Start(); err != nil {
		return err
	}
	r.ended = make(chan struct{})
	go func(broker *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = broker.Wait() // killed
	}(r.broker, r.ended)
	return r.await()
}

// await returns when the broker greets a client that speaks its protocol.
func (r *RabbitMQ) await() error {
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		select {
		case <-r.ended:
			return errExited
		default:
		}
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(r.Port), time.Second)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		greeting := make([]byte, 1)
		_, err = conn.Write([]byte("AMQP\x00\x00\x09\x01"))
		if err == nil {
			_, err = conn.Read(greeting)
		}
		conn.Close()
		if err == nil && greeting[0] == 1 { // a method frame: connection.start
			return nil
		}
	}
	return r.failure("the broker is not ready after three minutes")
}

func (r *RabbitMQ) failure(what string) error {
	text, _ := os.ReadFile(filepath.Join(r.dir, "output"))
	return fmt.Errorf("%s\n%s", what, text)
}

// Kill ends the broker with SIGKILL.
func (r *RabbitMQ) Kill() error { return r.end(syscall.SIGKILL) }

// end sends a signal to the broker and waits until it has ended.
func (r *RabbitMQ) end(signal syscall.Signal) error {
	text, err := os.ReadFile(r.pidFile())
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	select {
	case <-r.ended:
		return nil
	case <-time.After(time.Minute):
		return errors.New("the broker has not ended after a minute")
	}
}

// Control runs rabbitmqctl.
func (r *RabbitMQ) Control(args ...string) error {
	cmd := exec.Command(rabbitMQPrograms+"rabbitmqctl", args...)
	cmd.Env = r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("rabbitmqctl %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// stop ends the broker and its epmd.
func (r *RabbitMQ) stop() {
	if r.broker != nil {
		select {
		case <-r.ended:
		default:
			if err := r.Kill(); err != nil { // it has not written its pid file yet
				_ = r.broker.Process.Kill() // it may have ended
				<-r.ended
			}
		}
	}
	if r.epmd != nil {
		_ = r.epmd.Process.Kill() // it may have ended
		_ = r.epmd.Wait()
		r.epmd = nil
	}
}

// Close stops the broker and removes its data.
func (r *RabbitMQ) Close() error {
	r.stop()
	return os.RemoveAll(r.dir)
}
