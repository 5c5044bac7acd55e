package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// PgBouncer is a connection pooler in transaction mode.
type PgBouncer struct {
	Port int

	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// StartPgBouncer starts a pooler in front of a server, with more lines for the section
// [pgbouncer].
func StartPgBouncer(p *Postgres, settings string) (*PgBouncer, error) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/pgbouncer") // Debian's, without it in PATH
	}
	if err != nil {
		return nil, fmt.Errorf("PgBouncer is not installed (make setup installs it): %w", err)
	}
	b := &PgBouncer{}
	if b.dir, err = os.MkdirTemp("", "valence-pgbouncer"); err != nil {
		return nil, err
	}
	users := filepath.Join(b.dir, "users")
	err = startServer(func(deadline time.Time) error {
		if b.Port, err = freePort(); err != nil {
			return err
		}
		config := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = plain\nauth_file = %s\n"+
			"pool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 40\n%s\n", p.Port, b.Port, users, settings)
		err := errors.Join(os.WriteFile(filepath.Join(b.dir, "pgbouncer.ini"), []byte(config), 0o644),
			os.WriteFile(users, fmt.Appendf(nil, "%q %q\n", PostgresUser, PostgresPassword), 0o644), os.Chmod(b.dir, 0o755))
		if err != nil {
			return err
		}
		log, err := os.Create(filepath.Join(b.dir, "log"))
		if err != nil {
			return err
		}
		defer log.Close()
		b.cmd = p.command(path, filepath.Join(b.dir, "pgbouncer.ini")) // not as root, which it refuses
		b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = b.dir, log, log
		if err := b.cmd.Start(); err != nil {
			return err
		}
		done, cmd := make(chan struct{}), b.cmd
		b.done = done
		go func() {
			_ = cmd.Wait() // it was stopped, or its port is in use
			close(done)
		}()
		return awaitServer(deadline, b.done, func(ctx context.Context) error {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.Port)))
			if err != nil {
				return err
			}
			return c.Close()
		})
	}, b.stop, filepath.Join(b.dir, "log"))
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *PgBouncer) stop() {
	if b.cmd != nil && b.cmd.Process != nil {
		_ = b.cmd.Process.Signal(syscall.SIGKILL) // it may have exited
		<-b.done
		b.cmd = nil
	}
}

// Close stops the pooler.
func (b *PgBouncer) Close() {
	b.stop()
	os.RemoveAll(b.dir)
}
