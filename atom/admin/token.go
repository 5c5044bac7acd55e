package admin

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"valence/internal/atomicfile"
)

// TokenFile is the name of the file with the admin token in the data folder.
const TokenFile = "admin.token"

// Token returns the admin token of a data folder. The first call creates it:
// 256 random bits in a file that only its owner can read. A file that others
// can read is an error because the token may have leaked.
func Token(folder string) (string, error) {
	path := filepath.Join(folder, TokenFile)
	token, err := ReadToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand
	token = base64.RawURLEncoding.EncodeToString(b[:])
	if err := atomicfile.Write(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("create the admin token: %w", err)
	}
	return token, nil
}

// ErrTokenReadable is returned for a token file that other users can read.
var ErrTokenReadable = errors.New("is readable by other users")

// ReadToken reads a token file.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s %w (mode %04o): delete it to create a new one, or run chmod 600", path, ErrTokenReadable, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 32 || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s contains no token of at least 32 characters: delete it to create a new one", path)
	}
	return token, nil
}

// ErrExposed is returned for an address from which others could read the token
// in transit.
var ErrExposed = errors.New("other machines could reach the admin API without TLS")

// CheckExposure returns ErrExposed unless addr is a loopback address, TLS is
// used, or beyondLoopback permits it.
func CheckExposure(addr net.Addr, tls, beyondLoopback bool) error {
	if tls || beyondLoopback {
		return nil
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		return nil
	}
	return ErrExposed
}
