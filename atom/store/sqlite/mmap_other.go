//go:build !unix

package sqlite

import "os"

func mapShared(*os.File, int) []byte { return nil }

func unmapShared([]byte) error { return nil }
