//go:build unix

package access

import (
	"io/fs"
	"syscall"
)

// links returns the number of names of a file.
func links(file fs.FileInfo) uint64 {
	if s, ok := file.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink)
	}
	return 0 // unknown
}
