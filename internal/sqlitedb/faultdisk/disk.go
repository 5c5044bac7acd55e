// Package faultdisk is a disk for tests. It fails when it is told to, and it
// remembers every write and every flush, so that it can show the folder as a
// power cut would have left it. SQLite reaches it as a VFS, Go code by the
// methods of Disk; both go through to real files, where they can be read.
//
// What it cannot show: a disk that lies about having flushed.
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

// Kind is what is done to a file or a folder.
type Kind string

// The kinds.
const (
	Create   Kind = "create"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	SyncDir  Kind = "syncdir"
)

// Op is one thing done. Paths are relative to the disk's folder.
type Op struct {
	Kind Kind
	Path string
	To   string // of Rename
	Off  int64  // of Write; the size of Truncate
	Data []byte // of Write
}

// Disk is a folder behind a disk. Its methods may be called from any goroutine.
type Disk struct {
	root, name string

	mu   sync.Mutex
	ops  []Op
	fail func(Op) error
}

var disks atomic.Int64

// New makes a disk of a folder and registers its VFS. What is in the folder
// counts as flushed.
func New(root string) (*Disk, error) {
	d := &Disk{root: root, name: fmt.Sprintf("faultdisk%d", disks.Add(1))}
	d.register()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := d.rel(path)
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

// VFS is the name SQLite knows the disk by.
func (d *Disk) VFS() string { return d.name }

// Fail sets what is asked before each operation: an error makes it fail, with
// nothing done. It is called with the disk locked. Nil lets all pass.
func (d *Disk) Fail(f func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

// Len is how many operations there were.
func (d *Disk) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

// do asks whether an operation may happen and remembers it.
func (d *Disk) do(op Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(op); err != nil {
			return &os.PathError{Op: string(op.Kind), Path: op.Path, Err: err}
		}
	}
	d.ops = append(d.ops, op)
	return nil
}

func (d *Disk) rel(path string) string {
	if r, err := filepath.Rel(d.root, path); err == nil {
		return r
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// File is a file being written from its beginning.
type File struct {
	d    *Disk
	path string
	f    *os.File
	off  int64
}

// Create makes a new file.
func (d *Disk) Create(path string) (*File, error) {
	if err := d.do(Op{Kind: Create, Path: d.rel(path)}); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{d: d, path: d.rel(path), f: f}, nil
}

// Write appends.
func (f *File) Write(p []byte) (int, error) {
	if err := f.d.do(Op{Kind: Write, Path: f.path, Off: f.off, Data: append([]byte(nil), p...)}); err != nil {
		return 0, err
	}
	n, err := f.f.Write(p)
	f.off += int64(n)
	return n, err
}

// Sync flushes.
func (f *File) Sync() error {
	if err := f.d.do(Op{Kind: Sync, Path: f.path}); err != nil {
		return err
	}
	return f.f.Sync()
}

// Truncate cuts the file, and what is written next goes there.
func (f *File) Truncate(size int64) error {
	if err := f.d.do(Op{Kind: Truncate, Path: f.path, Off: size}); err != nil {
		return err
	}
	f.off = size
	_, err := f.f.Seek(size, io.SeekStart)
	return errors.Join(f.f.Truncate(size), err)
}

// Close closes.
func (f *File) Close() error { return f.f.Close() }

// Rename moves a file or a folder.
func (d *Disk) Rename(from, to string) error {
	if err := d.do(Op{Kind: Rename, Path: d.rel(from), To: d.rel(to)}); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// Remove deletes a file or an empty folder.
func (d *Disk) Remove(path string) error {
	if err := d.do(Op{Kind: Remove, Path: d.rel(path)}); err != nil {
		return err
	}
	return os.Remove(path)
}

// Mkdir makes a folder, if it does not exist.
func (d *Disk) Mkdir(path string) error {
	if exists(path) {
		return nil
	}
	if err := d.do(Op{Kind: Mkdir, Path: d.rel(path)}); err != nil {
		return err
	}
	return os.Mkdir(path, 0o700)
}

// SyncDir flushes the names in a folder.
func (d *Disk) SyncDir(path string) error {
	if err := d.do(Op{Kind: SyncDir, Path: d.rel(path)}); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// image is a file in the making: what is surely on disk and what may be.
type image struct {
	solid   []byte
	pending []Op
}

// CutAt writes into the folder dir what a power cut after the first n
// operations could have left. What was flushed is there. Of what was not, r
// decides: a write may be there, or not, or some of its sectors; a new name, a
// rename or a removal may have happened or not, in order within its folder.
// With a nil r everything is there: only the program died.
func (d *Disk) CutAt(n int, r *rand.Rand, dir string) error {
	d.mu.Lock()
	ops := d.ops[:n:n]
	d.mu.Unlock()
	files := map[string]*image{}          // as the running program sees them
	kept := map[string]*image{}           // by the names that are on disk
	names := map[string][]func(){}        // changes of names not flushed, by folder
	folders := map[string]bool{".": true} // on disk
	name := func(path string, change func()) {
		in := filepath.Dir(path)
		names[in] = append(names[in], change)
	}
	for _, op := range ops {
		switch op.Kind {
		case Create:
			f := &image{}
			files[op.Path] = f
			name(op.Path, func() { kept[op.Path] = f })
		case Write, Truncate:
			f := files[op.Path]
			if f == nil {
				return fmt.Errorf("%s of %s, which was never created", op.Kind, op.Path)
			}
			f.pending = append(f.pending, op)
		case Sync:
			f := files[op.Path]
			for _, p := range f.pending {
				f.solid = apply(f.solid, p, nil)
			}
			f.pending = nil
		case Mkdir:
			name(op.Path, func() { folders[op.Path] = true })
		case Remove:
			delete(files, op.Path)
			name(op.Path, func() { delete(kept, op.Path); delete(folders, op.Path) })
		case Rename:
			moved(files, op)
			name(op.To, func() {
				moved(kept, op)
				if folders[op.Path] {
					delete(folders, op.Path)
					folders[op.To] = true
				}
			})
		case SyncDir:
			for _, change := range names[op.Path] {
				change()
			}
			names[op.Path] = nil
		}
	}
	for _, changes := range names {
		if r != nil {
			changes = changes[:r.IntN(len(changes)+1)]
		}
		for _, change := range changes {
			change()
		}
	}
	reachable := func(path string) bool {
		for in := filepath.Dir(path); in != "."; in = filepath.Dir(in) {
			if !folders[in] {
				return false
			}
		}
		return true
	}
	for path, f := range kept {
		if !reachable(path) {
			continue
		}
		body := append([]byte(nil), f.solid...)
		for _, p := range f.pending {
			if r == nil || r.IntN(3) > 0 {
				body = apply(body, p, r)
			}
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, path), body, 0o600); err != nil {
			return err
		}
	}
	for path := range folders {
		if !reachable(path) {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func moved(files map[string]*image, op Op) {
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

// apply does a write or a cut; with r, some sectors of the write may be missing.
func apply(body []byte, op Op, r *rand.Rand) []byte {
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
