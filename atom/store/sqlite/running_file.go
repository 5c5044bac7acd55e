package sqlite

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"sync"
)

// runningFile lists the executions that are running, in a file that is written
// but never flushed. It survives the death of the process, and so detects
// poison messages, but costs no commit. Each execution has a slot of eight
// bytes. A stale slot may name an ended execution, which is harmless. If the
// system allows, the first slots are mapped into memory, so that an update
// costs no system call.
type runningFile struct {
	mu     sync.Mutex
	f      *os.File
	mapped []byte // first slots; may be empty
	slots  map[int64]int64
	free   []int64
	next   int64
}

// openRunningFile opens and clears the file, and returns the executions that
// were running when the last process stopped.
func openRunningFile(path string) (*runningFile, []int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	b, err := io.ReadAll(f)
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	var seqs []int64
	for ; len(b) >= 8; b = b[8:] {
		if seq := int64(binary.LittleEndian.Uint64(b)); seq > 0 {
			seqs = append(seqs, seq)
		}
	}
	r := &runningFile{f: f, slots: map[int64]int64{}}
	// Written, not sparse: a full disk would fault on a hole later.
	if _, err := f.WriteAt(make([]byte, mappedBytes), 0); err == nil {
		r.mapped = mapShared(f, mappedBytes)
	}
	return r, seqs, nil
}

// mappedBytes is the size of the mapped part. It has room for more executions
// than an atom usually runs at once; further slots are written.
const mappedBytes = 64 << 10

func (r *runningFile) started(seq int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.slots[seq]; ok {
		return nil
	}
	var slot int64
	if n := len(r.free); n > 0 {
		slot = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		slot = r.next
		r.next++
	}
	r.slots[seq] = slot
	return r.write(slot, seq)
}

// stopped frees the slot of an execution that ended or was suspended.
func (r *runningFile) stopped(seq int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, ok := r.slots[seq]
	if !ok {
		return nil
	}
	delete(r.slots, seq)
	r.free = append(r.free, slot)
	return r.write(slot, 0)
}

func (r *runningFile) write(slot, seq int64) error {
	if r.writeMapped(slot*8, seq) {
		return nil
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(seq))
	_, err := r.f.WriteAt(b[:], slot*8)
	return err
}

// writeMapped writes to the mapped slots, and reports whether it did. If the
// file was truncated or the disk is full, the system raises a fault. The fault
// must not end the program: from then on slots are written.
func (r *runningFile) writeMapped(at, seq int64) (done bool) {
	if at >= int64(len(r.mapped)) {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			done = false
			_ = unmapShared(r.mapped) // the file has everything written so far
			r.mapped = nil
		}
	}()
	binary.LittleEndian.PutUint64(r.mapped[at:], uint64(seq))
	return true
}

func (r *runningFile) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := unmapShared(r.mapped)
	r.mapped = nil
	return errors.Join(err, r.f.Close())
}

// Started implements store.Journal. It writes a few bytes, and does not wait
// for the disk.
func (s *Store) Started(seq int64) {
	if err := s.running.started(seq); err != nil {
		s.o.Log.Error("cannot record a running execution", "error", err)
	}
}
