//go:build unix

package sqlite

import (
	"os"
	"syscall"
)

// mapShared maps the start of a file into memory, or returns nil if it cannot.
func mapShared(f *os.File, size int) []byte {
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	return b
}

func unmapShared(b []byte) error {
	if b == nil {
		return nil
	}
	return syscall.Munmap(b)
}
