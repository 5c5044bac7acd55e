package cloudtest

import (
	"context"
	"errors"
	"fmt"
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

// Postgres is a PostgreSQL server for tests, on a free port of loopback, with
// data of its own. As root it runs as the user nobody: it refuses root.
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

// RunPostgres is for TestMain: it runs the tests of a package with a server that
// is stopped afterwards, and gives the exit code.
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

// NewPostgres makes the data of a server.
func NewPostgres() (*Postgres, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: filepath.Join(filepath.Dir(initdb), "postgres")}
	if p.dir, err = os.MkdirTemp("", "valence-postgres"); err != nil {
		return nil, err
	}
	if p.Port, err = freePort(); err != nil {
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

// program finds a program of PostgreSQL, on the PATH or where Debian puts it.
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

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
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

// Start starts it and waits until it takes connections.
func (p *Postgres) Start() error {
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
	p.done = make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // it is killed
		close(p.done)
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := p.exec(ctx, "postgres", "SELECT 1")
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, text)
		}
	}
}

// Kill ends it by a signal: SIGKILL is a crash of all its processes, SIGQUIT a
// stop at once.
func (p *Postgres) Kill(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	children := p.children()
	_ = p.cmd.Process.Signal(sig) // it may have ended
	<-p.done
	p.cmd = nil
	for _, pid := range children { // they would go on until they notice
		if sig != syscall.SIGKILL {
			break
		}
		_ = syscall.Kill(pid, sig)
		for deadline := time.Now().Add(10 * time.Second); runs(pid) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
	}
}

// stat gives the state of a process and its parent, as proc(5) has them.
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

// runs reports whether a process is there and is not only waited for.
func runs(pid int) bool {
	state, _ := stat(pid)
	return state != "" && state != "Z"
}

// children are the processes of the server beside the first.
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

// URL names a database of the server.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", PostgresUser, PostgresPassword, p.Port, database)
}

// Exec runs statements in a database, as the server's owner.
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

// Database makes an empty database and gives its name.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("cloud_%d", p.made.Add(1))
	p.Exec(t, "postgres", "CREATE DATABASE "+name)
	return name
}

// Remove stops the server and removes its data.
func (p *Postgres) Remove() {
	p.Kill(syscall.SIGQUIT)
	os.RemoveAll(p.dir)
}

// Allow puts a line before the others of pg_hba.conf.
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
		_ = syscall.Kill(pid, sig) // it may have ended
	}
}
