package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"valence/cloud"
	"valence/internal/pgdb"
	"valence/internal/wire"
)

// Archives are stored in chunks, so that reading one needs little memory.
const (
	chunkSize   = 512 << 10
	archiveTime = 2 * time.Minute
)

// PutArchive implements cloud.Archives.
func (s *Store) PutArchive(ctx context.Context, sha string, archive []byte) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	return pgdb.Begin(ctx, s.pool, func(tx pgdb.Tx) error { return putArchive(ctx, tx, sha, archive) })
}

// putArchive stores an archive that is missing or altered.
func putArchive(ctx context.Context, tx pgdb.Tx, sha string, archive []byte) error {
	if !wire.IsPackageID(sha) {
		return fmt.Errorf("%q is not a package id: %w", sha, cloud.ErrNotFound)
	}
	if wire.PackageID(archive) != sha {
		return fmt.Errorf("store the package %s: %w", sha, cloud.ErrAltered)
	}
	switch err := readArchive(ctx, tx, sha, io.Discard); {
	case err == nil:
		return nil
	case !errors.Is(err, cloud.ErrAltered):
		return err
	}
	b := &pgdb.Batch{}
	b.Queue("DELETE FROM cloud_chunk WHERE sha = $1", sha)
	b.Queue("INSERT INTO cloud_archive VALUES($1, $2) ON CONFLICT (sha) DO UPDATE SET size = excluded.size", sha, len(archive))
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for n, part := range chunks(archive, chunkSize) {
		if _, err := tx.Exec(ctx, "INSERT INTO cloud_chunk VALUES($1, $2, $3)", sha, n, part); err != nil {
			return err
		}
	}
	return nil
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgdb.Rows, error)
}

// readArchive writes an archive to w and verifies its hash.
func readArchive(ctx context.Context, q querier, sha string, w io.Writer) error {
	rows, err := q.Query(ctx, "SELECT body FROM cloud_chunk WHERE sha = $1 ORDER BY n", sha)
	if err != nil {
		return err
	}
	defer rows.Close()
	sum := sha256.New()
	for rows.Next() {
		var part pgdb.DriverBytes // valid until the next row
		if err := rows.Scan(&part); err != nil {
			return err
		}
		sum.Write(part)
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != sha {
		return fmt.Errorf("verify the package %s: %w; upload the version again", sha, cloud.ErrAltered)
	}
	return nil
}

// Archive implements cloud.Archives. The content is read through an unlinked
// temporary file.
func (s *Store) Archive(ctx context.Context, sha string) (io.ReadSeekCloser, error) {
	if !wire.IsPackageID(sha) {
		return nil, fmt.Errorf("%q is not a package id: %w", sha, cloud.ErrNotFound)
	}
	f, err := os.CreateTemp(s.o.Dir, ".package-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	err = readArchive(ctx, s.pool, sha, f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	} else if !errors.Is(err, cloud.ErrAltered) {
		err = fmt.Errorf("%w: %w", cloud.ErrUnavailable, err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// DeleteArchive implements cloud.Archives. The archive remains if another
// control plane has just stored a package with the same content.
func (s *Store) DeleteArchive(ctx context.Context, sha string) error {
	t, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer t.End()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	used := false
	err = t.tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM cloud_object WHERE kind = 'package' AND body IS NOT NULL AND convert_from(body, 'UTF8')::json->>'sha256' = $1)`, sha).Scan(&used)
	if err != nil || used {
		return err
	}
	b := &pgdb.Batch{}
	b.Queue("DELETE FROM cloud_chunk WHERE sha = $1", sha)
	b.Queue("DELETE FROM cloud_archive WHERE sha = $1", sha)
	if err := t.tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	return t.tx.Commit(ctx)
}
