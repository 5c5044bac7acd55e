package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL server for tests with its own data, on a free
// loopback port. Since it refuses root, it then runs as the user nobody.
type Postgres struct {
	Port int
	dir  string
	bin  string
	cmd  *exec.Cmd
	done chan struct{}
	made atomic.Int64
}

// The user of the server; any password would do.
const (
	PostgresUser     = "valence"
	PostgresPassword = "not-in-any-log"
)

// RunPostgres is for TestMain: it runs the tests of a package with a server and
// returns the exit code.
func RunPostgres(m *testing.M, server **Postgres) int {
	p, err := NewPostgres()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer p.Remove()
	*server = p
	return m.Run()
}

// NewPostgres creates the data of a server in a temporary folder.
func NewPostgres() (*Postgres, error) { return NewPostgresIn("") }

// NewPostgresIn creates the data of a server in a new folder within another one.
func NewPostgresIn(parent string) (*Postgres, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: filepath.Join(filepath.Dir(initdb), "postgres")}
	if p.dir, err = os.MkdirTemp(parent, "valence-postgres"); err != nil {
		return nil, err
	}
	password := filepath.Join(p.dir, "password")
	if err := os.WriteFile(password, []byte(PostgresPassword), 0o644); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		uid, gid := nobody()
		if err := os.Chown(p.dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	cmd := p.command(initdb, "-D", filepath.Join(p.dir, "data"), "-U", PostgresUser, "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return p, nil
}

// program returns the path of a PostgreSQL program, from PATH or Debian's
// folder.
func program(name string) (string, error) {
	found, newest := "", 0.0
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	for _, path := range all {
		version, err := strconv.ParseFloat(strings.Split(path, "/")[4], 64)
		if err == nil && version > newest {
			found, newest = path, version
		}
	}
	if found != "" {
		return found, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("PostgreSQL is not installed (make setup installs it): %w", err)
	}
	return filepath.EvalSymlinks(path)
}

func nobody() (uid, gid uint32) {
	uid, gid = 65534, 65534
	if u, err := user.Lookup("nobody"); err == nil {
		a, _ := strconv.ParseUint(u.Uid, 10, 32)
		b, _ := strconv.ParseUint(u.Gid, 10, 32)
		uid, gid = uint32(a), uint32(b)
	}
	return uid, gid
}

// freePort returns a free port below those that the system assigns, so that it
// stays free until the server starts, and while it is restarted.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 {
		uid, gid := nobody()
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return cmd
}

// Start starts the server and waits until it accepts connections. If it exits, it
// is started again: for the first time on another port, later on the same one.
func (p *Postgres) Start() error {
	first := p.Port == 0
	return startServer(func(deadline time.Time) error {
		if first {
			var err error
			if p.Port, err = freePort(); err != nil {
				return err
			}
		}
		if err := p.launch(); err != nil {
			return err
		}
		return awaitServer(deadline, p.done, func(ctx context.Context) error { return p.exec(ctx, "postgres", "SELECT 1") })
	}, func() { p.Kill(syscall.SIGQUIT) }, filepath.Join(p.dir, "log"))
}

func (p *Postgres) launch() error {
	out, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd = p.command(p.bin, "-D", filepath.Join(p.dir, "data"), "-p", strconv.Itoa(p.Port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories="+p.dir, "-c", "max_connections=200")
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return err
	}
	done, cmd := make(chan struct{}), p.cmd
	p.done = done
	go func() {
		_ = cmd.Wait() // it was killed, or its port is in use
		close(done)
	}()
	return nil
}

// Kill ends the server with a signal: SIGKILL crashes all its processes,
// SIGQUIT stops it at once.
func (p *Postgres) Kill(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	children := p.children()
	_ = p.cmd.Process.Signal(sig) // it may have exited
	<-p.done
	p.cmd = nil
	for _, pid := range children { // they would run until they notice
		if sig != syscall.SIGKILL {
			break
		}
		_ = syscall.Kill(pid, sig)
		for deadline := time.Now().Add(10 * time.Second); runs(pid) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
	}
}

// stat returns the state and parent of a process, see proc(5).
func stat(pid int) (state string, parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, found := strings.Cut(string(text), ") ")
	if err != nil || !found {
		return "", 0
	}
	f := strings.Fields(rest)
	parent, _ = strconv.Atoi(f[1])
	return f[0], parent
}

// runs reports whether a process exists and is not a zombie.
func runs(pid int) bool {
	state, _ := stat(pid)
	return state != "" && state != "Z"
}

// children returns the server's child processes.
func (p *Postgres) children() []int {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n.Name()); err == nil {
			if _, parent := stat(pid); parent == p.cmd.Process.Pid {
				all = append(all, pid)
			}
		}
	}
	return all
}

// URL returns the address of a database.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", PostgresUser, PostgresPassword, p.Port, database)
}

// Exec runs statements in a database as the server's owner.
func (p *Postgres) Exec(t testing.TB, database, statements string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.exec(ctx, database, statements); err != nil {
		t.Fatal(err)
	}
}

func (p *Postgres) exec(ctx context.Context, database, statements string) error {
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statements)
	return errors.Join(err, conn.Close(ctx))
}

// Try runs statements in a database, and returns their error.
func (p *Postgres) Try(database, statements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return p.exec(ctx, database, statements)
}

// Database creates an empty database and returns its name.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", p.made.Add(1))
	p.Exec(t, "postgres", "CREATE DATABASE "+name)
	return name
}

// Create creates a database and runs statements in it.
func (p *Postgres) Create(database, statements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.exec(ctx, "postgres", "CREATE DATABASE "+database); err != nil {
		return err
	}
	return p.exec(ctx, database, statements)
}

// Remove stops the server and removes its data.
func (p *Postgres) Remove() {
	p.Kill(syscall.SIGQUIT)
	os.RemoveAll(p.dir)
}

// Allow inserts a line at the start of pg_hba.conf.
func (p *Postgres) Allow(t testing.TB, line string) {
	t.Helper()
	path := filepath.Join(p.dir, "data", "pg_hba.conf")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte(line+"\n"), text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Exec(t, "postgres", "SELECT pg_reload_conf()")
}

// Signal sends a signal to all processes of the server.
func (p *Postgres) Signal(sig syscall.Signal) {
	for _, pid := range append(p.children(), p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, sig) // it may have exited
	}
}
