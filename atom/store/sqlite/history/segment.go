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

// inspect determines the bounds of a segment. It reads the trailer of a sealed
// segment. It reads an unsealed one block by block, cuts off its torn end, and
// seals it.
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
	var t [trailerSize]byte
	if st.Size() >= trailerSize {
		if _, err := f.ReadAt(t[:], st.Size()-trailerSize); err != nil {
			return err
		}
		if order.Uint32(t[:]) == directory && order.Uint32(t[36:]) == crc32.Checksum(t[:36], castagnoli) {
			s.size, s.min, s.max = int64(order.Uint64(t[8:])), int64(order.Uint64(t[16:])), int64(order.Uint64(t[24:]))
			s.known, s.sealed = true, true
			return nil
		}
	}
	blocks, good, err := walk(f, st.Size())
	if err != nil {
		return err
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

// repair cuts the torn end off and writes the directory.
func (s *segment) repair(fsys disk.FS, good int64) error {
	f, err := fsys.Open(s.path)
	if err != nil {
		return err
	}
	err = f.Truncate(good)
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
	all := make([]byte, st.Size()-s.size)
	if _, err := f.ReadAt(all, s.size); err != nil || len(all) < trailerSize {
		return nil, errors.Join(fmt.Errorf("cannot read the directory of %s", s.path), err)
	}
	heads, t := all[:len(all)-trailerSize], all[len(all)-trailerSize:]
	if order.Uint32(t[4:]) != crc32.Checksum(heads, castagnoli) {
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

// seal writes the directory of the segment, and flushes it.
func (w *writer) seal() error {
	w.seg.mu.Lock()
	defer w.seg.mu.Unlock()
	w.seg.open = false
	if _, err := w.f.Write(w.seg.directory()); err != nil {
		return errors.Join(err, w.f.Close())
	}
	if err := errors.Join(w.f.Sync(), w.f.Close()); err != nil {
		return err
	}
	w.seg.sealed = true
	return nil
}
