package history

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sync"

	"valence/atom/store/sqlite/disk"
)

// segment is one file of a day.
type segment struct {
	path string

	mu     sync.Mutex
	size   int64 // of its blocks
	min    int64 // of the sequence numbers, once known
	max    int64
	known  bool // size, min and max are set
	sealed bool
	blocks []Block // nil: not loaded, unless it is open
	open   bool    // being written: blocks is complete
}

// inspect determines the bounds of a segment. It reads the directory of a sealed
// segment. It reads an unsealed one block by block, cuts off its torn end, and
// seals it. A power cut can tear the directory and leave its trailer: then the
// directory is written again, if all blocks are complete.
func (s *segment) inspect(fsys disk.FS) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		return nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	t, ok, err := readTrailer(f, st.Size())
	if err != nil {
		return err
	}
	if ok {
		_, intact, err := t.readHeaders(f, st.Size())
		if err != nil {
			return err
		}
		if intact {
			s.size, s.min, s.max = t.size, t.min, t.max
			s.known, s.sealed = true, true
			return nil
		}
	}
	blocks, good, err := walk(f, st.Size())
	if err != nil {
		return err
	}
	if ok && good != t.size {
		return fmt.Errorf("directory of %s: damaged, and the block at %d of %d", s.path, good, t.size)
	}
	s.size, s.blocks = good, blocks
	s.min, s.max = bounds(blocks)
	s.known = true
	if err := s.repair(fsys, good); err != nil {
		return fmt.Errorf("repair %s: %w", s.path, err)
	}
	s.sealed = true
	return nil
}

// trailer is the end of a directory.
type trailer struct {
	size     int64 // of the blocks
	min, max int64 // of the sequence numbers
	sum      uint32
}

// readTrailer reports whether a segment of a size has a trailer.
func readTrailer(r io.ReaderAt, size int64) (t trailer, ok bool, err error) {
	if size < trailerSize {
		return t, false, nil
	}
	var b [trailerSize]byte
	if _, err := r.ReadAt(b[:], size-trailerSize); err != nil {
		return t, false, err
	}
	if order.Uint32(b[:]) != directory || order.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli) {
		return t, false, nil
	}
	return trailer{int64(order.Uint64(b[8:])), int64(order.Uint64(b[16:])), int64(order.Uint64(b[24:])), order.Uint32(b[4:])}, true, nil
}

// readHeaders returns the headers of the blocks in a segment of a size, and
// whether they are undamaged.
func (t *trailer) readHeaders(r io.ReaderAt, size int64) (heads []byte, intact bool, err error) {
	n := size - trailerSize - t.size
	if n < 0 || n > size {
		return nil, false, nil
	}
	heads = make([]byte, n)
	if _, err := r.ReadAt(heads, t.size); err != nil && n > 0 {
		return nil, false, err
	}
	return heads, crc32.Checksum(heads, castagnoli) == t.sum, nil
}

// repair cuts the torn end off and writes the directory.
func (s *segment) repair(fsys disk.FS, good int64) error {
	f, err := fsys.Open(s.path)
	if err != nil {
		return err
	}
	err = f.Truncate(good)
	if err == nil {
		err = f.Sync() // of the blocks: a directory must not outlive them
	}
	if err == nil {
		_, err = f.Write(s.directory())
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// walk reads blocks from the start while they are complete.
func walk(r io.ReaderAt, size int64) (blocks []Block, good int64, err error) {
	for good < size {
		b, err := readHeader(r, good)
		if err == nil {
			_, err = b.read(r, false)
		}
		if err == nil {
			_, err = b.read(r, true)
		}
		if errors.Is(err, errTorn) {
			return blocks, good, nil
		} else if err != nil {
			return nil, 0, err
		}
		blocks = append(blocks, b)
		good += b.size()
	}
	return blocks, good, nil
}

func bounds(blocks []Block) (lo, hi int64) {
	lo, hi = math.MaxInt64, -1
	for i := range blocks {
		lo, hi = min(lo, blocks[i].min), max(hi, blocks[i].max)
	}
	return lo, hi
}

// directory returns the end of a sealed segment: all headers, and a trailer
// with their position.
func (s *segment) directory() []byte {
	var out []byte
	for i := range s.blocks {
		b := &s.blocks[i]
		at := len(out)
		out = append(out, make([]byte, b.header)...)
		b.put(out[at:])
	}
	t := make([]byte, trailerSize)
	order.PutUint32(t, directory)
	order.PutUint32(t[4:], crc32.Checksum(out, castagnoli))
	order.PutUint64(t[8:], uint64(s.size))
	order.PutUint64(t[16:], uint64(s.min))
	order.PutUint64(t[24:], uint64(s.max))
	order.PutUint32(t[32:], uint32(len(out)))
	order.PutUint32(t[36:], crc32.Checksum(t[:36], castagnoli))
	return append(out, t...)
}

// load returns the headers of the blocks.
func (s *segment) load() ([]Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocks != nil || s.open || s.size == 0 {
		return s.blocks[:len(s.blocks):len(s.blocks)], nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t, ok, err := readTrailer(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("directory of %s: %w", s.path, err)
	}
	heads, intact, err := t.readHeaders(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("directory of %s: %w", s.path, err)
	}
	if !ok || !intact {
		return nil, fmt.Errorf("directory of %s: damaged", s.path)
	}
	var blocks []Block
	for off := int64(0); len(heads) > 0; {
		var b Block
		n := order.Uint32(heads[4:])
		if err := b.parse(heads[:n], off); err != nil {
			return nil, fmt.Errorf("directory of %s: %w", s.path, err)
		}
		blocks = append(blocks, b)
		off += b.size()
		heads = heads[n:]
	}
	s.blocks = blocks
	return blocks, nil
}

// drop releases the headers; load reads them again.
func (s *segment) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed && !s.open {
		s.blocks = nil
	}
}

func (s *segment) bounds() (lo, hi int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.min, s.max
}

// writer appends to a segment.
type writer struct {
	seg *segment
	f   disk.File
	enc encoder
}

func create(fsys disk.FS, path string) (*writer, error) {
	f, err := fsys.Create(path)
	if err != nil {
		return nil, err
	}
	return &writer{seg: &segment{path: path, known: true, open: true, min: math.MaxInt64, max: -1}, f: f}, nil
}

// append writes records, in order of seq, as one block. They are readable when
// it returns, and on disk after a sync.
func (w *writer) append(records []*Record) error {
	buf, b := w.enc.encode(records)
	if _, err := w.f.Write(buf); err != nil {
		return err
	}
	s := w.seg
	s.mu.Lock()
	defer s.mu.Unlock()
	b.off = s.size
	s.size += b.size()
	s.min, s.max = min(s.min, b.min), max(s.max, b.max)
	s.blocks = append(s.blocks, b)
	return nil
}

// seal flushes the blocks of the segment, then writes the directory and flushes
// it. Without the first flush, a directory could survive a power cut without its
// blocks.
func (w *writer) seal() error {
	w.seg.mu.Lock()
	defer w.seg.mu.Unlock()
	w.seg.open = false
	if err := w.f.Sync(); err != nil {
		return errors.Join(err, w.f.Close())
	}
	if _, err := w.f.Write(w.seg.directory()); err != nil {
		return errors.Join(err, w.f.Close())
	}
	if err := errors.Join(w.f.Sync(), w.f.Close()); err != nil {
		return err
	}
	w.seg.sealed = true
	return nil
}
