package faultdisk

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// The VFS is that of the system, except that changes of files are recorded by
// the disk first. SQLite has one registry of VFSs per process and passes its
// own pointers to callbacks, hence this table.
var vfs struct {
	sync.Mutex
	disks map[uintptr]*Disk     // by the registered structure
	files map[uintptr]*openFile // by SQLite's file object
}

type openFile struct {
	disk    *Disk
	path    string
	methods *sqlite3.Tsqlite3_io_methods // of the system's VFS
	named   bool                         // its folder was flushed
}

func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f})) }

func function[F any](p uintptr) F { return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p})) }

// structAt returns a structure in SQLite's memory.
func structAt[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

func alloc[T any](tls *libc.TLS) (*T, uintptr) {
	var zero T
	p := libc.Xcalloc(tls, 1, libc.Tsize_t(unsafe.Sizeof(zero)))
	return structAt[T](p), p
}

// register registers the VFS of the disk.
func (d *Disk) register() {
	tls := libc.NewTLS()
	defer tls.Close()
	name, err := libc.CString(d.name)
	if err != nil {
		panic(err) // out of memory
	}
	v, p := alloc[sqlite3.Tsqlite3_vfs](tls)
	*v = *structAt[sqlite3.Tsqlite3_vfs](sqlite3.Xsqlite3_vfs_find(tls, 0))
	v.FpNext, v.FzName = 0, name
	v.FxOpen, v.FxDelete = pointer(vfsOpen), pointer(vfsDelete)
	vfs.Lock()
	if vfs.disks == nil {
		vfs.disks, vfs.files = map[uintptr]*Disk{}, map[uintptr]*openFile{}
	}
	vfs.disks[p] = d
	vfs.Unlock()
	if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 0); rc != sqlite3.SQLITE_OK {
		panic(rc)
	}
}

func lookup(file uintptr) *openFile {
	vfs.Lock()
	defer vfs.Unlock()
	return vfs.files[file]
}

func vfsOpen(tls *libc.TLS, p, name, file uintptr, flags int32, out uintptr) int32 {
	real := sqlite3.Xsqlite3_vfs_find(tls, 0)
	open := function[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](structAt[sqlite3.Tsqlite3_vfs](real).FxOpen)
	vfs.Lock()
	d := vfs.disks[p]
	vfs.Unlock()
	path := libc.GoString(name)
	created := flags&sqlite3.SQLITE_OPEN_CREATE != 0 && name != 0 && !exists(path)
	if created {
		if err := d.record(Op{Kind: Create, Path: d.relative(path)}); err != nil {
			return sqlite3.SQLITE_CANTOPEN
		}
	}
	rc := open(tls, real, name, file, flags, out)
	f := structAt[sqlite3.Tsqlite3_file](file)
	if rc != sqlite3.SQLITE_OK || f.FpMethods == 0 || name == 0 {
		return rc
	}
	methods := structAt[sqlite3.Tsqlite3_io_methods](f.FpMethods)
	own, ownAt := alloc[sqlite3.Tsqlite3_io_methods](tls)
	*own = *methods
	own.FiVersion = min(own.FiVersion, 2) // no memory-mapped reads
	own.FxRead = pointer(fileRead)
	own.FxClose, own.FxWrite = pointer(fileClose), pointer(fileWrite)
	own.FxTruncate, own.FxSync = pointer(fileTruncate), pointer(fileSync)
	f.FpMethods = ownAt
	vfs.Lock()
	vfs.files[file] = &openFile{disk: d, path: d.relative(path), methods: methods}
	vfs.Unlock()
	return rc
}

func vfsDelete(tls *libc.TLS, p, name uintptr, dirSync int32) int32 {
	real := sqlite3.Xsqlite3_vfs_find(tls, 0)
	remove := function[func(*libc.TLS, uintptr, uintptr, int32) int32](structAt[sqlite3.Tsqlite3_vfs](real).FxDelete)
	vfs.Lock()
	d := vfs.disks[p]
	vfs.Unlock()
	path := d.relative(libc.GoString(name))
	if exists(libc.GoString(name)) {
		if err := d.record(Op{Kind: Remove, Path: path}); err != nil {
			return sqlite3.SQLITE_IOERR_DELETE
		}
		if dirSync != 0 {
			if err := d.record(Op{Kind: SyncDir, Path: filepath.Dir(path)}); err != nil {
				return sqlite3.SQLITE_IOERR_DIR_FSYNC
			}
		}
	}
	return remove(tls, real, name, dirSync)
}

func fileClose(tls *libc.TLS, file uintptr) int32 {
	f := lookup(file)
	vfs.Lock()
	delete(vfs.files, file)
	vfs.Unlock()
	return function[func(*libc.TLS, uintptr) int32](f.methods.FxClose)(tls, file)
}

func fileRead(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	f := lookup(file)
	if err := f.disk.record(Op{Kind: Read, Path: f.path, Off: off}); err != nil {
		return sqlite3.SQLITE_IOERR_READ
	}
	return function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.methods.FxRead)(tls, file, buf, n, off)
}

func fileWrite(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	f := lookup(file)
	data := append([]byte(nil), unsafe.Slice(structAt[byte](buf), n)...)
	err := f.disk.record(Op{Kind: Write, Path: f.path, Off: off, Data: data})
	if rc, refused := refusal(err, sqlite3.SQLITE_IOERR_WRITE); refused {
		return rc
	}
	return function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.methods.FxWrite)(tls, file, buf, n, off)
}

func fileTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := lookup(file)
	err := f.disk.record(Op{Kind: Truncate, Path: f.path, Off: size})
	if rc, refused := refusal(err, sqlite3.SQLITE_IOERR_TRUNCATE); refused {
		return rc
	}
	return function[func(*libc.TLS, uintptr, int64) int32](f.methods.FxTruncate)(tls, file, size)
}

// fileSync records a flush. Like the system's VFS, it flushes the folder of a
// new journal or write-ahead log on the first flush.
func fileSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := lookup(file)
	err := f.disk.record(Op{Kind: Sync, Path: f.path})
	if rc, refused := refusal(err, sqlite3.SQLITE_IOERR_FSYNC); refused {
		return rc
	}
	if !f.named && (strings.HasSuffix(f.path, "-wal") || strings.HasSuffix(f.path, "-journal")) {
		f.named = true
		if err := f.disk.record(Op{Kind: SyncDir, Path: filepath.Dir(f.path)}); err != nil {
			return sqlite3.SQLITE_IOERR_DIR_FSYNC
		}
	}
	return function[func(*libc.TLS, uintptr, int32) int32](f.methods.FxSync)(tls, file, flags)
}

func refusal(err error, rc int32) (int32, bool) {
	switch {
	case err == nil:
		return 0, false
	case errors.Is(err, syscall.ENOSPC):
		return sqlite3.SQLITE_FULL, true
	}
	return rc, true
}
