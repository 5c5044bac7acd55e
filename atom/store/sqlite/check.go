package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"valence/atom/store/sqlite/history"
	"valence/internal/blob"
	"valence/internal/datafolder"
	"valence/internal/sqlitedb"
)

// Check reads everything in the folder of a store that no program uses, or of a
// backup, and reports per file. It changes nothing. It returns an error only if
// ctx ends.
func Check(ctx context.Context, dir, keyFile string, c datafolder.Checker) error {
	inventory := c.CheckInventory(dir)
	x := check{dir: dir, Checker: c, ctx: ctx}
	x.key(keyFile)
	x.database(inventory)
	x.documents()
	x.storedFiles()
	x.history(inventory)
	return ctx.Err()
}

// check is a running check of a folder.
type check struct {
	datafolder.Checker
	dir  string
	ctx  context.Context
	refs map[string]bool // documents that the database refers to
	held map[string]bool // stored files that live executions refer to
}

func (x *check) key(name string) {
	r := datafolder.FileReport{File: name}
	key, err := os.ReadFile(filepath.Join(x.dir, name))
	r.Bytes = int64(len(key))
	if err == nil && len(key) != folderKeyBytes {
		err = fmt.Errorf("it has %d bytes, not %d", len(key), folderKeyBytes)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it is missing")
	}
	r.Fail(err)
	x.Report(r)
}

// database checks the structure of the database and decodes all its rows.
func (x *check) database(inventory *datafolder.Inventory) {
	r := datafolder.FileReport{File: databaseFile}
	name := filepath.Join(x.dir, databaseFile)
	x.Progress(databaseFile)
	if info, err := os.Stat(name); err == nil {
		r.Bytes = info.Size()
	}
	_, noLog := os.Stat(name + "-wal")
	found, err := sqlitedb.CheckFile(x.ctx, name, func(i *sqlitedb.Inspection) error {
		if i.Version != len(migrations) {
			r.Note = fmt.Sprintf("its schema version is %d, not %d: only its structure was checked", i.Version, len(migrations))
			return nil
		}
		next, err := setting(i.Tx, settingSeq)
		if err != nil {
			return err
		}
		if inventory != nil {
			r.Problems = append(r.Problems, inventory.CheckDatabase(i.Identity.ID, i.Identity.Starts, next, noLog == nil)...)
		}
		return x.rows(i.Tx, &r)
	})
	r.Problems = append(r.Problems, found...)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it is missing")
	}
	r.Fail(err)
	x.Report(r)
}

// rows decodes the messages, executions, journals and changes of the database.
func (x *check) rows(tx *sqlitedb.Tx, r *datafolder.FileReport) error {
	decode := func(query, what string, f func(sqlitedb.Row) error) error {
		return tx.Rows(query, nil, func(row sqlitedb.Row) (bool, error) {
			r.Items++
			if err := f(row); err != nil {
				r.Problems = append(r.Problems, fmt.Sprintf("%s %d: %v", what, row.Int(0), err))
			}
			return true, nil
		})
	}
	x.refs, x.held = map[string]bool{}, map[string]bool{}
	return errors.Join(
		decode("SELECT first, process, head, docs FROM intake", "messages", func(row sqlitedb.Row) error {
			_, err := decodeMessages(row.Bytes(2), row.Bytes(3), row.Int(0), row.Text(1))
			return err
		}),
		decode("SELECT "+rowColumns+" FROM execution", "execution", func(row sqlitedb.Row) error {
			_, err := scanRow(row)
			return err
		}),
		decode(fmt.Sprintf("SELECT id >> %d, body FROM journal", journalBits), "journal of execution", func(row sqlitedb.Row) error {
			d := checked(row.Bytes(1))
			d.entries()
			return d.err
		}),
		decode("SELECT id, body FROM change", "change", func(row sqlitedb.Row) error { return checked(row.Bytes(1)).err }),
		decode("SELECT 0, hash FROM file", "document of an execution", func(row sqlitedb.Row) error {
			x.refs[hex.EncodeToString(row.Bytes(1))] = true
			return nil
		}),
		decode("SELECT seq, name FROM stored_file", "file of execution", func(row sqlitedb.Row) error {
			if !blob.IsName(row.Text(1)) {
				return errDamaged
			}
			x.held[row.Text(1)] = true
			return nil
		}),
	)
}

// documents compares each document with its name, which is its hash, and looks
// for those that the database refers to.
func (x *check) documents() {
	x.folder(documentsFolder, x.refs, func(name string) string { return name })
}

// storedFiles does the same for the files that documents refer to.
func (x *check) storedFiles() {
	x.folder(blobsFolder, x.held, func(name string) string {
		if !blob.IsName(name) {
			return ""
		}
		return blob.Sum(name)
	})
}

// folder checks a folder of files whose names contain their hash, which sum
// returns, and looks for those in refs.
func (x *check) folder(folder string, refs map[string]bool, sum func(name string) string) {
	r := datafolder.FileReport{File: folder}
	names, err := filepath.Glob(filepath.Join(x.dir, folder, "*", "*"))
	r.Fail(err)
	for _, name := range names {
		base := filepath.Base(name)
		if strings.HasPrefix(base, unfinished) || x.ctx.Err() != nil {
			continue
		}
		x.Progress(path.Join(folder, base))
		delete(refs, base)
		size, err := verifyDocument(name, sum(base))
		r.Items++
		r.Bytes += size
		if err != nil {
			one := datafolder.FileReport{File: path.Join(folder, filepath.Base(filepath.Dir(name)), base), Bytes: size}
			one.Fail(err)
			x.Report(one)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		x.Report(datafolder.FileReport{File: path.Join(folder, sum(name)[:2], name), Problems: []string{"it is missing"}})
	}
	x.Report(r)
}

// verifyDocument compares a file with the hash in its name.
func verifyDocument(name, hash string) (size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return size, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != hash {
		return size, errors.New("its content does not match its name")
	}
	return size, nil
}

// history reads each segment.
func (x *check) history(inventory *datafolder.Inventory) {
	names, err := filepath.Glob(filepath.Join(x.dir, historyFolder, "*", "*.seg"))
	if err != nil {
		r := datafolder.FileReport{File: historyFolder}
		r.Fail(err)
		x.Report(r)
	}
	for _, name := range names {
		if x.ctx.Err() != nil {
			return
		}
		segment := path.Join(historyFolder, filepath.Base(filepath.Dir(name)), filepath.Base(name))
		x.Progress(segment)
		r := datafolder.FileReport{File: segment}
		if info, err := os.Stat(name); err == nil {
			r.Bytes = info.Size()
		}
		records, sealed, err := history.Verify(name)
		r.Items = records
		switch {
		case err == nil && !sealed && inventory != nil && inventory.Segments[segment].Sealed:
			err = errors.New("its end is damaged")
		case err == nil && !sealed:
			r.Note = "it was being written; a torn end is cut off at the next start"
		}
		r.Fail(err)
		x.Report(r)
	}
}
