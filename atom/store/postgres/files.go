package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/pgdb"
)

var _ blob.Store = (*Store)(nil)

// chunkBytes is the content of a row of a stored file.
const chunkBytes = 1 << 20

// files are the stored files that scopes of this member have. A file is deleted
// when neither a member nor an execution has it.
type files struct {
	mu     sync.Mutex
	pinned map[string]int
	free   []string // not pinned any more, while the database cannot be reached
}

// PutFile implements blob.Store. The file belongs to the lease of the member.
func (s *Store) PutFile(ctx context.Context, r io.Reader) (name string, size int64, err error) {
	epoch := s.lease.current()
	if epoch == 0 {
		return "", 0, unavailable(store.ErrFenced)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	if err := s.write(ctx, "INSERT INTO atom_file(id, epoch) VALUES($1, $2)", id[:], epoch); err != nil {
		return "", 0, fileError(err)
	}
	sum, size, err := s.writeChunks(ctx, id, r)
	if err == nil {
		name = blob.NewName(id, sum)
		err = s.nameFile(ctx, id, epoch, name, size)
	}
	if err == nil {
		return name, size, nil
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewEvery)
	defer cancel()
	if e := s.write(clean, "DELETE FROM atom_file WHERE id = $1 AND name IS NULL", id[:]); e != nil {
		s.log.Warn("cannot delete an unfinished file; the end of the lease deletes it", "error", e)
	}
	return "", 0, err
}

// writeChunks stores the content of a file.
func (s *Store) writeChunks(ctx context.Context, id [16]byte, r io.Reader) (sum [32]byte, size int64, err error) {
	digest, buffer := sha256.New(), make([]byte, chunkBytes)
	for n := 0; ; n++ {
		read, err := io.ReadFull(r, buffer)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return sum, 0, &blob.ReadError{Err: err}
		}
		if read > 0 {
			digest.Write(buffer[:read])
			size += int64(read)
			if err := s.writeChunk(ctx, id, n, buffer[:read]); err != nil {
				return sum, 0, err
			}
		}
		if err != nil {
			return [32]byte(digest.Sum(nil)), size, nil
		}
	}
}

// writeChunk fails if the file was deleted because the lease has ended.
func (s *Store) writeChunk(ctx context.Context, id [16]byte, n int, content []byte) error {
	limit, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	_, err := s.pool.Exec(limit, "INSERT INTO atom_file_chunk(id, n, body) VALUES($1, $2, $3)", id[:], n, content)
	return fileError(err)
}

// nameFile makes a file complete and pins it.
func (s *Store) nameFile(ctx context.Context, id [16]byte, epoch int64, name string, size int64) error {
	limit, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	s.files.pin(name)
	tag, err := s.writes.Exec(limit, "UPDATE atom_file SET name = $2, size = $3 WHERE id = $1 AND epoch = $4", id[:], name, size, epoch)
	if err == nil && tag.RowsAffected() == 0 {
		err = unavailable(store.ErrFenced)
	}
	if err != nil {
		s.ReleaseFiles([]string{name}) // it may have been stored
	}
	return fileError(err)
}

// fileError returns blob.ErrFull for the error of a full disk.
func fileError(err error) error {
	if pgdb.Code(err) == "53100" { // disk_full
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}

func (f *files) pin(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pinned == nil {
		f.pinned = map[string]int{}
	}
	f.pinned[name]++
}

// pinAgain pins those of the names that are pinned already, and returns them.
func (f *files) pinAgain(names []string) (pinned []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if f.pinned[n] > 0 {
			f.pinned[n]++
			pinned = append(pinned, n)
		}
	}
	return pinned
}

// pinnedOf returns those of the names that are pinned.
func (f *files) pinnedOf(names []string) (pinned []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if f.pinned[n] > 0 {
			pinned = append(pinned, n)
		}
	}
	return pinned
}

// unpin returns the names that nothing pins any more.
func (f *files) unpin(names []string) (free []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if f.pinned[n]--; f.pinned[n] <= 0 {
			delete(f.pinned, n)
			free = append(free, n)
		}
	}
	return free
}

// ReleaseFiles implements blob.Store.
func (s *Store) ReleaseFiles(names []string) {
	free := s.files.unpin(names)
	if err := s.freeFiles(context.Background(), free); err != nil {
		s.log.Warn("cannot delete stored files; trying again later", "error", err)
		s.files.mu.Lock()
		s.files.free = append(s.files.free, free...)
		s.files.mu.Unlock()
	}
}

// freeFiles deletes files that this member does not pin any more, unless an
// execution has them.
func (s *Store) freeFiles(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := s.write(ctx, "UPDATE atom_file SET epoch = NULL WHERE name = ANY($1)", names); err != nil {
		return err
	}
	for _, n := range names {
		if err := s.deleteFile(ctx, "name = $1", n); err != nil {
			return err
		}
	}
	return nil
}

// deleteFile deletes a file that nobody has. A commit may refer to it meanwhile:
// then the foreign key prevents it.
func (s *Store) deleteFile(ctx context.Context, which string, arg any) error {
	err := s.write(ctx, "DELETE FROM atom_file AS f WHERE "+which+" AND "+unusedFile, arg)
	if pgdb.Code(err) == "23503" { // foreign_key_violation
		return nil
	}
	return err
}

// unusedFile is the condition of files that nobody has.
const unusedFile = `(f.epoch IS NULL OR NOT EXISTS (SELECT FROM atom_member AS m WHERE m.epoch = f.epoch))
	AND NOT EXISTS (SELECT FROM atom_file_use AS u WHERE u.name = f.name)`

// purgeFiles deletes the files that nobody has.
func (s *Store) purgeFiles(ctx context.Context) error {
	s.files.mu.Lock()
	free := s.files.free
	s.files.free = nil
	s.files.mu.Unlock()
	if err := s.freeFiles(ctx, free); err != nil {
		s.files.mu.Lock()
		s.files.free = append(s.files.free, free...)
		s.files.mu.Unlock()
		return err
	}
	var ids [][]byte
	var id []byte
	err := s.each(ctx, []any{&id}, func() error { ids = append(ids, slices.Clone(id)); return nil },
		"SELECT f.id FROM atom_file AS f WHERE "+unusedFile+" LIMIT $1", purgeRows)
	for _, id := range ids {
		if err != nil {
			break
		}
		err = s.deleteFile(ctx, "f.id = $1", id)
	}
	return err
}

// OpenFile implements blob.Store.
func (s *Store) OpenFile(name string) (io.ReadCloser, int64, error) {
	if !blob.IsName(name) {
		return nil, 0, blob.ErrLost
	}
	f := &storedFile{s: s, digest: sha256.New(), sum: blob.Sum(name)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	var size int64
	found, err := s.one(f.ctx, []any{&f.id, &size}, "SELECT id, size FROM atom_file WHERE name = $1", name)
	if err == nil && !found {
		err = blob.ErrLost
	}
	if err != nil {
		f.cancel()
		return nil, 0, err
	}
	f.id, f.left = slices.Clone(f.id), size
	return f, size, nil
}

// storedFile reads a file, a chunk at a time. The last chunk is returned only if
// the content is that of the name.
type storedFile struct {
	s      *Store
	ctx    context.Context // until Close
	cancel func()
	id     []byte
	next   int // chunk
	left   int64
	chunk  []byte
	digest hash.Hash
	sum    string
}

// Read implements io.Reader.
func (f *storedFile) Read(b []byte) (int, error) {
	if len(f.chunk) == 0 {
		if f.left <= 0 {
			return 0, io.EOF
		}
		var chunk []byte
		found, err := f.s.one(f.ctx, []any{&chunk}, "SELECT body FROM atom_file_chunk WHERE id = $1 AND n = $2", f.id, f.next)
		if err != nil {
			return 0, err
		}
		f.next++
		f.left -= int64(len(chunk))
		f.digest.Write(chunk)
		if !found || len(chunk) == 0 || f.left < 0 || f.left == 0 && hex.EncodeToString(f.digest.Sum(nil)) != f.sum {
			return 0, blob.ErrLost
		}
		f.chunk = chunk
	}
	n := copy(b, f.chunk)
	f.chunk = f.chunk[n:]
	return n, nil
}

// Close implements io.Closer.
func (f *storedFile) Close() error {
	f.cancel()
	return nil
}

// errLostFile is returned for a file that was deleted with the lease of this
// member, before an execution referred to it.
var errLostFile = errors.New("a received file was deleted, because the lease of this member had ended")

// use notes that an execution refers to the files of which parts of it contain
// the names. Anyone can write a name, so there may be no file.
func (t *transaction) use(seq int64, parts ...[]byte) {
	var found []string
	for _, p := range parts {
		found = blob.Names(found, p)
	}
	for _, n := range found {
		t.uses = append(t.uses, fileUse{seq, n})
	}
}

// fileUse is a file to which an execution refers.
type fileUse struct {
	seq  int64
	name string
}

// storeUses stores the files to which executions refer.
func (t *transaction) storeUses() error {
	if len(t.uses) == 0 {
		return nil
	}
	var found []string
	var seqs []int64
	for _, u := range t.uses {
		found, seqs = append(found, u.name), append(seqs, u.seq)
	}
	stored := map[string]bool{}
	name := ""
	err := t.each([]any{&name}, func() error { stored[name] = true; return nil }, `WITH mention AS (SELECT DISTINCT * FROM unnest($1::text[], $2::bigint[]) AS m(name, seq)),
		known AS (SELECT f.name FROM atom_file AS f WHERE f.name IN (SELECT name FROM mention) ORDER BY f.name FOR KEY SHARE),
		stored AS (INSERT INTO atom_file_use(name, seq) SELECT m.name, m.seq FROM mention AS m JOIN known USING (name) ON CONFLICT DO NOTHING)
		SELECT name FROM known`, found, seqs)
	if err != nil {
		return err
	}
	for _, n := range t.s.files.pinnedOf(found) {
		if !stored[n] {
			return unavailable(errLostFile)
		}
	}
	return nil
}

// dropUses deletes the references of an execution; the next purge deletes the
// files that have none left.
const dropUses = "DELETE FROM atom_file_use WHERE seq = $1"
