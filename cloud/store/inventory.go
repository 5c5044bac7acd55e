package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"valence/internal/atomicfile"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Names in the data folder.
const (
	databaseFile   = "cloud.db"
	packagesFolder = "packages"
)

// checkFolder compares the folder with its inventory, before anything is
// created in it. It returns the losses if they are accepted.
func (s *Store) checkFolder(o Options) (before *datafolder.Inventory, lost []string, err error) {
	before, err = datafolder.ReadInventory(s.dir)
	if err != nil {
		lost = append(lost, err.Error())
	}
	if before != nil {
		if o.KeyFile == "" { // it has moved elsewhere
			before.Keys = nil
		}
		lost = append(lost, before.Missing(s.dir)...)
	} else if l := datafolder.Orphans(s.dir, databaseFile, packagesFolder, o.KeyFile); l != "" {
		lost = append(lost, l)
	}
	return before, lost, s.verdict(o, lost)
}

// verdict returns an error if something is lost and that is not accepted.
func (s *Store) verdict(o Options, lost []string) error {
	if len(lost) == 0 || o.AcceptLoss {
		return nil
	}
	return datafolder.LossError(s.dir, lost)
}

// openDatabase opens the database and its identity. A malformed database is a
// loss; if that is accepted, it is set aside.
func (s *Store) openDatabase(o Options, before *datafolder.Inventory, lost []string) (sqlitedb.Identity, []string, error) {
	_, noLog := os.Stat(filepath.Join(s.dir, databaseFile+"-wal"))
	missing := datafolder.LostDatabase(s.dir, databaseFile) != ""
	open := func() (err error) {
		s.db, err = sqlitedb.Open(filepath.Join(s.dir, databaseFile), sqlitedb.Options{Migrations: migrations, OnCommit: o.OnCommit, Log: o.Log, VFS: o.VFS})
		return err
	}
	err := open()
	if sqlitedb.IsDamage(err) {
		lost, missing = append(lost, fmt.Sprintf("%s is malformed: %v", databaseFile, err)), true
		if err = s.verdict(o, lost); err == nil {
			err = errors.Join(datafolder.SetAside(s.dir, databaseFile, databaseFile+"-wal", databaseFile+"-shm"), open())
		}
	}
	if err != nil {
		return sqlitedb.Identity{}, lost, err
	}
	have, err := s.db.Identity()
	if err == nil && before != nil && !missing {
		lost = append(lost, before.CheckDatabase(have.ID, have.Starts, 0, noLog == nil)...)
		err = s.verdict(o, lost)
	}
	if err != nil {
		return have, lost, errors.Join(err, s.db.Close())
	}
	return have, lost, nil
}

// startInventory counts the start and writes the inventory.
func (s *Store) startInventory(o Options, have sqlitedb.Identity, before *datafolder.Inventory, lost []string) error {
	for _, what := range lost {
		o.Log.Error("started without lost data", "lost", what, "recorded_in", datafolder.LossesFile)
	}
	if len(lost) > 0 {
		if err := datafolder.RecordLosses(s.dir, lost); err != nil {
			return err
		}
	}
	have.Starts++
	if have.ID == 0 {
		have.ID = 1 + rand.Int64N(1<<62)
	}
	if before != nil {
		have.Starts = max(have.Starts, before.Starts+1)
	}
	if err := s.db.Setup(func(tx *sqlitedb.Tx) error { return sqlitedb.SetIdentity(tx, have) }); err != nil {
		return err
	}
	s.inventory = datafolder.Inventory{Database: databaseFile, ID: have.ID, Starts: have.Starts, Running: true}
	if before != nil && len(lost) == 0 {
		s.inventory.Keys = before.Keys
	}
	return writeInventory(s.dir, &s.inventory)
}

// writeInventory writes the inventory into a folder.
func writeInventory(folder string, v *datafolder.Inventory) error {
	text, err := v.Encode()
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(folder, datafolder.InventoryFile), text, 0o600)
}

// SetKey records the key of the folder's KeyFile, so that its loss is noticed
// at the next start. It must be called before Run.
func (s *Store) SetKey(file string, key []byte) error {
	s.inventory.Keys = map[string]string{file: datafolder.Digest(key)}
	return writeInventory(s.dir, &s.inventory)
}

// Backup implements cloud.Store. The copy lacks the key, but its inventory
// names it.
func (s *Store) Backup(ctx context.Context, folder string) error {
	var altered error
	err := datafolder.WriteBackup(folder, func(unfinished string) (err error) {
		altered, err = s.backupTo(ctx, unfinished)
		return err
	})
	if altered != nil && err == nil {
		return fmt.Errorf("the backup in %s lacks damaged packages: %w", folder, altered)
	}
	return errors.Join(err, altered)
}
