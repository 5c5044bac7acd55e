package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"valence/cloud"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
	"valence/internal/wire"
)

// Check reads everything in the folder of a control plane that is stopped, or of
// a backup, and reports per file. It changes nothing. It returns an error only
// if ctx ends. A backup lacks the key, which is kept elsewhere.
func Check(ctx context.Context, dir, keyFile string, c datafolder.Checker) error {
	inventory := c.CheckInventory(dir)
	checkKey(dir, keyFile, c)
	checkDatabase(ctx, dir, inventory, c)
	checkPackages(ctx, dir, c)
	return ctx.Err()
}

func checkKey(dir, keyFile string, c datafolder.Checker) {
	r := datafolder.FileReport{File: keyFile}
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return // elsewhere; the inventory says whether it must be here
	}
	r.Bytes = int64(len(key))
	if err == nil && len(key) != cloud.KeyBytes {
		err = fmt.Errorf("it has %d bytes, not %d", len(key), cloud.KeyBytes)
	}
	r.Fail(err)
	c.Report(r)
}

func checkDatabase(ctx context.Context, dir string, inventory *datafolder.Inventory, c datafolder.Checker) {
	r := datafolder.FileReport{File: databaseFile}
	name := filepath.Join(dir, databaseFile)
	c.Progress(databaseFile)
	if info, err := os.Stat(name); err == nil {
		r.Bytes = info.Size()
	}
	_, noLog := os.Stat(name + "-wal")
	found, err := sqlitedb.CheckFile(ctx, name, func(i *sqlitedb.Inspection) error {
		if i.Version != len(migrations) {
			r.Note = fmt.Sprintf("its schema version is %d, not %d: only its structure was checked", i.Version, len(migrations))
			return nil
		}
		if inventory != nil {
			r.Problems = append(r.Problems, inventory.CheckDatabase(i.Identity.ID, i.Identity.Starts, 0, noLog == nil)...)
		}
		for _, table := range []string{"object", "audit", "message", "request", "record", "result"} {
			err := i.Tx.Rows("SELECT body FROM "+table, nil, func(row sqlitedb.Row) (bool, error) {
				if r.Items++; !json.Valid(row.Bytes(0)) {
					r.Problems = append(r.Problems, fmt.Sprintf("row %d of table %s is damaged", r.Items, table))
				}
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	r.Problems = append(r.Problems, found...)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it is missing")
	}
	r.Fail(err)
	c.Report(r)
}

// checkPackages compares each package with its name, which is its hash.
func checkPackages(ctx context.Context, dir string, c datafolder.Checker) {
	r := datafolder.FileReport{File: packagesFolder}
	list, err := os.ReadDir(filepath.Join(dir, packagesFolder))
	r.Fail(err)
	for _, e := range list {
		if !wire.IsPackageID(e.Name()) || ctx.Err() != nil {
			continue
		}
		c.Progress(path.Join(packagesFolder, e.Name()))
		content, err := os.ReadFile(filepath.Join(dir, packagesFolder, e.Name()))
		r.Items++
		r.Bytes += int64(len(content))
		if err == nil && wire.PackageID(content) != e.Name() {
			err = errors.New("its content does not match its name")
		}
		if err != nil {
			one := datafolder.FileReport{File: path.Join(packagesFolder, e.Name()), Bytes: int64(len(content))}
			one.Fail(err)
			c.Report(one)
		}
	}
	c.Report(r)
}
