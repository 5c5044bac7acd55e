//go:build !linux

package sqlitedb

import "os"

// reserve allocates space for a file.
func reserve(f *os.File, size int64) error { return fill(f, size) }
