// Package folder contains the parts that connectors of files share: the
// operations, the paths that they accept, and a subscription to a folder. It
// works on a small interface, which local disks and file servers implement.
package folder

import (
	"container/heap"
	"context"
	"io"
	"io/fs"
	"sort"
	"strings"
	"time"
)

// FS is a tree of folders. Paths are relative and have slashes. Errors are a
// *fault.Failure, or wrap fs.ErrNotExist, fs.ErrExist, fs.ErrPermission or
// fs.ErrInvalid if that is the cause. Other errors may be temporary.
type FS interface {
	// List calls visit with the regular files of a folder, in any order.
	List(ctx context.Context, dir string, visit func(File)) error
	// Stat returns a file. It fails with ErrIrregular for folders.
	Stat(ctx context.Context, name string) (File, error)
	// Open opens a regular file. It fails with ErrIrregular for others.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Write writes a file and flushes it, if the system can do that.
	Write(ctx context.Context, name string, how Mode, content io.Reader) error
	// Rename renames a file. If `to` exists it fails, unless replace is set.
	Rename(ctx context.Context, from, to string, replace bool) error
	Remove(ctx context.Context, name string) error
	// MakeDir creates a folder and those above it, unless they exist.
	MakeDir(ctx context.Context, dir string) error
}

// Flusher is an FS whose folders must be flushed for their changes to survive a
// power cut.
type Flusher interface {
	FlushDir(ctx context.Context, dir string) error
}

// Mode says how a file is written.
type Mode int

// The modes of FS.Write.
const (
	Create Mode = iota // fails if the file exists
	Append             // creates the file if it is missing
)

// File is a file in a listing.
type File struct {
	Name     string // without its folder
	Size     int64
	Modified time.Time
}

// ErrIrregular is the error for something that is not a regular file.
var ErrIrregular error = irregular{}

type irregular struct{}

// Error returns the message.
func (irregular) Error() string { return "not a regular file" }

// Is reports that the call was wrong.
func (irregular) Is(target error) bool { return target == fs.ErrInvalid }

// maxListed is the maximum number of files of a folder that are in memory.
const maxListed = 10_000

// first returns the first files of a folder that match, by name, at most
// maxListed. total counts all that match.
func first(ctx context.Context, fsys FS, dir string, match func(name string) bool) (found []File, total int, err error) {
	var kept latest
	err = fsys.List(ctx, dir, func(f File) {
		if !validName(f.Name) || !match(f.Name) {
			return
		}
		total++
		switch {
		case len(kept) < maxListed:
			heap.Push(&kept, f)
		case f.Name < kept[0].Name:
			kept[0] = f
			heap.Fix(&kept, 0)
		}
	})
	sort.Slice(kept, func(i, j int) bool { return kept[i].Name < kept[j].Name })
	return kept, total, err
}

// validName reports whether a name in a listing is that of a file in the folder.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// latest is a heap of files with the last name on top.
type latest []File

func (l latest) Len() int           { return len(l) }
func (l latest) Less(i, j int) bool { return l[i].Name > l[j].Name }
func (l latest) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

// Push implements heap.Interface.
func (l *latest) Push(f any) { *l = append(*l, f.(File)) }

// Pop implements heap.Interface.
func (l *latest) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}
