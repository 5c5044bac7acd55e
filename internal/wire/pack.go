package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of a package.
const (
	MaxPackageFiles = 20_000   // files
	MaxPackageBytes = 96 << 20 // the archive
	maxNameLength   = 1024
)

// PackageMediaType is the media type of a package.
const PackageMediaType = "application/x-tar"

// PackageFile is one file of a package. Name is its slash-separated path
// relative to the project folder.
type PackageFile struct {
	Name    string
	Content []byte
}

// ErrInvalidPackage matches every error of Pack and Unpack.
var ErrInvalidPackage = errors.New("invalid package")

// Pack returns the canonical tar archive of a project's files, sorted by name,
// with a fixed mode, owner and time. The same files yield the same bytes on
// every machine and in every version, so the archive's SHA-256 identifies them.
func Pack(files []PackageFile) ([]byte, error) {
	sorted := append([]PackageFile(nil), files...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	if len(sorted) == 0 || len(sorted) > MaxPackageFiles {
		return nil, fmt.Errorf("pack: %w: %d files; 1 to %d are allowed", ErrInvalidPackage, len(sorted), MaxPackageFiles)
	}
	folders := map[string]bool{}
	for i, f := range sorted {
		if err := checkName(f.Name); err != nil {
			return nil, fmt.Errorf("pack: %w", err)
		}
		if i > 0 && sorted[i-1].Name == f.Name {
			return nil, fmt.Errorf("pack: %w: the file %q occurs twice", ErrInvalidPackage, f.Name)
		}
		for at := range len(f.Name) {
			if f.Name[at] == '/' {
				folders[f.Name[:at]] = true
			}
		}
	}
	var b bytes.Buffer
	for _, f := range sorted {
		if folders[f.Name] {
			return nil, fmt.Errorf("pack: %w: %q is both a file and a folder", ErrInvalidPackage, f.Name)
		}
		if b.Len()+len(f.Content)+maxNameLength+6*blockSize > MaxPackageBytes {
			return nil, fmt.Errorf("pack: %w: larger than %d MiB", ErrInvalidPackage, MaxPackageBytes>>20)
		}
		writeEntry(&b, f)
	}
	b.Write(make([]byte, 2*blockSize)) // end of the archive
	return b.Bytes(), nil
}

// Unpack reads an archive written by Pack. It rejects every archive that
// differs from the canonical form, such as one with links, folders, escaping
// names, duplicates or trailing data.
func Unpack(archive []byte) ([]PackageFile, error) {
	if len(archive) > MaxPackageBytes {
		return nil, fmt.Errorf("unpack: %w: larger than %d MiB", ErrInvalidPackage, MaxPackageBytes>>20)
	}
	var files []PackageFile
	rest := archive
	for {
		if len(rest) == 2*blockSize && isZero(rest) {
			break
		}
		f, n, err := readEntry(rest)
		if err != nil {
			return nil, fmt.Errorf("unpack: file %d: %w", len(files)+1, err)
		}
		if len(files) == MaxPackageFiles {
			return nil, fmt.Errorf("unpack: %w: more than %d files", ErrInvalidPackage, MaxPackageFiles)
		}
		files, rest = append(files, f), rest[n:]
	}
	again, err := Pack(files)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if !bytes.Equal(again, archive) {
		return nil, fmt.Errorf("unpack: %w: not in canonical form", ErrInvalidPackage)
	}
	return files, nil
}

// PackageID returns the SHA-256 of an archive in hex, which identifies the
// package.
func PackageID(archive []byte) string {
	sum := sha256.Sum256(archive)
	return hex.EncodeToString(sum[:])
}

// IsPackageID reports whether s has the form of a package ID.
func IsPackageID(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// checkName rejects file names that are not valid on every supported system.
func checkName(name string) error {
	bad := func(why string) error { return fmt.Errorf("%w: the file name %q %s", ErrInvalidPackage, name, why) }
	switch {
	case name == "" || len(name) > maxNameLength:
		return bad("is empty or too long")
	case !utf8.ValidString(name):
		return bad("is not valid UTF-8")
	case strings.ContainsAny(name, "\\:") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("contains an invalid character")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return bad("is not a path below the project")
		}
	}
	return nil
}

const blockSize = 512 // of a tar archive

// writeEntry writes one file in POSIX.1-2001 (pax) format. A long or non-ASCII
// name is written to an extended header before it.
func writeEntry(b *bytes.Buffer, f PackageFile) {
	name := f.Name
	if !isPlainName(name) {
		record := paxPathRecord(name)
		writeHeader(b, "pax", 'x', len(record))
		writePadded(b, record)
		name = "file"
	}
	writeHeader(b, name, '0', len(f.Content))
	writePadded(b, f.Content)
}

func isPlainName(name string) bool {
	if len(name) > 99 {
		return false
	}
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// paxPathRecord returns the path record of an extended header, which starts
// with its own length.
func paxPathRecord(name string) []byte {
	tail := " path=" + name + "\n"
	n := len(tail) + 1
	for n != len(tail)+len(strconv.Itoa(n)) {
		n++
	}
	return []byte(strconv.Itoa(n) + tail)
}

func writeHeader(b *bytes.Buffer, name string, kind byte, size int) {
	var h [blockSize]byte
	copy(h[0:100], name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ")
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(h[:])
}

func writePadded(b *bytes.Buffer, content []byte) {
	b.Write(content)
	if n := len(content) % blockSize; n != 0 {
		b.Write(make([]byte, blockSize-n))
	}
}

// readEntry reads the next file leniently, because Unpack compares the result
// with the canonical form. It returns the number of bytes read.
func readEntry(b []byte) (PackageFile, int, error) {
	kind, name, content, n, err := readBlock(b)
	if err != nil {
		return PackageFile{}, 0, err
	}
	if kind == 'x' {
		_, value, ok := strings.Cut(string(content), " path=")
		long, end := strings.CutSuffix(value, "\n")
		if !ok || !end {
			return PackageFile{}, 0, fmt.Errorf("%w: invalid header", ErrInvalidPackage)
		}
		var more int
		if kind, _, content, more, err = readBlock(b[n:]); err != nil {
			return PackageFile{}, 0, err
		}
		name, n = long, n+more
	}
	if kind != '0' {
		return PackageFile{}, 0, fmt.Errorf("%w: %q is not a regular file", ErrInvalidPackage, name)
	}
	return PackageFile{Name: name, Content: content}, n, nil
}

func readBlock(b []byte) (kind byte, name string, content []byte, n int, err error) {
	if len(b) < blockSize {
		return 0, "", nil, 0, fmt.Errorf("%w: truncated", ErrInvalidPackage)
	}
	name, _, _ = strings.Cut(string(b[:100]), "\x00")
	size, err := strconv.ParseUint(string(b[124:135]), 8, 40)
	if err != nil || size > uint64(len(b)-blockSize) {
		return 0, "", nil, 0, fmt.Errorf("%w: truncated or damaged", ErrInvalidPackage)
	}
	n = blockSize + int(size)
	content = b[blockSize:n:n]
	if over := n % blockSize; over != 0 {
		n += blockSize - over
	}
	if n > len(b) {
		return 0, "", nil, 0, fmt.Errorf("%w: truncated", ErrInvalidPackage)
	}
	return b[156], name, content, n, nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
