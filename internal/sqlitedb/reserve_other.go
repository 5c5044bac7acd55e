//go:build !linux

package sqlitedb

import "os"

// reserve gives a file its room on the disk.
func reserve(f *os.File, size int64) error { return fill(f, size) }
