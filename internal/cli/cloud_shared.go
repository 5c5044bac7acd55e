package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"valence/cloud/store/postgres"
	"valence/internal/sqlitedb"
)

// sharedStore is a database that several control planes share, and the lock of
// this one's data folder.
type sharedStore struct {
	*postgres.Store
	lock *sqlitedb.Lock
}

// Close closes both.
func (s *sharedStore) Close() error { return errors.Join(s.Store.Close(), s.lock.Release()) }

// openShared opens the database that is named.
func (p *plane) openShared() error {
	if _, err := os.Stat(filepath.Join(p.o.Data, "cloud.db")); err == nil {
		return failed("--data DIR with another folder, or no --store", "the data folder %s holds a control plane of its own; it cannot be moved into PostgreSQL", p.o.Data)
	}
	lock, err := sqlitedb.LockDir(p.o.Data)
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return failed("--data DIR with a folder of its own for each", "another control plane runs on the data folder: %v", locked)
	}
	if err != nil {
		return failed("--data DIR with a folder that can be written to", "%v", err)
	}
	st, err := postgres.Open(context.Background(), postgres.Options{URL: p.o.Store, Dir: p.o.Data, Log: p.log, OnCommit: p.metrics.Commit})
	if err != nil {
		try := "the log of the database"
		if e := (*postgres.Error)(nil); errors.As(err, &e) {
			try = e.Hint
		}
		return errors.Join(failed(try, "the database cannot be used: %v", err), lock.Release())
	}
	if st.Open() {
		p.log.Warn("the way to the database is not encrypted: whoever can read that network can read tokens' hashes, documents and records; add ?sslmode=verify-full to --store")
	}
	p.store, p.database = &sharedStore{st, lock}, st.Name()
	return nil
}

// key gives the key of the secrets, which all control planes of the database
// must have. The first one makes it.
func (s *sharedStore) key(ctx context.Context, path string) ([]byte, error) {
	agreed, err := s.HasKey(ctx)
	if err != nil {
		return nil, failed("the log of the database", "%v", err)
	}
	if _, err := os.Stat(path); agreed && errors.Is(err, fs.ErrNotExist) {
		return nil, failed("secrets.key of another control plane, copied to "+path+", or --secrets-key FILE",
			"the control planes of this database keep secrets under a key, and it is not here")
	}
	_, there := os.Stat(path)
	key, err := cloudKey(path)
	if err != nil {
		return nil, err
	}
	switch err := s.AgreeOnKey(ctx, keyCheck(key)); {
	case errors.Is(err, postgres.ErrKey):
		if there != nil { // it was made just now, while another one made its own
			_ = os.Remove(path)
		}
		return nil, failed("secrets.key of another control plane, copied to "+path, "%v: %s is not the one", err, path)
	case err != nil:
		return nil, failed("the log of the database", "%v", err)
	}
	return key, nil
}

// keyCheck follows from a key, and tells nothing of it.
func keyCheck(key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("valence control plane, check of the key of the secrets"))
	return m.Sum(nil)[:16]
}
