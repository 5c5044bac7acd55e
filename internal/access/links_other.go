//go:build !unix

package access

import "io/fs"

// links returns 0: the number of names of a file is unknown.
func links(fs.FileInfo) uint64 { return 0 }
