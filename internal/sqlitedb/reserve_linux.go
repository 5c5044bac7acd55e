package sqlitedb

import (
	"errors"
	"os"
	"syscall"
)

// reserve allocates space for a file.
func reserve(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return fill(f, size)
	}
	return err
}
