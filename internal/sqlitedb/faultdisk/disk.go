// Package faultdisk is a disk for tests. It fails on request, and records every
// write and flush, so that it can reproduce the folder after a power cut.
// SQLite uses it as a VFS, and Go code through the methods of Disk. Both write
// to real files, which can be read directly.
//
// It cannot simulate a disk that acknowledges a flush without flushing.
package faultdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Kind is a kind of operation.
type Kind string

// Kinds of operations.
const (
	Create   Kind = "create"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	SyncDir  Kind = "syncdir"
	Read     Kind = "read" // of SQLite; never recorded
)

// Op is one operation. Paths are relative to the disk's folder.
type Op struct {
	Kind Kind
	Path string
	To   string // of Rename
	Off  int64  // of Write; the size of Truncate
	Data []byte // of Write
}

// Disk is a folder whose changes are recorded. Its methods are safe for
// concurrent use.
type Disk struct {
	root, name string

	mu   sync.Mutex
	ops  []Op
	fail func(Op) error
}

var disks atomic.Int64

// New returns a disk for a folder, and registers its VFS. The existing content
// counts as flushed.
func New(root string) (*Disk, error) {
	d := &Disk{root: root, name: fmt.Sprintf("faultdisk%d", disks.Add(1))}
	d.register()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := d.relative(path)
		if e.IsDir() {
			d.ops = append(d.ops, Op{Kind: Mkdir, Path: rel})
		} else {
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			d.ops = append(d.ops, Op{Kind: Create, Path: rel}, Op{Kind: Write, Path: rel, Data: body}, Op{Kind: Sync, Path: rel})
		}
		d.ops = append(d.ops, Op{Kind: SyncDir, Path: filepath.Dir(rel)})
		return nil
	})
	return d, err
}

// VFS returns the name of the disk's VFS.
func (d *Disk) VFS() string { return d.name }

// Fail sets a function that is called before each operation, with the disk
// locked. If it returns an error, the operation fails and has no effect. Nil
// lets all operations succeed.
func (d *Disk) Fail(f func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

// OpCount returns the number of operations so far.
func (d *Disk) OpCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// record records an operation, unless the function of Fail rejects it.
func (d *Disk) record(op Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(op); err != nil {
			return &os.PathError{Op: string(op.Kind), Path: op.Path, Err: err}
		}
	}
	if op.Kind != Read {
		d.ops = append(d.ops, op)
	}
	return nil
}

func (d *Disk) relative(path string) string {
	if r, err := filepath.Rel(d.root, path); err == nil {
		return r
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// File is a file that is written sequentially.
type File struct {
	d    *Disk
	path string
	f    *os.File
	off  int64
}

// Create creates a file.
func (d *Disk) Create(path string) (*File, error) {
	if err := d.record(Op{Kind: Create, Path: d.relative(path)}); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{d: d, path: d.relative(path), f: f}, nil
}

// Open opens an existing file. The first call must be Truncate.
func (d *Disk) Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &File{d: d, path: d.relative(path), f: f}, nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	if err := f.d.record(Op{Kind: Write, Path: f.path, Off: f.off, Data: append([]byte(nil), p...)}); err != nil {
		return 0, err
	}
	n, err := f.f.Write(p)
	f.off += int64(n)
	return n, err
}

// Sync flushes the file.
func (f *File) Sync() error {
	if err := f.d.record(Op{Kind: Sync, Path: f.path}); err != nil {
		return err
	}
	return f.f.Sync()
}

// Truncate cuts the file; the next write goes to its new end.
func (f *File) Truncate(size int64) error {
	if err := f.d.record(Op{Kind: Truncate, Path: f.path, Off: size}); err != nil {
		return err
	}
	f.off = size
	_, err := f.f.Seek(size, io.SeekStart)
	return errors.Join(f.f.Truncate(size), err)
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Rename renames a file or a folder.
func (d *Disk) Rename(from, to string) error {
	if err := d.record(Op{Kind: Rename, Path: d.relative(from), To: d.relative(to)}); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// Remove deletes a file or an empty folder.
func (d *Disk) Remove(path string) error {
	if err := d.record(Op{Kind: Remove, Path: d.relative(path)}); err != nil {
		return err
	}
	return os.Remove(path)
}

// Mkdir creates a folder unless it exists.
func (d *Disk) Mkdir(path string) error {
	if exists(path) {
		return nil
	}
	if err := d.record(Op{Kind: Mkdir, Path: d.relative(path)}); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); !errors.Is(err, os.ErrExist) { // another goroutine may have created it
		return err
	}
	return nil
}

// SyncDir flushes the names in a folder.
func (d *Disk) SyncDir(path string) error {
	if err := d.record(Op{Kind: SyncDir, Path: d.relative(path)}); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fileImage is the content of a file: flushed data, and unflushed changes.
type fileImage struct {
	synced  []byte
	pending []Op
}

// folderImage is the state of a folder on disk.
type folderImage struct {
	open    map[string]*fileImage // files as the running program sees them
	files   map[string]*fileImage // files by the names on disk
	folders map[string]bool       // on disk
	renames map[string][]func()   // unflushed changes of names, by folder
}

// CutAt writes into dir a possible state of the folder after a power cut after
// the first n operations. Flushed data is there. For the rest r decides: a write
// may be missing completely or in some sectors; a creation, rename or removal
// may have happened or not, in order within its folder. With a nil r everything
// is there, as after a kill.
func (d *Disk) CutAt(n int, r *rand.Rand, dir string) error {
	d.mu.Lock()
	ops := d.ops[:n:n]
	d.mu.Unlock()
	m := &folderImage{open: map[string]*fileImage{}, files: map[string]*fileImage{}, folders: map[string]bool{".": true}, renames: map[string][]func(){}}
	for _, op := range ops {
		if err := m.replay(op); err != nil {
			return err
		}
	}
	for _, changes := range m.renames {
		if r != nil {
			changes = changes[:r.IntN(len(changes)+1)]
		}
		for _, change := range changes {
			change()
		}
	}
	return m.write(r, dir)
}

// rename adds an unflushed change of a name.
func (m *folderImage) rename(path string, change func()) {
	in := filepath.Dir(path)
	m.renames[in] = append(m.renames[in], change)
}

// replay applies an operation.
func (m *folderImage) replay(op Op) error {
	switch op.Kind {
	case Create:
		f := &fileImage{}
		m.open[op.Path] = f
		m.rename(op.Path, func() { m.files[op.Path] = f })
	case Write, Truncate:
		f := m.open[op.Path]
		if f == nil {
			return fmt.Errorf("%s of %s, which was never created", op.Kind, op.Path)
		}
		f.pending = append(f.pending, op)
	case Sync:
		f := m.open[op.Path]
		for _, p := range f.pending {
			f.synced = applyWrite(f.synced, p, nil)
		}
		f.pending = nil
	case Mkdir:
		m.rename(op.Path, func() { m.folders[op.Path] = true })
	case Remove:
		delete(m.open, op.Path)
		m.rename(op.Path, func() { delete(m.files, op.Path); delete(m.folders, op.Path) })
	case Rename:
		renameImages(m.open, op)
		m.rename(op.To, func() {
			renameImages(m.files, op)
			if m.folders[op.Path] {
				delete(m.folders, op.Path)
				m.folders[op.To] = true
			}
		})
	case SyncDir:
		for _, change := range m.renames[op.Path] {
			change()
		}
		m.renames[op.Path] = nil
	}
	return nil
}

// reachable reports whether all folders above a path are on disk.
func (m *folderImage) reachable(path string) bool {
	for in := filepath.Dir(path); in != "."; in = filepath.Dir(in) {
		if !m.folders[in] {
			return false
		}
	}
	return true
}

// write writes the image into dir, with the unflushed writes that r selects.
func (m *folderImage) write(r *rand.Rand, dir string) error {
	for path, f := range m.files {
		if !m.reachable(path) {
			continue
		}
		body := append([]byte(nil), f.synced...)
		for _, p := range f.pending {
			if r == nil || r.IntN(3) > 0 {
				body = applyWrite(body, p, r)
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, path), body, 0o600); err != nil {
			return err
		}
	}
	for path := range m.folders {
		if !m.reachable(path) {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func renameImages(files map[string]*fileImage, op Op) {
	for path, f := range files {
		if path == op.Path {
			delete(files, path)
			files[op.To] = f
		} else if rest, ok := strings.CutPrefix(path, op.Path+"/"); ok {
			delete(files, path)
			files[filepath.Join(op.To, rest)] = f
		}
	}
}

const sector = 512

// applyWrite applies a write or a truncation; with r, sectors of the write may
// be missing.
func applyWrite(body []byte, op Op, r *rand.Rand) []byte {
	if op.Kind == Truncate {
		if int64(len(body)) > op.Off {
			return body[:op.Off]
		}
		return append(body, make([]byte, op.Off-int64(len(body)))...)
	}
	if end := op.Off + int64(len(op.Data)); int64(len(body)) < end {
		body = append(body, make([]byte, end-int64(len(body)))...)
	}
	whole := r == nil || r.IntN(2) == 0
	for at := int64(0); at < int64(len(op.Data)); {
		n := min(int64(len(op.Data)), (op.Off+at)/sector*sector+sector-op.Off) - at
		if whole || r.IntN(2) == 0 {
			copy(body[op.Off+at:], op.Data[at:at+n])
		}
		at += n
	}
	return body
}
