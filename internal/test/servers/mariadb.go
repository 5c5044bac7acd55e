// Package servers starts real servers for tests, each with its own data in a
// temporary folder and on a free loopback port.
package servers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// MariaDB is a MariaDB server. Its user is root.
type MariaDB struct {
	Port int
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// MariaDBPassword is the password of the user root.
const MariaDBPassword = "not-in-any-message"

// NewMariaDB creates the data of a server.
func NewMariaDB() (*MariaDB, error) {
	install, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		return nil, fmt.Errorf("MariaDB is not installed: run `make setup`: %w", err)
	}
	m := &MariaDB{}
	if m.dir, err = os.MkdirTemp("", "valence-mariadb"); err != nil {
		return nil, err
	}
	cmd := exec.Command(install, "--no-defaults", "--user="+owner(), "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+filepath.Join(m.dir, "data"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	init := "alter user root@localhost identified by '" + MariaDBPassword + "';\n"
	return m, os.WriteFile(filepath.Join(m.dir, "init.sql"), []byte(init), 0o600)
}

func owner() string {
	if os.Getuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}

// Start starts the server and waits until it accepts connections. If it exits, it
// is started again: for the first time on another port, later on the same one.
func (m *MariaDB) Start() error {
	first := m.Port == 0
	return startServer(func(deadline time.Time) error {
		if first {
			var err error
			if m.Port, err = freePort(); err != nil {
				return err
			}
		}
		if err := m.launch(); err != nil {
			return err
		}
		return awaitServer(deadline, m.done, func(ctx context.Context) error { return m.Exec(ctx, "create database if not exists shop") })
	}, func() { m.Kill(syscall.SIGKILL) }, filepath.Join(m.dir, "log"))
}

func (m *MariaDB) launch() error {
	daemon, err := exec.LookPath("mariadbd")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command(daemon, "--no-defaults", "--user="+owner(), "--datadir="+filepath.Join(m.dir, "data"), "--bind-address=127.0.0.1",
		"--port="+strconv.Itoa(m.Port), "--socket="+filepath.Join(m.dir, "socket"), "--pid-file="+filepath.Join(m.dir, "pid"),
		"--init-file="+filepath.Join(m.dir, "init.sql"), "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=32M")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.cmd = nil
		return err
	}
	done, cmd := make(chan struct{}), m.cmd
	m.done = done
	go func() {
		_ = cmd.Wait() // it was killed, or its port is in use
		close(done)
	}()
	return nil
}

// Exec runs statements as root.
func (m *MariaDB) Exec(ctx context.Context, statements ...string) error {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd, config.Timeout = "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(m.Port)), "root", MariaDBPassword, 5*time.Second
	config.Logger = nop{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	for _, s := range statements {
		if _, e := db.ExecContext(ctx, s); e != nil {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, db.Close())
}

type nop struct{}

// Print implements the driver's logger.
func (nop) Print(...any) {}

// Kill ends the server with a signal.
func (m *MariaDB) Kill(sig syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(sig) // it may have exited
	<-m.done
	m.cmd = nil
}

// Remove stops the server and removes its data.
func (m *MariaDB) Remove() {
	m.Kill(syscall.SIGKILL)
	os.RemoveAll(m.dir)
}
