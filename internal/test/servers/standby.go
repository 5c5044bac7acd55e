package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Standby starts a server that replicates this one. Until it is promoted, commits
// here wait until they are on its disk too.
func (p *Postgres) Standby() (*Postgres, error) {
	backup, err := program("pg_basebackup")
	if err != nil {
		return nil, err
	}
	s := &Postgres{bin: p.bin}
	if s.dir, err = os.MkdirTemp("", "valence-postgres"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		uid, gid := nobody()
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	cmd := s.command(backup, "--pgdata", filepath.Join(s.dir, "data"), "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--dbname", p.URL("postgres"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Remove()
		return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	if err := s.Start(); err != nil {
		s.Remove()
		return nil, err
	}
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := p.Try("postgres", statement); err != nil {
			s.Remove()
			return nil, err
		}
	}
	const synchronous = "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync') THEN RAISE 'no standby is synchronous'; END IF; END $$"
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := p.Try("postgres", synchronous)
		if err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			s.Remove()
			return nil, err
		}
	}
}

// Promote makes a standby a server that accepts writes.
func (p *Postgres) Promote() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// The promoted server has no standby: it would wait for one.
	for _, statement := range []string{"SELECT pg_promote()", "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"} {
		if err := p.exec(ctx, "postgres", statement); err != nil {
			return err
		}
	}
	return nil
}
