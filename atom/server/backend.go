package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"valence/atom"
	"valence/atom/admin"
	"valence/atom/agent/cloudclient"
	"valence/atom/store"
	"valence/atom/store/postgres"
	"valence/atom/store/sqlite"
	"valence/internal/atomicfile"
	"valence/internal/blob"
	"valence/internal/clierror"
	"valence/internal/metrics"
	"valence/internal/pgdb"
	"valence/internal/sqlitedb"
)

// GroupOptions configure a member of a group of atoms.
type GroupOptions struct {
	Store          string // address of the database; empty: no group, the data folder has the store
	Name           string
	AllowPlaintext bool // allow a connection beyond loopback without TLS
}

// backend is the store of an atom with everything that depends on its kind.
type backend struct {
	store.Store
	key    []byte
	token  string // of the admin API
	blobs  blob.Store
	backup admin.Backup // nil: the database has its own tools
	stats  func(*metrics.Store)
	group  *postgres.Store // nil: no group
	lock   *sqlitedb.Lock  // of the data folder of a member
}

// Close closes the store, and releases the data folder.
func (b *backend) Close() error {
	err := b.Store.Close()
	if b.lock != nil {
		err = errors.Join(err, b.lock.Release())
	}
	return err
}

// MemberFile is the file in the data folder of a member that names its group.
// The folder holds no executions.
const MemberFile = "group.member"

// GroupOf returns the group whose member a data folder belongs to; empty if it is
// that of an atom with a store of its own.
func GroupOf(folder string) string {
	text, err := os.ReadFile(filepath.Join(folder, MemberFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// notAlone returns an error if a data folder belongs to a member of a group.
func notAlone(folder string) error {
	if group := GroupOf(folder); group != "" {
		return clierror.Failed("valence run --store postgres://… --group "+group+", or --data DIR with another folder",
			"the data folder %s belongs to a member of the group %s, whose executions are in its database", folder, group)
	}
	return nil
}

// CheckAlone returns an error if a data folder has no store, because it belongs to
// a member of a group.
func CheckAlone(folder string) error {
	if group := GroupOf(folder); group != "" {
		return clierror.Failed("the tools of PostgreSQL on the database of the group, such as pg_basebackup, pg_dump and pg_amcheck",
			"the data folder %s belongs to a member of the group %s, whose executions are in its database", folder, group)
	}
	return nil
}

// openBackend opens the store of the options.
func (s *Server) openBackend() (*backend, error) {
	if s.o.Group.Store != "" {
		return s.openGroup()
	}
	if err := notAlone(s.o.Data); err != nil {
		return nil, err
	}
	st, err := sqlite.Open(s.o.Data, sqlite.Options{
		BareTrace: atom.BareTrace, KeyFile: KeyFile, AcceptLoss: s.o.AcceptLoss,
		Log: s.log, HistoryMaxBytes: s.o.HistoryMaxBytes, OnCommit: s.metrics.Commit,
	})
	if err != nil {
		return nil, OpenError(s.o.Data, err)
	}
	token, err := admin.Token(s.o.Data)
	if err != nil {
		return nil, errors.Join(clierror.AsFailed(err, "--data DIR with a folder that this user owns"), st.Close())
	}
	return &backend{Store: st, key: st.Key(), token: token, blobs: st, backup: st.Backup, stats: func(m *metrics.Store) {
		stats := st.Stats()
		m.HistoryBytes, m.RecordsDropped, m.ClockJumps = stats.HistoryBytes, stats.Dropped, stats.ClockJumps
		if free, size, err := sqlitedb.Free(s.o.Data); err == nil {
			m.DiskFree, m.DiskSize = free, size
		}
	}}, nil
}

// openGroup joins the group of the options.
func (s *Server) openGroup() (*backend, error) {
	if err := s.checkMember(); err != nil {
		return nil, err
	}
	lock, err := sqlitedb.LockDir(s.o.Data)
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return nil, clierror.Failed("--data DIR with a folder for each member", "another atom uses the data folder: %v", locked)
	}
	if err != nil {
		return nil, clierror.Failed("--data DIR with a writable folder", "%v", err)
	}
	b, err := s.joinGroup()
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	b.lock = lock
	return b, nil
}

// checkMember returns an error if the data folder cannot be that of a member.
func (s *Server) checkMember() error {
	for _, name := range []string{"hot.db", "history", KeyFile} {
		if _, err := os.Stat(filepath.Join(s.o.Data, name)); err == nil {
			return clierror.Failed("--data DIR with another folder; valence migrate moves an atom to a group", "the data folder %s has a store of its own", s.o.Data)
		}
	}
	if _, err := cloudclient.LoadIdentity(s.o.Data); !errors.Is(err, cloudclient.ErrNotJoined) {
		return clierror.Failed("--data DIR with another folder, and a project", "the data folder %s is enrolled with a control plane, which cannot deploy to a group", s.o.Data)
	}
	if other := GroupOf(s.o.Data); other != "" && other != s.o.Group.Name {
		return clierror.Failed("--group "+other+", or --data DIR with another folder", "the data folder %s belongs to a member of the group %s", s.o.Data, other)
	}
	return nil
}

func (s *Server) joinGroup() (*backend, error) {
	g := s.o.Group
	folder, err := filepath.Abs(s.o.Data)
	if err != nil {
		return nil, clierror.Failed("--data DIR with an absolute path", "%v", err)
	}
	st, err := postgres.Open(context.Background(), postgres.Options{
		URL: g.Store, Group: g.Name, Member: hostname() + ":" + folder, Version: s.o.Version, BareTrace: atom.BareTrace, Log: s.log, OnCommit: s.metrics.Commit,
		Check: func(conn *pgdb.Conn) error {
			if g.AllowPlaintext {
				return nil
			}
			return pgdb.CheckEncrypted(conn, "--store", "--store-allow-plaintext")
		},
	})
	if err != nil {
		return nil, databaseError(err)
	}
	for name, text := range map[string]string{MemberFile: g.Name, admin.TokenFile: st.Token()} {
		if err := atomicfile.Write(filepath.Join(s.o.Data, name), []byte(text+"\n"), 0o600); err != nil {
			return nil, errors.Join(clierror.Failed("--data DIR with a writable folder", "%v", err), st.Close())
		}
	}
	if st.MayLose() {
		s.log.Warn("the database has no synchronous standby: a failover can lose acknowledged messages; set synchronous_standby_names", "database", st.String())
	}
	return &backend{Store: st, key: st.Key(), token: st.Token(), blobs: st, group: st, stats: func(m *metrics.Store) {
		m.RecordsDropped, m.GroupMembers = st.Dropped(), st.Members()
	}}, nil
}

// databaseError returns the error of a database with its hint.
func databaseError(err error) error {
	if e := (*pgdb.Error)(nil); errors.As(err, &e) {
		return clierror.Failed(e.Hint, "%s", e.Text)
	}
	if errors.Is(err, fs.ErrPermission) {
		return clierror.Failed("check the files that the address of the database names", "%v", err)
	}
	return clierror.Failed("read the log of the database", "cannot use the database: %v", err)
}
