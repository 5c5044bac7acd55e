package store

import (
	"crypto/sha256"
	"encoding/binary"
)

// shortKey is the length from which keys are hashed. Short keys are stored as
// they are, so that related keys share pages.
const shortKey = 64

// KeyBytes returns the form in which stores keep dedupe keys, origins and
// coalescing keys. It has at most 64 bytes.
func KeyBytes(key string) []byte {
	if len(key) < shortKey {
		return append([]byte{0}, key...)
	}
	h := sha256.Sum256([]byte(key))
	return append([]byte{1}, h[:]...)
}

// MarkKey returns the form in which stores keep a Mark.
func MarkKey(system, record, version string) []byte {
	var b []byte
	for _, s := range []string{system, record, version} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return KeyBytes(string(b))
}
