package sqlite

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"sync"
)

// running notes which executions run, in a file that is written and never
// flushed: it outlives the process, which is what a message that kills it
// needs, and it costs no commit. Each execution has a slot of eight bytes; a
// slot that is not reused may name one that has ended, which does no harm.
// The first slots are memory that is shared with the file, where the system
// has that, so that noting costs no call of it either.
type running struct {
	mu    sync.Mutex
	f     *os.File
	view  []byte // of the first slots; may be empty
	slots map[int64]int64
	free  []int64
	next  int64
}

// openRunning opens the file and gives what it names: what ran when the last
// process stopped.
func openRunning(path string) (*running, []int64, error) {
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
	r := &running{f: f, slots: map[int64]int64{}}
	// Written, not left as a hole, in which a disk that is full would be met later.
	if _, err := f.WriteAt(make([]byte, viewBytes), 0); err == nil {
		r.view = mapShared(f, viewBytes)
	}
	return r, seqs, nil
}

// viewBytes is the part of the file that is shared memory: room for as many
// executions as an atom seldom runs at once. The rest is written.
const viewBytes = 64 << 10

func (r *running) started(seq int64) error {
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
	return r.put(slot, seq)
}

// stopped frees the slot of one that ended or was parked.
func (r *running) stopped(seq int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, ok := r.slots[seq]
	if !ok {
		return nil
	}
	delete(r.slots, seq)
	r.free = append(r.free, slot)
	return r.put(slot, 0)
}

func (r *running) put(slot, seq int64) error {
	if r.store(slot*8, seq) {
		return nil
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(seq))
	_, err := r.f.WriteAt(b[:], slot*8)
	return err
}

// store puts a note into the shared memory, and tells whether it is there.
// Where the file is cut off, or the disk has no room for a page that it copies
// on writing, the system answers with a fault, which must not end the program:
// from then on notes are written.
func (r *running) store(at, seq int64) (done bool) {
	if at >= int64(len(r.view)) {
		return false
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			done = false
			_ = unmapShared(r.view) // what is written is in the file either way
			r.view = nil
		}
	}()
	binary.LittleEndian.PutUint64(r.view[at:], uint64(seq))
	return true
}

func (r *running) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := unmapShared(r.view)
	r.view = nil
	return errors.Join(err, r.f.Close())
}

// Started notes that an execution begins to run, until it ends or is parked.
// Whatever is noted when the process dies counts an unclean stop. It writes a
// few bytes and waits for no disk.
func (s *Store) Started(seq int64) {
	if err := s.running.started(seq); err != nil {
		s.log.Error("what runs cannot be noted", "error", err)
	}
}
