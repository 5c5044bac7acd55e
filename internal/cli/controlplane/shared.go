package controlplane

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"valence/cloud"
	"valence/cloud/store/postgres"
	"valence/internal/clierror"
	"valence/internal/datafolder"
	"valence/internal/pgdb"
	"valence/internal/sqlitedb"
)

// seeDatabaseLog is the hint for failures of the shared database.
const seeDatabaseLog = "read the log of the database"

// sharedStore is a database shared by several control planes, with the lock of
// this one's data folder.
type sharedStore struct {
	*postgres.Store
	lock *sqlitedb.Lock
}

// Close closes the database and releases the lock.
func (s *sharedStore) Close() error { return errors.Join(s.Store.Close(), s.lock.Release()) }

// openShared opens the database of --store.
func (p *plane) openShared() error {
	if _, err := os.Stat(filepath.Join(p.o.Data, "cloud.db")); err == nil {
		return clierror.Failed("--data DIR with another folder, or no --store", "the data folder %s has a store of its own, which cannot be moved to PostgreSQL", p.o.Data)
	}
	lock, err := sqlitedb.LockDir(p.o.Data)
	if locked := (*sqlitedb.LockedError)(nil); errors.As(err, &locked) {
		return clierror.Failed("--data DIR with a folder for each control plane", "another control plane uses the data folder: %v", locked)
	}
	if err != nil {
		return clierror.Failed("--data DIR with a writable folder", "%v", err)
	}
	st, err := postgres.Open(context.Background(), postgres.Options{URL: p.o.Store, Dir: p.o.Data, Log: p.log, OnCommit: p.metrics.Commit})
	if err != nil {
		hint := seeDatabaseLog
		if e := (*pgdb.Error)(nil); errors.As(err, &e) {
			hint = e.Hint
		}
		return errors.Join(clierror.Failed(hint, "cannot open the database: %v", err), lock.Release())
	}
	if st.Unencrypted() {
		p.log.Warn("the connection to the database is not encrypted: others on that network can read token hashes, documents and records; add ?sslmode=verify-full to --store")
	}
	p.store, p.database = &sharedStore{st, lock}, st.Name()
	return nil
}

// key returns the key of the secrets, which all control planes of the database
// share. The first one creates it.
func (s *sharedStore) key(ctx context.Context, path string) ([]byte, error) {
	agreed, err := s.HasKey(ctx)
	if err != nil {
		return nil, clierror.Failed(seeDatabaseLog, "%v", err)
	}
	copyKey := "copy secrets.key of another control plane to " + path
	_, missing := os.Stat(path)
	if agreed && errors.Is(missing, fs.ErrNotExist) {
		return nil, clierror.Failed(copyKey+", or --secrets-key FILE", "the key of this database's secrets is missing")
	}
	key, err := datafolder.Key(path, cloud.KeyBytes)
	if err != nil {
		return nil, err
	}
	switch err := s.AgreeOnKey(ctx, keyCheck(key)); {
	case errors.Is(err, postgres.ErrKey):
		if missing != nil { // created now, while another control plane created its own
			_ = os.Remove(path)
		}
		return nil, clierror.Failed(copyKey, "%v: %s has another one", err, path)
	case err != nil:
		return nil, clierror.Failed(seeDatabaseLog, "%v", err)
	}
	return key, nil
}

// keyCheck returns a value that identifies the key without revealing it.
func keyCheck(key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("valence control plane, check of the key of the secrets"))
	return m.Sum(nil)[:16]
}
