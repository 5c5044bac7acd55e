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

// The bounds of a package.
const (
	MaxPackFiles = 20_000   // files
	MaxPackBytes = 96 << 20 // the archive
	maxPackName  = 1024
)

// PackType is the media type of a package.
const PackType = "application/x-tar"

// PackFile is one file of a package. Name is its path below the project's
// folder, with slashes.
type PackFile struct {
	Name    string
	Content []byte
}

// ErrPackage is what is wrong with a package, however it is wrong.
var ErrPackage = errors.New("it is no package of this program")

// Pack makes the canonical archive of a project's files: a tar file that any
// tar program reads, with the files by name, all of one mode, one owner and one
// time. The same files give the same bytes, on every machine and in every
// version of this program, so the archive's SHA-256 names them.
func Pack(files []PackFile) ([]byte, error) {
	sorted := append([]PackFile(nil), files...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	if len(sorted) == 0 || len(sorted) > MaxPackFiles {
		return nil, fmt.Errorf("pack: %w: %d files, where 1 to %d may be", ErrPackage, len(sorted), MaxPackFiles)
	}
	folders := map[string]bool{}
	for i, f := range sorted {
		if err := goodName(f.Name); err != nil {
			return nil, fmt.Errorf("pack: %w", err)
		}
		if i > 0 && sorted[i-1].Name == f.Name {
			return nil, fmt.Errorf("pack: %w: the file %q is there twice", ErrPackage, f.Name)
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
			return nil, fmt.Errorf("pack: %w: %q is a file and a folder", ErrPackage, f.Name)
		}
		if b.Len()+len(f.Content)+maxPackName+6*block > MaxPackBytes {
			return nil, fmt.Errorf("pack: %w: it is larger than %d MiB", ErrPackage, MaxPackBytes>>20)
		}
		writeEntry(&b, f)
	}
	b.Write(make([]byte, 2*block)) // the end of the archive
	return b.Bytes(), nil
}

// Unpack reads an archive that Pack made. Whatever differs from that in a
// single byte is refused: links, folders, names that lead elsewhere, files that
// are there twice, and anything behind the end.
func Unpack(archive []byte) ([]PackFile, error) {
	if len(archive) > MaxPackBytes {
		return nil, fmt.Errorf("unpack: %w: it is larger than %d MiB", ErrPackage, MaxPackBytes>>20)
	}
	var files []PackFile
	rest := archive
	for {
		if len(rest) == 2*block && zero(rest) {
			break
		}
		f, n, err := readEntry(rest)
		if err != nil {
			return nil, fmt.Errorf("unpack: file %d: %w", len(files)+1, err)
		}
		if len(files) == MaxPackFiles {
			return nil, fmt.Errorf("unpack: %w: more than %d files", ErrPackage, MaxPackFiles)
		}
		files, rest = append(files, f), rest[n:]
	}
	again, err := Pack(files)
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if !bytes.Equal(again, archive) {
		return nil, fmt.Errorf("unpack: %w: it is not in the canonical form", ErrPackage)
	}
	return files, nil
}

// PackageID names an archive: its SHA-256, in hex.
func PackageID(archive []byte) string {
	sum := sha256.Sum256(archive)
	return hex.EncodeToString(sum[:])
}

// IsPackageID reports whether s can be the name of a package.
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

// goodName holds a name against what may stand in a package on every system
// that an atom runs on.
func goodName(name string) error {
	bad := func(why string) error { return fmt.Errorf("%w: the file name %q %s", ErrPackage, name, why) }
	switch {
	case name == "" || len(name) > maxPackName:
		return bad("is empty or too long")
	case !utf8.ValidString(name):
		return bad("is no UTF-8")
	case strings.ContainsAny(name, "\\:") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("holds a character that it must not")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return bad("is no path below the project")
		}
	}
	return nil
}

const block = 512 // of a tar file

// writeEntry writes one file in the form of POSIX.1-2001 ("pax"): a name that
// is not short and plain stands in an extended header before it.
func writeEntry(b *bytes.Buffer, f PackFile) {
	name := f.Name
	if !short(name) {
		record := paxPath(name)
		writeHeader(b, "pax", 'x', len(record))
		writePadded(b, record)
		name = "file"
	}
	writeHeader(b, name, '0', len(f.Content))
	writePadded(b, f.Content)
}

func short(name string) bool {
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

// paxPath is the extended header's record for a name; it starts with its own length.
func paxPath(name string) []byte {
	tail := " path=" + name + "\n"
	n := len(tail) + 1
	for n != len(tail)+len(strconv.Itoa(n)) {
		n++
	}
	return []byte(strconv.Itoa(n) + tail)
}

func writeHeader(b *bytes.Buffer, name string, kind byte, size int) {
	var h [block]byte
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
	if n := len(content) % block; n != 0 {
		b.Write(make([]byte, block-n))
	}
}

// readEntry reads the next file, loosely: Unpack holds the whole against what
// Pack makes of it. It gives how many bytes the file takes.
func readEntry(b []byte) (PackFile, int, error) {
	kind, name, content, n, err := readBlock(b)
	if err != nil {
		return PackFile{}, 0, err
	}
	if kind == 'x' {
		_, value, ok := strings.Cut(string(content), " path=")
		long, end := strings.CutSuffix(value, "\n")
		if !ok || !end {
			return PackFile{}, 0, fmt.Errorf("%w: a header that cannot be read", ErrPackage)
		}
		var more int
		if kind, _, content, more, err = readBlock(b[n:]); err != nil {
			return PackFile{}, 0, err
		}
		name, n = long, n+more
	}
	if kind != '0' {
		return PackFile{}, 0, fmt.Errorf("%w: %q is no plain file", ErrPackage, name)
	}
	return PackFile{Name: name, Content: content}, n, nil
}

func readBlock(b []byte) (kind byte, name string, content []byte, n int, err error) {
	if len(b) < block {
		return 0, "", nil, 0, fmt.Errorf("%w: it is cut off", ErrPackage)
	}
	name, _, _ = strings.Cut(string(b[:100]), "\x00")
	size, err := strconv.ParseUint(string(b[124:135]), 8, 40)
	if err != nil || size > uint64(len(b)-block) {
		return 0, "", nil, 0, fmt.Errorf("%w: it is cut off, or damaged", ErrPackage)
	}
	n = block + int(size)
	content = b[block:n:n]
	if over := n % block; over != 0 {
		n += block - over
	}
	if n > len(b) {
		return 0, "", nil, 0, fmt.Errorf("%w: it is cut off", ErrPackage)
	}
	return b[156], name, content, n, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
