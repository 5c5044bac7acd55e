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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"valence/cloud"
	"valence/internal/wire"
)

// Archives are kept in parts, so that nobody holds one in memory whole to read
// it.
const (
	chunkSize   = 512 << 10
	archiveTime = 2 * time.Minute
)

// PutArchive implements cloud.Archives.
func (s *Store) PutArchive(ctx context.Context, sha string, archive []byte) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return putArchive(ctx, tx, sha, archive) })
}

// putArchive stores an archive that is not there, or was altered.
func putArchive(ctx context.Context, tx pgx.Tx, sha string, archive []byte) error {
	if !wire.IsPackageID(sha) {
		return fmt.Errorf("%q is no name of a package: %w", sha, cloud.ErrNotFound)
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
	b := &pgx.Batch{}
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
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// readArchive writes an archive to w and holds it against its name.
func readArchive(ctx context.Context, q querier, sha string, w io.Writer) error {
	rows, err := q.Query(ctx, "SELECT body FROM cloud_chunk WHERE sha = $1 ORDER BY n", sha)
	if err != nil {
		return err
	}
	defer rows.Close()
	sum := sha256.New()
	for rows.Next() {
		var part pgtype.DriverBytes // valid until the next row: it is not kept
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
		return fmt.Errorf("the package %s is not, or not any more, what was stored: %w; upload the version again", sha, cloud.ErrAltered)
	}
	return nil
}

// Archive implements cloud.Archives. What is read goes through a file that
// nobody else sees.
func (s *Store) Archive(ctx context.Context, sha string) (io.ReadSeekCloser, error) {
	if !wire.IsPackageID(sha) {
		return nil, fmt.Errorf("%q is no name of a package: %w", sha, cloud.ErrNotFound)
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

// DropArchive implements cloud.Archives. Another control plane may just have
// stored a package with the same content: then it stays.
func (s *Store) DropArchive(ctx context.Context, sha string) error {
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
	b := &pgx.Batch{}
	b.Queue("DELETE FROM cloud_chunk WHERE sha = $1", sha)
	b.Queue("DELETE FROM cloud_archive WHERE sha = $1", sha)
	if err := t.tx.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	return t.tx.Commit(ctx)
}
